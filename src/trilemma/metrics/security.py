"""Rows that hold out against an attack, and what their benign losses tell about it."""

from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trilemma.core.errors import BadInput
from trilemma.metrics.estimate import Metric, NotEvaluable
from trilemma.metrics.histograms import loss_histogram
from trilemma.metrics.leakage import membership
from trilemma.metrics.scores import Scores, checked


@dataclass(frozen=True, kw_only=True, eq=False)
class Security:
    """How well the loss on the row as it is tells insecure rows from secure ones.

    Args:
        secure: rows that are right as they are and under attack.
        insecure: all others.
        wrong: of these, rows that are wrong as they are.
        auc: probability that an insecure row has a larger loss than a secure one, ties half.
        best_threshold_accuracy: mean of the shares of insecure and of secure rows recognised, at
            the threshold that is best for these rows.
        auc_among_right: the AUC among rows that are right as they are: what the loss tells beyond
            that a row is wrong already.
        loss: counts in the same bins: `edges`, `secure`, `insecure` and so on, as
            `loss_histogram`; None where one side is empty.
    """

    secure: int
    insecure: int
    wrong: int
    auc: Metric
    best_threshold_accuracy: Metric
    auc_among_right: Metric
    loss: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """As in the audit document; `loss` only where there is one."""
        metrics = {
            "auc": self.auc.to_json(),
            "best_threshold_accuracy": self.best_threshold_accuracy.to_json(),
            "auc_among_right": self.auc_among_right.to_json(),
        }
        rows = {"secure": self.secure, "insecure": self.insecure, "wrong": self.wrong}
        return {"metrics": metrics, "rows": rows, **({"loss": self.loss} if self.loss else {})}


def security(
    loss: ArrayLike,
    right: ArrayLike,
    withstood: ArrayLike,
    *,
    level: float = 0.95,
    seed: SupportsIndex = 0,
    bins: int = 50,
) -> Security:
    """Split rows into secure and insecure ones, and compare their losses.

    A row is secure if no perturbation within the ball, none at all among them, makes the model err.
    An attack tries but some, so that rows called secure here may fall to a better one.

    Args:
        loss: (n,) cross-entropy of each row as it is, in nats, >= 0, inf allowed.
        right: (n,) booleans: the label is right as the row is.
        withstood: (n,) booleans: it is right under attack.
        level: of the intervals.
        seed: of the bootstrap behind them.
        bins: of the histogram.

    Returns:
        Counts, and the comparison or the reason why there is none.

    Raises:
        BadInput: no rows, arguments of different lengths or of wrong types, a NaN.

    Example:
        >>> found = security([0.1, 0.3, 0.9], [True, True, False], [True, False, False])
        >>> found.secure, found.insecure, found.wrong, found.auc.value
        (1, 2, 1, 1.0)

    Source:
        Song, Shokri and Mittal, "Privacy risks of securing machine learning models against
        adversarial examples", CCS 2019, appendix A, figure 7.
    """
    losses = checked(loss, "losses").astype(np.float64)
    unchanged, attacked = (
        _mask(given, what, len(losses))
        for given, what in ((right, "answers to rows as they are"), (withstood, "answers attacked"))
    )
    secure = unchanged & attacked
    auc, best = _told(losses, secure, level, seed)
    among, _ = _told(losses[unchanged], secure[unchanged], level, seed)
    histogram = None
    if 0 < secure.sum() < len(secure):
        counted = loss_histogram(losses[secure], losses[~secure], bins=bins)
        histogram = {_renamed(name): value for name, value in counted.items()}
    return Security(
        secure=int(secure.sum()),
        insecure=int((~secure).sum()),
        wrong=int((~unchanged).sum()),
        auc=auc,
        best_threshold_accuracy=best,
        auc_among_right=among,
        loss=histogram,
    )


def _told(
    losses: Scores, secure: NDArray[np.bool_], level: float, seed: SupportsIndex
) -> tuple[Metric, Metric]:
    """AUC and best accuracy of the rule `insecure iff loss >= t`."""
    kept, lost = int(secure.sum()), int((~secure).sum())
    if not kept or not lost:
        why = NotEvaluable(
            f"{kept} secure and {lost} insecure rows: there is nothing to tell apart"
        )
        return why, why
    found = membership(losses[~secure], losses[secure], level=level, seed=seed)
    return found.auc, found.best_threshold_accuracy


def _renamed(key: str) -> str:
    """`nonmembers` before `members`, which is a part of it."""
    return key.replace("nonmembers", "insecure").replace("members", "secure")


def _mask(given: ArrayLike, what: str, rows: int) -> NDArray[np.bool_]:
    mask = np.asarray(given)
    if mask.shape != (rows,) or mask.dtype != np.bool_:
        raise BadInput(
            what,
            f"have shape {mask.shape} and type {mask.dtype} beside {rows} losses",
            "Give one boolean a row",
        )
    return mask
