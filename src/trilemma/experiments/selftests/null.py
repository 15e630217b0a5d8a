"""Does the measurement find a leak where there is none? Non-members against non-members."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from trilemma import metrics
from trilemma.experiments.selftests.checks import Check, not_evaluable, passed, warned

LEVEL = 0.999
FEWEST = 20


def null_run(nonmember_scores: NDArray[Any], seed: int) -> Check:
    """Play members with a random half of the non-members: AUC must be 0.5 up to chance.

    Under random halving the AUC has mean 0.5 and, with n and m rows in the halves, N = n + m and
    t scores in each group of ties, the variance of the Wilcoxon statistic

        [N + 1 - sum(t^3 - t) / (N (N - 1))] / (12 n m).

    The interval is at 99.9 %: at the usual 95 % one clean audit in 20 would warn.

    Args:
        nonmember_scores: (m,) an attack's scores of non-members; larger = more likely a member.
        seed: of the halving.

    Returns:
        A warning where the interval of the AUC misses 0.5.
    """
    scores = np.asarray(nonmember_scores)
    rows = len(scores)
    if rows < FEWEST:
        return not_evaluable(f"{rows} non-members are too few to halve; {FEWEST} are needed.")
    order = np.random.default_rng(seed).permutation(rows)
    half, rest = scores[order[: rows // 2]], scores[order[rows // 2 :]]
    auc = metrics.roc(half, rest).auc
    reach = float(ndtri((1 + LEVEL) / 2)) * _deviation(scores, len(half))
    low, high = max(0.0, auc - reach), min(1.0, auc + reach)
    found = f"AUC {auc:.3f} ({LEVEL:.1%} interval {low:.3f} to {high:.3f})"
    details = {"auc": {"value": auc, "low": low, "high": high, "level": LEVEL}, "rows": rows}
    if low <= 0.5 <= high:
        return passed(f"Non-members against non-members show no leak: {found}.", **details)
    return warned(
        f"Non-members against non-members show a leak where there is none: {found}."
        " Distrust the other figures.",
        **details,
    )


def _deviation(scores: NDArray[Any], n: int) -> float:
    """Standard deviation of the AUC when n of the scores are drawn at random."""
    rows = len(scores)
    _, ties = np.unique(scores, return_counts=True)
    ties = ties.astype(np.float64)
    spread = rows + 1 - float((ties**3 - ties).sum()) / (rows * (rows - 1))
    return float(np.sqrt(max(spread, 0.0) / (12 * n * (rows - n))))
