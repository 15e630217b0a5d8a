"""The trade-off of every threshold rule `member iff score >= t`, exactly."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trilemma.core.errors import BadInput
from trilemma.metrics.rates import Flagged
from trilemma.metrics.scores import Scores, pair


@dataclass(frozen=True, kw_only=True, eq=False)
class Roc:
    """Counts at each distinct score; tied scores share one entry.

    Args:
        scores: (k,) the distinct scores of both samples, descending: the thresholds.
        hits: (k,) members with score >= threshold; the last entry is all of them.
        alarms: (k,) non-members with score >= threshold.
    """

    scores: Scores
    hits: NDArray[np.int64]
    alarms: NDArray[np.int64]

    @property
    def members(self) -> int:
        """Members in all."""
        return int(self.hits[-1])

    @property
    def nonmembers(self) -> int:
        """Non-members in all."""
        return int(self.alarms[-1])

    @property
    def wins(self) -> float:
        """P(member > non-member) over all pairs."""
        below = self.nonmembers - self.alarms
        won = int((np.diff(self.hits, prepend=0) * below).sum())
        return won / (self.members * self.nonmembers)

    @property
    def ties(self) -> float:
        """P(member = non-member) over all pairs."""
        tied = np.diff(self.hits, prepend=0) * np.diff(self.alarms, prepend=0)
        return int(tied.sum()) / (self.members * self.nonmembers)

    @property
    def auc(self) -> float:
        """P(member > non-member) + P(member = non-member) / 2: the area under the curve."""
        return self.wins + self.ties / 2

    @property
    def best(self) -> int:
        """Index of the threshold of greatest balanced accuracy; of several, the highest."""
        return int((self.hits * self.nonmembers - self.alarms * self.members).argmax())

    def flagged(self, index: int) -> Flagged:
        """What the threshold `scores[index]` flags."""
        return Flagged(
            hits=int(self.hits[index]),
            members=self.members,
            alarms=int(self.alarms[index]),
            nonmembers=self.nonmembers,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Points to draw, from (0, 0), nobody flagged, to (1, 1), everybody.

    Args:
        fpr: (p,) false positive rates, not decreasing.
        tpr: (p,) true positive rates, not decreasing.
    """

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        """As in the audit document."""
        return {"fpr": self.fpr.tolist(), "tpr": self.tpr.tolist()}


def roc(member_scores: ArrayLike, nonmember_scores: ArrayLike) -> Roc:
    """Every threshold rule on two samples of scores.

    A row is called a member iff its score >= t, t running over the distinct scores of both
    samples together.

    Args:
        member_scores: (n,) scores of members; larger = more likely a member; +-inf allowed.
        nonmember_scores: (m,) scores of non-members.

    Returns:
        The counts, ties and infinities included, nothing interpolated.

    Raises:
        BadInput: a side that is empty, not one-dimensional, not numbers, or that holds a NaN.

    Example:
        >>> curve = roc([0.9, 0.8], [0.8, 0.1])
        >>> curve.scores, curve.hits, curve.alarms
        (array([0.9, 0.8, 0.1]), array([1, 2, 2]), array([0, 1, 2]))
        >>> curve.auc
        0.875

    Source:
        Song, Shokri and Mittal, "Privacy risks of securing machine learning models against
        adversarial examples", CCS 2019, eq. 17 (>=, as in the authors' code).
    """
    members, nonmembers = pair(member_scores, nonmember_scores)
    union, place = np.unique(np.concatenate([members, nonmembers]), return_inverse=True)
    last = len(union) - 1
    hits, alarms = (
        np.bincount(last - side, minlength=len(union)).cumsum().astype(np.int64)
        for side in (place[: len(members)], place[len(members) :])
    )
    return Roc(scores=union[::-1], hits=hits, alarms=alarms)


def thin(curve: Roc, points: int = 500) -> Curve:
    """A curve of at most `points` points that looks the same on linear and on log-log axes.

    Points inside a horizontal or vertical run are dropped, which changes nothing. Of the corners
    that remain the first half of the budget goes to the lowest false positive rates, exactly; the
    other half is spread evenly along the curve's length on both kinds of axes. Each point is one
    of the curve's own.

    Args:
        curve: all points.
        points: most points to keep, >= 4.

    Returns:
        The points, with (0, 0) and (1, 1).

    Raises:
        BadInput: points < 4.

    Example:
        >>> thin(roc([3.0, 2.0, 1.0], [0.0])).to_json()
        {'fpr': [0.0, 0.0, 1.0], 'tpr': [0.0, 1.0, 1.0]}
    """
    if points < 4:
        raise BadInput("points", f"is {points}", "Keep at least 4 points of a curve")
    hits, alarms = _corners(np.append(0, curve.hits), np.append(0, curve.alarms))
    if len(hits) > points:
        keep = _spread(hits, alarms, points)
        hits, alarms = hits[keep], alarms[keep]
    return Curve(fpr=alarms / curve.nonmembers, tpr=hits / curve.members)


def _corners(
    hits: NDArray[np.int64], alarms: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    up, right = np.diff(hits) > 0, np.diff(alarms) > 0
    # a point inside a run has the same single direction on either side
    straight = (up[1:] == up[:-1]) & (right[1:] == right[:-1]) & (up[1:] != right[1:])
    keep = np.concatenate([[True], ~straight, [True]])
    return hits[keep], alarms[keep]


def _spread(hits: NDArray[np.int64], alarms: NDArray[np.int64], points: int) -> NDArray[np.int64]:
    exact = points // 2
    travelled = np.zeros(len(hits))
    for counts in (hits, alarms):
        logs = np.log(np.maximum(counts, 1))
        travelled += counts / counts[-1] + logs / max(logs[-1], 1.0)
    marks = np.linspace(travelled[exact], travelled[-1], points - exact)
    rest = np.searchsorted(travelled, marks[:-1]).astype(np.int64)
    return np.unique(np.concatenate([np.arange(exact), rest, [len(hits) - 1]]))
