"""What labelled neighbours tell of a model with a known property (Qin et al. 2023, section 4.1)."""

import math
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.types import PerRow

Union: TypeAlias = Literal["K", "k"]
Neighbours: TypeAlias = Float[Tensor, "n m"]
Number: TypeAlias = float | Float[Tensor, ""]


def posterior_interval(
    xi: Float[Tensor, " m"],
    labels: Int[Tensor, " m"],
    k_max: int = 50,
    eta: float = 0.95,
    union: Union = "K",
) -> tuple[float, float]:
    r"""Where a model's posterior of one class lies at a point, by its nearest labelled neighbours.

    .. math:: \bigcap_{k=1}^{K} \left[ \mu_k \pm \left( \frac1k \sum_{i=1}^k \xi_i +
        \sqrt{\frac{1}{2k} \ln \frac{2K}{1-\eta}} \right) \right] \cap [0, 1],
        \quad \mu_k = \frac1k \sum_{i=1}^k y_i

    which holds with probability eta or more where labels are drawn by the posterior and xi bounds
    how far it moves between neighbour and point (Hoeffding's inequality for each k, and a union
    bound over them).

    Args:
        xi: (m,) at least 0: by how much the posterior may differ at each neighbour, in the order of
            their distance, the nearest first.
        labels: (m,) 1 where the neighbour has the class, else 0.
        k_max: K; of more neighbours the nearest so many count. It stands in the union bound as it
            is where there are fewer.
        eta: in [0, 1), the level.
        union: `K` is what the paper proves. `k` puts the number of neighbours in its place, as
            algorithm 2 prints it, which no union bound covers.

    Returns:
        The ends, in [0, 1]; the first is larger where the neighbours contradict each other.

    Raises:
        BadInput: no neighbour, or not as many labels; a label that is neither 0 nor 1; a deviation
            below 0 or NaN; k_max below 1; eta outside [0, 1).

    Example:
        >>> ones = torch.ones(8, dtype=torch.int64)
        >>> low, high = posterior_interval(torch.zeros(8), ones, k_max=8)
        >>> round(low, 4), high
        (0.3996, 1.0)

    Source:
        Qin et al., CCS 2023, section 4.1, equation 3, and algorithm 2, lines 10-11.
    """
    low, high = posterior_intervals(xi.unsqueeze(0), labels.unsqueeze(0), k_max, eta, union)
    return low.item(), high.item()


def posterior_intervals(
    xi: Neighbours,
    labels: Int[Tensor, "n m"],
    k_max: int = 50,
    eta: float = 0.95,
    union: Union = "K",
) -> tuple[PerRow, PerRow]:
    """`posterior_interval` for many points at once.

    Args:
        xi: (n, m), a row for each point.
        labels: (n, m)
        k_max, eta, union: as there.

    Returns:
        The ends, (n,) each, float64.
    """
    _check(xi, labels, k_max, eta, union)
    xi, y = xi[:, :k_max].double(), labels[:, :k_max].double()
    k = torch.arange(1, xi.shape[1] + 1, dtype=torch.float64, device=xi.device)
    events = torch.full_like(k, k_max) if union == "K" else k
    slack = ((2 * events / (1 - eta)).log() / (2 * k)).sqrt()
    middle, reach = y.cumsum(1) / k, xi.cumsum(1) / k + slack
    return (middle - reach).amax(1).clamp(min=0), (middle + reach).amin(1).clamp(max=1)


def infer(low: Number, high: Number, marginal: float, max_length: float = 0.9) -> int | None:
    """The class's label at a point, or None where the victim has to be asked.

    Args:
        low, high: what `posterior_interval` gives.
        marginal: p, the share of the class among the labelled points; the middle of the interval is
            compared with it.
        max_length: intervals that are longer say too little. The paper has such a threshold and
            does not state it; 0.9 is ours, and at 1 none is too long.

    Returns:
        1 or 0; None where low >= high or the interval is too long.

    Example:
        >>> infer(0.6, 0.9, marginal=0.5), infer(0.2, 0.4, marginal=0.5)
        (1, 0)
        >>> infer(0.7, 0.6, marginal=0.5) is None
        True

    Source:
        Qin et al. 2023, algorithm 2 (lines 12-18) and section 4.2.
    """
    if low >= high or high - low > max_length:
        return None
    return int((low + high) / 2 > marginal)


def _check(xi: Tensor, labels: Tensor, k_max: int, eta: float, union: str) -> None:
    if k_max < 1:
        raise BadInput("k_max", f"is {k_max}", "Give 1 or more")
    if not 0 <= eta < 1:
        raise BadInput("eta", f"is {eta}", "Give a level in [0, 1)")
    if union not in get_args(Union):
        raise BadInput("union", f"is {union!r}", f"Allowed: {', '.join(get_args(Union))}")
    if xi.shape != labels.shape or xi.shape[1] == 0:
        problem = f"have shapes {tuple(xi.shape)} and {tuple(labels.shape)}"
        raise BadInput("neighbours", problem, "Give one deviation and one label each, of 1 or more")
    if bool(((labels != 0) & (labels != 1)).any()):
        raise BadInput("labels", "are not all 0 or 1", "Give 1 where the neighbour has the class")
    if not bool((xi >= 0).all()) or math.isnan(float(xi.sum())):
        raise BadInput("xi", "has a deviation below 0 or NaN", "Give bounds of a difference")
