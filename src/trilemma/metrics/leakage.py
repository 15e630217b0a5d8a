"""What one score says about membership: every number of the audit, from two samples."""

import math
import operator
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from trilemma.core.errors import BadInput
from trilemma.metrics.bootstrap import Replicates, bootstrap, optimistic, percentile
from trilemma.metrics.epsilon import epsilon_lower_bound
from trilemma.metrics.estimate import Estimate, Metric, NotEvaluable, check_level
from trilemma.metrics.held_out import Halves, HeldOut, halves, held_out
from trilemma.metrics.operating import precision_at, tpr_at
from trilemma.metrics.rates import rate
from trilemma.metrics.roc import Roc, roc
from trilemma.metrics.scores import pair

FEW = 5  # with fewer rows of the rarer kind than this, a bootstrap sees too little to vary


@dataclass(frozen=True, kw_only=True, eq=False)
class MembershipMetrics:
    """How well a score tells members from non-members.

    Args:
        auc: P(member > non-member) + P(tie) / 2, in [0, 1]; chance is 0.5. Interval: percentile
            bootstrap; where the samples are (nearly) separated or tiny, so that resampling sees
            too little, widened to the exact interval from disjoint pairs.
        best_threshold_accuracy: balanced accuracy at the threshold that is best for these very
            rows, in [0.5, 1] (the papers' worst case). Interval: bootstrap, which takes off the
            optimism of choosing on the same rows; widened to that of the exact rates at the best
            threshold where resampling sees too little.
        held_out_threshold_accuracy: balanced accuracy, in [0, 1], on one random half of the rows
            at the threshold that is best on the other half. Interval: exact.
        advantage: 2 (best_threshold_accuracy - 0.5), in [0, 1].
        epsilon_lower_bound: certified lower end of the empirical epsilon, in nats, >= 0.
        curve: the whole trade-off.
        held_out: the held-out threshold and what it flagged.
        level: of every interval.
    """

    auc: Estimate
    best_threshold_accuracy: Estimate
    held_out_threshold_accuracy: Metric
    advantage: Estimate
    epsilon_lower_bound: Metric
    curve: Roc
    held_out: HeldOut | NotEvaluable
    level: float

    def tpr_at(self, fpr: float) -> Metric:
        """Largest true positive rate with an empirical false positive rate <= `fpr`.

        Args:
            fpr: in [0, 1].

        Returns:
            The share of members found, with its exact interval; not evaluable where `fpr` is
            finer than one non-member.

        Raises:
            BadInput: fpr outside [0, 1].
        """
        return tpr_at(self.curve, fpr, self.level)

    def precision_at(self, prior: float) -> Metric:
        """Share of true members among the flagged rows, if `prior` of all rows are members.

        Args:
            prior: in (0, 1).

        Returns:
            The positive predictive value at the held-out threshold; not evaluable where nothing
            is flagged.

        Raises:
            BadInput: prior outside (0, 1).
        """
        if isinstance(self.held_out, NotEvaluable):
            return self.held_out
        return precision_at(self.held_out.flagged, prior, self.level)


def membership(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    *,
    level: float = 0.95,
    seed: SupportsIndex = 0,
    delta: float = 0.0,
) -> MembershipMetrics:
    """Measure how well a score tells members from non-members.

    Every rule is `member iff score >= t`. The results depend on the scores' order only: any
    strictly increasing map of all scores leaves them as they are, and so does any order of rows.

    Args:
        member_scores: (n,) scores of members; larger = more likely a member; +-inf allowed.
        nonmember_scores: (m,) scores of non-members.
        level: confidence of every interval, in (0, 1).
        seed: of the bootstrap (1,000 replicates) and of the split into halves, >= 0; the same
            seed gives the same numbers.
        delta: of the privacy definition behind `epsilon_lower_bound`, in [0, 1).

    Returns:
        The metrics, each with its interval or with the reason why the rows do not support it.

    Raises:
        BadInput: a side that is empty, not one-dimensional, not numbers, or that holds a NaN
            (says which side and row); a level, delta or seed out of range.

    Example:
        >>> leak = membership([0.9, 0.8, 0.7, 0.6], [0.65, 0.3, 0.2, 0.1])
        >>> leak.auc.value, leak.best_threshold_accuracy.value, leak.advantage.value
        (0.9375, 0.875, 0.75)
        >>> leak.tpr_at(0.25).value
        1.0
        >>> print(leak.tpr_at(0.01).why)
        a false positive rate of 0.01 needs 100 non-members or more; there are 4

    Source:
        Song, Shokri and Mittal, "Privacy risks of securing machine learning models against
        adversarial examples", CCS 2019, eq. 15-17.
    """
    check_level(level)
    members, nonmembers = pair(member_scores, nonmember_scores)
    for_halves, for_bootstrap = _generators(seed)
    curve = roc(members, nonmembers)
    replicates = bootstrap(curve, rng=for_bootstrap)
    best = _best_threshold_accuracy(curve, replicates, level)
    split: Halves | None = None
    if min(len(members), len(nonmembers)) >= 2:
        split = halves(members, nonmembers, for_halves)
    too_few = NotEvaluable(
        "choosing a threshold on one half and judging it on the other needs 2 members and 2"
        f" non-members or more; there are {len(members)} and {len(nonmembers)}"
    )
    judged = held_out(split) if split else too_few
    return MembershipMetrics(
        auc=_auc(curve, replicates, level),
        best_threshold_accuracy=best,
        held_out_threshold_accuracy=(
            judged.flagged.balanced_accuracy(level) if isinstance(judged, HeldOut) else judged
        ),
        advantage=Estimate(2 * best.value - 1, 2 * best.low - 1, 2 * best.high - 1, level),
        epsilon_lower_bound=(
            epsilon_lower_bound(split, delta=delta, level=level) if split else too_few
        ),
        curve=curve,
        held_out=judged,
        level=level,
    )


def auc(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    *,
    level: float = 0.95,
    seed: SupportsIndex = 0,
) -> Estimate:
    """The AUC of `membership` alone: the same number and interval, without the rest.

    Args:
        member_scores: (n,) scores of members; larger = more likely a member; +-inf allowed.
        nonmember_scores: (m,) scores of non-members.
        level: of the interval, in (0, 1).
        seed: of the bootstrap, >= 0.

    Raises:
        BadInput: as `membership`.

    Example:
        >>> auc([0.9, 0.8, 0.7, 0.6], [0.65, 0.3, 0.2, 0.1]).value
        0.9375
    """
    check_level(level)
    curve = roc(*pair(member_scores, nonmember_scores))
    _, for_bootstrap = _generators(seed)
    return _auc(curve, bootstrap(curve, rng=for_bootstrap), level)


def _generators(seed: SupportsIndex) -> list[np.random.Generator]:
    start = operator.index(seed)
    if start < 0:
        raise BadInput("seed", f"is {start}", "Give a whole number >= 0")
    return np.random.default_rng(start).spawn(2)


def _auc(curve: Roc, replicates: Replicates, level: float) -> Estimate:
    low, high = percentile(replicates.auc, level)
    pairs = min(curve.members, curve.nonmembers)
    commonest = max(curve.wins, curve.ties, 1 - curve.wins - curve.ties)
    if pairs * (1 - commonest) < FEW:
        low, high = _hull((low, high), _auc_of_pairs(curve, level))
    return Estimate(curve.auc, min(low, curve.auc), max(high, curve.auc), level)


def _auc_of_pairs(curve: Roc, level: float) -> tuple[float, float]:
    """AUC = (1 + P(win) - P(loss)) / 2, from as many disjoint pairs as the smaller side gives.

    Disjoint pairs are independent trials, so both shares have exact intervals, here at the
    Bonferroni level. Counts are rounded outwards.
    """
    pairs, each = min(curve.members, curve.nonmembers), (1 + level) / 2
    wins, losses = pairs * curve.wins, pairs * (1 - curve.wins - curve.ties)
    few_wins, most_wins = _around(wins, pairs)
    few_losses, most_losses = _around(losses, pairs)
    low = 1 + rate(few_wins, pairs, each).low - rate(most_losses, pairs, each).high
    high = 1 + rate(most_wins, pairs, each).high - rate(few_losses, pairs, each).low
    return max(0.0, low / 2), min(1.0, high / 2)


def _around(count: float, most: int) -> tuple[int, int]:
    slack = 1e-9 * most  # a whole count that rounding moved is still that count
    return max(0, math.floor(count + slack)), min(most, math.ceil(count - slack))


def _best_threshold_accuracy(curve: Roc, replicates: Replicates, level: float) -> Estimate:
    at_best = curve.flagged(curve.best).balanced_accuracy(level)
    gap = int(curve.hits[curve.best]) * curve.nonmembers
    gap -= int(curve.alarms[curve.best]) * curve.members
    value = 0.5 + gap / (2 * curve.members * curve.nonmembers)
    low, high = optimistic(value, replicates, level)
    if low == high or min(curve.members, curve.nonmembers) * (1 - value) < FEW:
        low, high = _hull((low, high), (at_best.low, at_best.high))
    return Estimate(value, min(value, max(low, 0.5)), max(value, min(high, 1.0)), level)


def _hull(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return min(one[0], other[0]), max(one[1], other[1])
