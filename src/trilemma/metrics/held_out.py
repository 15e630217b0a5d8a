"""A threshold chosen on one half of the rows and judged on the other."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from trilemma.metrics.rates import Flagged
from trilemma.metrics.roc import roc
from trilemma.metrics.scores import Scores


@dataclass(frozen=True, kw_only=True, eq=False)
class Halves:
    """Two disjoint halves of each sample.

    Args:
        choose_members: members that a threshold may be chosen on.
        choose_nonmembers: non-members that it may be chosen on.
        judge_members: members that only the chosen threshold sees.
        judge_nonmembers: non-members that only the chosen threshold sees.
    """

    choose_members: Scores
    choose_nonmembers: Scores
    judge_members: Scores
    judge_nonmembers: Scores


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """A threshold and what it flagged among rows that it was not chosen on.

    Args:
        threshold: rows with score >= threshold are flagged; one of the scores of the half that
            it was chosen on.
        flagged: counts over the other half.
    """

    threshold: Any
    flagged: Flagged


def halves(members: Scores, nonmembers: Scores, rng: Generator) -> Halves:
    """Each sample split at random; of an odd number the odd row is judged.

    The rows are sorted before they are shuffled, so that the split depends on the scores and the
    generator, not on the order of the rows.

    Args:
        members: (n,) scores, n >= 2.
        nonmembers: (m,) scores, m >= 2.
        rng: all randomness.
    """
    sides = []
    for side in (members, nonmembers):
        mixed = rng.permutation(np.sort(side))
        sides.append((mixed[: len(side) // 2], mixed[len(side) // 2 :]))
    return Halves(
        choose_members=sides[0][0],
        choose_nonmembers=sides[1][0],
        judge_members=sides[0][1],
        judge_nonmembers=sides[1][1],
    )


def held_out(split: Halves) -> HeldOut:
    """The threshold of greatest balanced accuracy on one half, and its flags on the other.

    Candidates are the scores of the first half; of several equally good ones the highest is taken
    (it flags fewest).

    Args:
        split: as `halves` makes it.
    """
    curve = roc(split.choose_members, split.choose_nonmembers)
    threshold = curve.scores[curve.best]
    return HeldOut(threshold=threshold, flagged=judge(split, threshold))


def judge(split: Halves, threshold: Any) -> Flagged:
    """What `score >= threshold` flags in the half that the threshold was not chosen on."""
    return Flagged(
        hits=int((split.judge_members >= threshold).sum()),
        members=len(split.judge_members),
        alarms=int((split.judge_nonmembers >= threshold).sum()),
        nonmembers=len(split.judge_nonmembers),
    )
