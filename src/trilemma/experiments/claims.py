"""The claims ledger: findings of the papers, decided from the records of declared studies.

How a claim is decided was fixed before the studies ran. A difference is *clear* when it has its
sign with every seed and its mean over seeds exceeds the 95 % margin that the choice of rows leaves
(`metrics.difference`). A claim is *reproduced* when

- of two numbers: the first is clearly larger;
- of numbers that rise (fall): the last is clearly larger (smaller) than the first, and no step
  from one to the next is clearly the other way;
- of numbers with a peak: the largest of those in between is clearly larger than both ends (and
  where the claim says so, one of some).
- of two numbers said to be alike: neither is clearly larger.

Else it is *not reproduced*, and the numbers say how.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from trilemma.experiments.study import SCALES, Claim, Document, Study, record, studies, study
from trilemma.metrics import Difference, difference

Status: TypeAlias = Literal["reproduced", "not reproduced", "not run"]
Metric: TypeAlias = Mapping[str, Any]
Named: TypeAlias = Sequence[tuple[str, Metric]]
METRIC = "best_threshold_accuracy"
BY_SIDE = ("answers", "scores")
OUTSIDE_MEMBERSHIP = ("accuracy", "sensitivity", "security", "shadow")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a study's record says about a claim."""

    study: Study
    claim: Claim
    status: Status
    measured: str = ""
    scale: str = ""
    deviation: str = ""

    def to_json(self) -> dict[str, str]:
        """As plain values."""
        return {
            "paper": self.study.paper,
            "where": self.study.where,
            "study": self.study.name,
            "statement": self.claim.statement,
            "published": self.claim.published,
            "status": self.status,
            "measured": self.measured,
            "scale": self.scale,
            "deviation": self.deviation,
        }


def ledger(find: Callable[[str, str], Document | None] = record) -> list[Decision]:
    """Every claim with its decision, from the record at the largest scale that was run.

    Args:
        find: gives a study's record at a scale, or None if it was not run.
    """
    decisions = []
    for declared in map(study, studies()):
        found = (find(declared.name, scale) for scale in reversed(SCALES))
        document = next((each for each in found if each is not None), None)
        decisions += [decide(declared, claim, document) for claim in declared.claims.values()]
    return decisions


def decide(study: Study, claim: Claim, document: Document | None) -> Decision:
    """Apply the rule that this module's first lines state."""
    if document is None:
        return Decision(study=study, claim=claim, status="not run")
    found = [(name, number(document, name)) for name in claim.numbers()]
    missing = [name for name, metric in found if metric is None]
    if missing:
        why = f"the record has no {', '.join(missing)}"
        return Decision(study=study, claim=claim, status="not run", measured=why)
    numbers = [(name, metric) for name, metric in found if metric is not None]
    holds, comparisons = _decided(claim, numbers)
    listed = ", ".join(f"{name} {_percent(metric)}" for name, metric in numbers)
    return Decision(
        study=study,
        claim=claim,
        status="reproduced" if holds else "not reproduced",
        measured=f"{listed}: {'; '.join(comparisons)}",
        scale=_scale(document),
        deviation=_deviation(study, document),
    )


def _decided(claim: Claim, numbers: Named) -> tuple[bool, list[str]]:
    if claim.peaks:
        return _peaks(numbers, claim.within)
    if claim.alike:
        one, other = numbers
        either = (_compared(one, other), _compared(other, one))
        return not any(each.clear for each in either), [_said(one, other, either[0])]
    if claim.exceeds or claim.falls:
        numbers = list(reversed(numbers))  # as one that rises
    end = _compared(numbers[-1], numbers[0])
    back = [
        (one, two)
        for one, two in pairwise(numbers)
        if len(numbers) > 2 and difference(one[1], two[1]).clear
    ]
    steps = [_said(one, two, difference(one[1], two[1])) for one, two in back]
    return end.clear and not back, [_said(numbers[-1], numbers[0], end), *steps]


def _peaks(numbers: Named, within: Sequence[str]) -> tuple[bool, list[str]]:
    first, *between, last = numbers
    peak = max(between, key=lambda each: float(each[1]["value"]))
    ends = [(end, _compared(peak, end)) for end in (first, last)]
    holds = all(found.clear for _, found in ends) and (not within or peak[0] in within)
    return holds, [_said(peak, end, found) for end, found in ends]


def _compared(larger: tuple[str, Metric], smaller: tuple[str, Metric]) -> Difference:
    return difference(larger[1], smaller[1])


def _said(larger: tuple[str, Metric], smaller: tuple[str, Metric], found: Difference) -> str:
    seeds = ", ".join(f"{100 * each:+.2f}" for each in found.seeds)
    return (
        f"{larger[0]} - {smaller[0]} = {100 * found.mean:+.2f} points"
        f" (seeds {seeds}; 95 % margin {100 * found.margin:.2f})"
    )


def number(document: Document, name: str) -> Metric | None:
    """The metric that a claim names; None where the record does not have it.

    Args:
        name: see `Claim`.
    """
    if (constant := _constant(name)) is not None:
        return constant
    model, _, rest = name.partition(":")
    found = document["models"].get(model, {})
    part, _, metric = rest.partition(".")
    if part in BY_SIDE:
        attack, _, rows = metric.rpartition(".")
        return _whole(found.get(part, {}).get(attack, {}).get(rows))
    if part in OUTSIDE_MEMBERSHIP:
        return _whole(found.get(part, {}).get(metric))
    membership = found.get("membership", {})
    asked = [part] if part else list(membership)
    numbers = [_whole(membership.get(each, {}).get(metric or METRIC)) for each in asked]
    whole = [each for each in numbers if each is not None]
    if not whole or (part and len(whole) < len(numbers)):
        return None
    return max(whole, key=lambda each: float(each["value"]))


def _constant(name: str) -> Metric | None:
    """A limit as a metric without error."""
    try:
        limit = float(name)
    except ValueError:
        return None
    return {"value": limit, "low": limit, "high": limit}


def _whole(metric: Metric | None) -> Metric | None:
    return metric if metric is not None and "value" in metric else None


def _percent(metric: Metric) -> str:
    return f"{100 * metric['value']:.2f} %"


def _deviation(study: Study, document: Document) -> str:
    """In what data, networks and numbers of rows differ from the paper's."""
    scale = document["name"].removeprefix(f"{study.name}-")
    found = [document["provenance"]["data"].get("deviation", "")]
    found += [study.deviation(scale)] if scale in SCALES else []
    return "; ".join(str(each) for each in found if each)


def _scale(document: Document) -> str:
    rows = next(iter(document["models"].values()))["rows"]
    seeds = len(document["provenance"]["seeds"])
    return f"{rows['members']} members, {rows['nonmembers']} non-members, {seeds} seed(s)"
