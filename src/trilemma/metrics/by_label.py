"""Rules that differ from label to label: what each finds, and all of them together."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trilemma.core.errors import BadInput
from trilemma.metrics.estimate import Estimate, Metric, NotEvaluable, check_level
from trilemma.metrics.leakage import membership
from trilemma.metrics.rates import Flagged
from trilemma.metrics.roc import roc
from trilemma.metrics.scores import Scores, checked

Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class ByLabel:
    """Balanced accuracies of a rule that may differ from label to label.

    Args:
        labels: label -> that of its rows alone.
        overall: that of the rule as a whole, where every label has a number.
    """

    labels: Mapping[int, Metric]
    overall: Metric

    def to_json(self) -> dict[str, Any]:
        """As in the audit document, labels as text."""
        labels = {str(label): metric.to_json() for label, metric in self.labels.items()}
        return {"overall": self.overall.to_json(), "labels": labels}


def class_thresholds(
    scores: ArrayLike,
    label: ArrayLike,
    member: ArrayLike,
    fitting: ArrayLike,
    *,
    level: float = 0.95,
) -> ByLabel:
    """A threshold for each label, chosen on some of its rows and judged on its others.

    `overall` is the balanced accuracy of the rule `member iff score >= t_label` on all judged
    rows: the mean over labels of their true positive rates, weighted by the labels' shares of the
    judged members, and of their false positive rates, weighted by the shares of the non-members.
    So it may be compared with the accuracy of one threshold on the same rows; where each label
    has the same share on both sides it is the weighted mean of the labels' accuracies.

    Args:
        scores: (n,) larger = more likely a member.
        label: (n,) whole numbers, known to the attacker.
        member: (n,) booleans.
        fitting: (n,) booleans: rows that thresholds are chosen on, and that are not judged.
        level: of the exact intervals.

    Returns:
        The accuracies; that of a label is not evaluable where it lacks members or non-members to
        choose or to judge by, nor then is the whole.

    Raises:
        BadInput: arguments of different lengths or of wrong types.

    Example:
        >>> scores, member = [5, 1, 5, 1, 9, 8, 9, 8], [True, False] * 4
        >>> label, fitting = [0, 0, 0, 0, 1, 1, 1, 1], [True, True, False, False] * 2
        >>> class_thresholds(scores, label, member, fitting).overall.value
        1.0

    Source:
        Song, Shokri and Mittal, "Privacy risks of securing machine learning models against
        adversarial examples", CCS 2019, section 5.2.5 ("confidence-infer").
    """
    values, labels, inside = _rows(scores, label, member)
    choose = _mask(fitting, "fitting rows", len(values))

    def found(own: Mask) -> Flagged | NotEvaluable:
        for rows, what in ((own & choose, "choose a threshold on"), (own & ~choose, "judge by")):
            if (why := _lacking(rows, inside, what)) is not None:
                return why
        curve = roc(values[own & choose & inside], values[own & choose & ~inside])
        return _flagged(values, inside, own & ~choose, curve.scores[curve.best])

    return _together(labels, found, level)


def class_decisions(
    scores: ArrayLike,
    label: ArrayLike,
    member: ArrayLike,
    *,
    threshold: float = 0.0,
    level: float = 0.95,
) -> ByLabel:
    """What a rule fixed beforehand finds among the rows of each label, and in all.

    Args:
        scores: (n,) larger = more likely a member; log-odds have the threshold 0.
        label: (n,) whole numbers.
        member: (n,) booleans.
        threshold: rows with score >= threshold are called members.
        level: of the exact intervals.

    Returns:
        As `class_thresholds`; that of a label is not evaluable where it lacks members or
        non-members.

    Raises:
        BadInput: as `class_thresholds`.
    """
    values, labels, inside = _rows(scores, label, member)

    def found(own: Mask) -> Flagged | NotEvaluable:
        why = _lacking(own, inside, "judge by")
        return _flagged(values, inside, own, threshold) if why is None else why

    return _together(labels, found, level)


def best_class_thresholds(
    scores: ArrayLike,
    label: ArrayLike,
    member: ArrayLike,
    *,
    level: float = 0.95,
    seed: SupportsIndex = 0,
) -> ByLabel:
    """The worst case: for each label the threshold that is best for these very rows.

    `overall` is the mean of the labels' accuracies, each weighted by the mean of its share of the
    members and its share of the non-members. Its interval is the same mean of theirs: wider than
    independent labels need, but the optimism of each label's choice adds up as the interval does.

    Args:
        scores: (n,) larger = more likely a member.
        label: (n,) whole numbers.
        member: (n,) booleans.
        level: of the intervals, which take off the optimism of choosing on the same rows, as
            those of `membership` do.
        seed: of the bootstrap behind them.

    Returns:
        As `class_thresholds`; that of a label is not evaluable where it lacks members or
        non-members.

    Raises:
        BadInput: as `class_thresholds`.
    """
    check_level(level)
    values, labels, inside = _rows(scores, label, member)
    found: dict[int, Metric] = {}
    weights = []
    for each in np.unique(labels).tolist():
        own = labels == each
        why = _lacking(own, inside, "judge by")
        if why is None:
            leak = membership(values[own & inside], values[own & ~inside], level=level, seed=seed)
            found[each] = leak.best_threshold_accuracy
        else:
            found[each] = why
        weights.append((own[inside].mean() + own[~inside].mean()) / 2 if why is None else 0.0)
    return ByLabel(labels=found, overall=_mean(found, weights, level))


def _mean(found: Mapping[int, Metric], weights: list[float], level: float) -> Metric:
    estimates = [each for each in found.values() if isinstance(each, Estimate)]
    if len(estimates) < len(found):
        return _missing(found)
    low, value, high = (
        math.fsum(w * getattr(each, end) for w, each in zip(weights, estimates, strict=True))
        for end in ("low", "value", "high")
    )
    return Estimate(value, min(low, value), max(high, value), level)


def _together(
    labels: NDArray[Any], found: Callable[[Mask], Flagged | NotEvaluable], level: float
) -> ByLabel:
    """Each label's accuracy, and that of the sums of their counts."""
    check_level(level)
    flagged = {each: found(labels == each) for each in np.unique(labels).tolist()}
    metrics: dict[int, Metric] = {
        each: one.balanced_accuracy(level) if isinstance(one, Flagged) else one
        for each, one in flagged.items()
    }
    counts = [one for one in flagged.values() if isinstance(one, Flagged)]
    if len(counts) < len(flagged):
        return ByLabel(labels=metrics, overall=_missing(metrics))
    whole = Flagged(
        hits=sum(one.hits for one in counts),
        members=sum(one.members for one in counts),
        alarms=sum(one.alarms for one in counts),
        nonmembers=sum(one.nonmembers for one in counts),
    )
    return ByLabel(labels=metrics, overall=whole.balanced_accuracy(level))


def _flagged(values: Scores, inside: Mask, rows: Mask, threshold: Any) -> Flagged:
    members, nonmembers = values[rows & inside], values[rows & ~inside]
    return Flagged(
        hits=int((members >= threshold).sum()),
        members=len(members),
        alarms=int((nonmembers >= threshold).sum()),
        nonmembers=len(nonmembers),
    )


def _lacking(rows: Mask, inside: Mask, what: str) -> NotEvaluable | None:
    members, nonmembers = int((rows & inside).sum()), int((rows & ~inside).sum())
    if members and nonmembers:
        return None
    return NotEvaluable(
        f"a label needs a member and a non-member at least to {what}; there are {members} and"
        f" {nonmembers}"
    )


def _missing(found: Mapping[int, Metric]) -> NotEvaluable:
    """Why there is no number of the whole: the first label that has none, and how many."""
    lacking = {label: one for label, one in found.items() if isinstance(one, NotEvaluable)}
    label, first = next(iter(lacking.items()))
    return NotEvaluable(
        f"{len(lacking)} of {len(found)} labels lack rows; label {label}: {first.why}"
    )


def _rows(
    scores: ArrayLike, label: ArrayLike, member: ArrayLike
) -> tuple[Scores, NDArray[Any], Mask]:
    values, labels = checked(scores, "scores"), np.asarray(label)
    if labels.shape != values.shape or labels.dtype.kind not in "iu":
        raise BadInput(
            "labels",
            f"have shape {labels.shape} and type {labels.dtype} beside {len(values)} scores",
            "Give one whole number a row",
        )
    return values, labels, _mask(member, "membership", len(values))


def _mask(given: ArrayLike, what: str, rows: int) -> Mask:
    mask = np.asarray(given)
    if mask.shape != (rows,) or mask.dtype != np.bool_:
        raise BadInput(
            what,
            f"has shape {mask.shape} and type {mask.dtype} beside {rows} scores",
            "Give one boolean a row",
        )
    return mask
