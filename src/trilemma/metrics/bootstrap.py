"""Intervals by resampling rows, for what is not a rate."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from trilemma.metrics.roc import Roc

CELLS = 1_000_000  # weights held in memory at a time, of either side


@dataclass(frozen=True, kw_only=True, eq=False)
class Replicates:
    """What the resampled data would have measured.

    Args:
        auc: (r,) area under the curve.
        best_accuracy: (r,) balanced accuracy at the threshold that is best for the replicate.
        excess: (r,) most by which the replicate's balanced accuracy exceeds the measured one at
            any one threshold, >= 0.
    """

    auc: NDArray[np.float64]
    best_accuracy: NDArray[np.float64]
    excess: NDArray[np.float64]


def bootstrap(curve: Roc, *, rng: Generator, replicates: int = 1000) -> Replicates:
    """Resample members and non-members, each with replacement and to its own size.

    A replicate is a multinomial weight for each distinct score of the sorted union, so no scores
    are sorted again: the AUC and the best accuracy are cumulative sums of weights, and the work
    is linear in rows times replicates. The result depends on the scores' order only, not on the
    order of the rows.

    Args:
        curve: the measured counts.
        rng: all randomness; the same generator state gives the same replicates.
        replicates: how many, >= 1.

    Returns:
        One number a replicate and statistic.

    Source:
        Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 8.3 (the
        two-sample problem).
    """
    members, nonmembers = (
        np.repeat(np.arange(len(counts)), counts)
        for counts in (np.diff(each, prepend=0) for each in (curve.hits, curve.alarms))
    )
    kinds, rows = len(curve.scores), max(len(members), len(nonmembers))
    size = max(1, CELLS // max(kinds, rows))
    measured = curve.hits * curve.nonmembers - curve.alarms * curve.members
    parts = []
    for start in range(0, replicates, size):
        count = min(size, replicates - start)
        hits = _weights(members, kinds, count, rng)
        alarms = _weights(nonmembers, kinds, count, rng)
        parts.append(_measure(hits, alarms, measured))
    auc, best, excess = np.concatenate(parts, axis=1)
    return Replicates(auc=auc, best_accuracy=best, excess=excess)


def percentile(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    """The central interval that holds `level` of the replicates."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def optimistic(measured: float, replicates: Replicates, level: float) -> tuple[float, float]:
    """Interval for the best accuracy, whose threshold was chosen on the rows that measure it.

    Low: the measured accuracy less the quantile of `excess`. The measured maximum lies above the
    true one by no more than the largest deviation over all thresholds, whose distribution the
    bootstrap gives; the reverse percentile end of the maximum itself covers too rarely where
    many thresholds are nearly as good as the best, as for scores without information.
    High: the reverse percentile end, 2 measured - q; the replicates' maxima are optimistic about
    the measured one as that is about the truth.

    Args:
        measured: best accuracy of the data.
        replicates: of the same data.
        level: of the interval; each end has error (1 - level) / 2.

    Source:
        Efron and Tibshirani, 1993, section 13.4; Bickel and Freedman, "Some asymptotic theory for
        the bootstrap", Annals of Statistics 1981, section 4 (suprema of empirical processes).
    """
    low = measured - percentile(replicates.excess, level)[1]
    high = 2 * measured - percentile(replicates.best_accuracy, level)[0]
    return max(low, 0.5), max(min(high, 1.0), measured)


def _weights(place: NDArray[np.int64], kinds: int, count: int, rng: Generator) -> NDArray[np.int64]:
    """(count, kinds) multinomial weights: how often each distinct score was drawn."""
    drawn = place[rng.integers(len(place), size=(count, len(place)), dtype=np.uint32)]
    drawn += kinds * np.arange(count)[:, None]
    return np.bincount(drawn.ravel(), minlength=count * kinds).reshape(count, kinds)


def _measure(
    hits: NDArray[np.int64], alarms: NDArray[np.int64], measured: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(3, count): the statistics of `Replicates`, from weights in descending order of score."""
    hits_so_far, alarms_so_far = hits.cumsum(axis=1), alarms.cumsum(axis=1)
    members, nonmembers = hits_so_far[0, -1], alarms_so_far[0, -1]
    pairs = 2 * members * nonmembers
    # a member beats the non-members below it and halves the ties with those at its score
    beaten = 2 * (nonmembers - alarms_so_far) + alarms
    auc = np.einsum("ij,ij->i", hits, beaten) / pairs
    gap = hits_so_far * nonmembers - alarms_so_far * members
    return np.stack([auc, 0.5 + gap.max(axis=1) / pairs, (gap - measured).max(axis=1) / pairs])
