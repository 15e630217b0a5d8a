"""Shares of independent trials, with exact intervals."""

import operator
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainccinv, betaincinv

from trilemma.core.errors import BadInput
from trilemma.metrics.estimate import Estimate, check_level


def rate(hits: SupportsIndex, trials: SupportsIndex, level: float = 0.95) -> Estimate:
    """Share of hits with the exact (Clopper-Pearson) interval.

    The ends are where the observed count, or one more extreme, has probability (1 - level) / 2:
    with B^-1 the inverse of the regularised incomplete beta function,

        low = B^-1(hits, trials - hits + 1; tail),  high = B^-1(hits + 1, trials - hits; 1 - tail).

    Either end alone is a one-sided bound that holds with probability >= (1 + level) / 2.

    Args:
        hits: trials that came out positive, 0 <= hits <= trials.
        trials: independent trials, >= 1.
        level: probability, in (0, 1), with which the interval covers the true rate at least.

    Returns:
        The share in [0, 1] with its interval.

    Raises:
        BadInput: counts out of range; a level outside (0, 1).

    Example:
        >>> all_right = rate(10, 10)
        >>> all_right.value, round(all_right.low, 4), all_right.high
        (1.0, 0.6915, 1.0)

    Source:
        Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of
        the binomial", Biometrika 1934.
    """
    check_level(level)
    found, of = operator.index(hits), operator.index(trials)
    if of < 1 or not 0 <= found <= of:
        raise BadInput(
            "rate", f"{found} hits in {of} trials", "Give 0 <= hits <= trials and trials >= 1"
        )
    value, misses, tail = found / of, of - found, (1 - level) / 2
    low = float(betaincinv(found, misses + 1, tail)) if found else 0.0
    high = float(betainccinv(found + 1, misses, tail)) if misses else 1.0
    return Estimate(value, min(low, value), max(high, value), level)


def accuracy(correct: ArrayLike, level: float = 0.95) -> Estimate:
    """Share of correct answers.

    Args:
        correct: (n,) booleans, one per row, n >= 1.
        level: as in `rate`.

    Returns:
        The share in [0, 1] with its exact interval.

    Raises:
        BadInput: no rows, not one-dimensional, or not booleans.

    Example:
        >>> accuracy([True, True, False, True]).value
        0.75
    """
    answers = np.asarray(correct)
    if answers.ndim != 1 or not len(answers):
        raise BadInput(
            "correct answers", f"have shape {answers.shape}", "Give one boolean a row, 1 or more"
        )
    if answers.dtype != np.bool_:
        raise BadInput("correct answers", f"are of type {answers.dtype}", "Give booleans")
    return rate(int(answers.sum()), len(answers), level)


@dataclass(frozen=True, kw_only=True)
class Flagged:
    """How many rows a fixed rule called members.

    Args:
        hits: members that were flagged.
        members: members judged, >= 1.
        alarms: non-members that were flagged.
        nonmembers: non-members judged, >= 1.
    """

    hits: int
    members: int
    alarms: int
    nonmembers: int

    def tpr(self, level: float = 0.95) -> Estimate:
        """Share of the members that is flagged."""
        return rate(self.hits, self.members, level)

    def fpr(self, level: float = 0.95) -> Estimate:
        """Share of the non-members that is flagged."""
        return rate(self.alarms, self.nonmembers, level)

    def balanced_accuracy(self, level: float = 0.95) -> Estimate:
        """(TPR + 1 - FPR) / 2, each rate at the level (1 + level) / 2.

        By Bonferroni both exact intervals hold together with probability >= level, and so does
        the interval that their ends give, provided that the rule was fixed before these rows were
        looked at.
        """
        tpr, fpr = self.tpr((1 + level) / 2), self.fpr((1 + level) / 2)
        return Estimate(
            (tpr.value + 1 - fpr.value) / 2,
            (tpr.low + 1 - fpr.high) / 2,
            (tpr.high + 1 - fpr.low) / 2,
            level,
        )

    def f1(self, level: float = 0.95) -> Estimate:
        """Harmonic mean of precision and recall, 2 hits / (hits + alarms + members).

        Its precision is that among as many members and non-members as were judged. It grows with
        the TPR and falls with the FPR, so that its interval follows from theirs, as that of the
        balanced accuracy.

        Example:
            >>> Flagged(hits=3, members=4, alarms=1, nonmembers=4).f1().value
            0.75
        """
        tpr, fpr = self.tpr((1 + level) / 2), self.fpr((1 + level) / 2)
        return Estimate(
            self._f1(tpr.value, fpr.value),
            self._f1(tpr.low, fpr.high),
            self._f1(tpr.high, fpr.low),
            level,
        )

    def _f1(self, tpr: float, fpr: float) -> float:
        hits = tpr * self.members
        return 2 * hits / (hits + fpr * self.nonmembers + self.members)
