"""How far an answer is from every label that it does not give: of scores, and of last layers."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trilemma.core.errors import BadInput

Matrix: TypeAlias = NDArray[np.float64]
ROUNDING = 1e-6  # by which a log-softmax may exceed 0


def cross_entropies(log_probabilities: ArrayLike) -> Matrix:
    r"""The cross-entropy of each answer with every label but the predicted one.

    .. math:: CE_j(x) = -\log F(x)_j, \qquad j \ne \arg\max_i F(x)_i

    It is what the answer would cost if j were the label: how hard it is to make j of it.

    Args:
        log_probabilities: (n, k) answers, k >= 2, in nats; minus infinity allowed.

    Returns:
        (n, k) in nats, NaN at each row's predicted label (the first of the most probable ones).

    Raises:
        BadInput: not such a table, a NaN in it, or a logarithm above 0.

    Example:
        >>> cross_entropies(np.log([[0.5, 0.25, 0.25]])).round(3)
        array([[  nan, 1.386, 1.386]])

    Source:
        Li & Zhang, "Membership leakage in label-only exposures", CCS 2021, section 4.1, table 2.
    """
    logs = _table(log_probabilities)
    if logs.shape[1] < 2:
        raise BadInput("log-probabilities", "are those of one label", "Give 2 labels at least")
    if not (logs <= ROUNDING).all():  # a NaN is not
        raise BadInput("log-probabilities", "hold a NaN, or a number above 0", "Give logarithms")
    found: Matrix = np.maximum(-logs, 0.0)
    found[np.arange(len(found)), logs.argmax(1)] = np.nan
    return found


def average_cross_entropy(log_probabilities: ArrayLike) -> NDArray[np.float64]:
    r"""The mean of `cross_entropies` over the labels that are not predicted (the paper's ACE).

    .. math:: ACE(x) = \frac{1}{k - 1} \sum_{j \ne \hat y} CE_j(x)

    The paper's own averages of non-members disagree with their rows; these do not.

    Args:
        log_probabilities: (n, k) as there.

    Returns:
        (n,) in nats; larger means harder to bring to another label. Infinite where some
        probability is 0.

    Raises:
        BadInput: as there.

    Example:
        >>> average_cross_entropy(np.log([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]])).round(3)
        array([1.386, 2.303])
    """
    each = cross_entropies(log_probabilities)
    found: NDArray[np.float64] = np.nansum(each, axis=1) / (each.shape[1] - 1)
    return found


def decision_distances(
    features: ArrayLike, weight: ArrayLike, bias: ArrayLike
) -> NDArray[np.float64]:
    r"""How far features lie from where a last linear layer gives another label, in L_2.

    .. math:: \min_{j \ne c} \frac{z_c - z_j}{\lVert w_c - w_j \rVert_2}, \qquad
              z = W f + b, \quad c = \arg\max z

    Args:
        features: (n, d) inputs of the layer.
        weight: (k, d) of the layer, k >= 2.
        bias: (k,) of the layer.

    Returns:
        (n,) >= 0; infinite where no features at all get another label.

    Raises:
        BadInput: shapes that do not fit each other, numbers that are not finite.

    Example:
        >>> decision_distances([[3.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]).round(3)
        array([2.121])
    """
    f, w, b = _table(features), _table(weight), np.asarray(bias, dtype=np.float64)
    if f.shape[1] != w.shape[1] or b.shape != (len(w),) or len(w) < 2:
        raise BadInput(
            "last layer",
            f"has weights {w.shape} and biases {b.shape} for features {f.shape}",
            "Give (k, d), (k,) and (n, d), k >= 2",
        )
    if not all(np.isfinite(each).all() for each in (f, w, b)):
        raise BadInput(
            "last layer", "holds or gets numbers that are not finite", "Give finite ones"
        )
    z = f @ w.T + b
    c = z.argmax(1)
    lead = z[np.arange(len(z)), c][:, None] - z
    labels, place = np.unique(c, return_inverse=True)  # one at a time, for the memory's sake
    between = np.stack([np.linalg.norm(w[label] - w, axis=1) for label in labels])[place]
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(between > 0, lead / between, np.inf)
    each[np.arange(len(z)), c] = np.inf
    found: NDArray[np.float64] = each.min(1)
    return found


def _table(values: ArrayLike) -> NDArray[Any]:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 1:
        raise BadInput("table", f"has shape {table.shape}", "Give a row of numbers for each row")
    return table
