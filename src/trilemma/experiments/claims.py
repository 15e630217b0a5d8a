"""The claims ledger: findings of the papers, decided from the records of declared studies.

How a claim is decided was fixed before the studies ran. A difference is *clear* when it has its
sign with every seed and its mean over seeds exceeds the 95 % margin that the choice of rows leaves
(`metrics.difference`). A claim is *reproduced* when

- of two numbers: the first is clearly larger;
- of numbers that rise (fall): the last is clearly larger (smaller) than the first, and no step
  from one to the next is clearly the other way;
- of numbers with a peak: the largest of those in between is clearly larger than both ends (and
  where the claim says so, one of some).
- of numbers said to be alike: the largest is not clearly larger than the smallest, and by at most
  5 points; where the paper says by how much they differ, by at most that;
- of two numbers of which one is said to be at least on par: the other is not clearly larger, and by
  at most 5 points.

Else it is *not reproduced*, and the numbers say how.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

from trilemma.experiments.numbers import Metric, apart, number, told, unit
from trilemma.experiments.study import SCALES, Claim, Document, Study, record, studies, study
from trilemma.metrics import Difference, difference

Status: TypeAlias = Literal["reproduced", "not reproduced", "not run"]
TOLERANCE = 0.05  # by which numbers may differ that are said to be alike
Named: TypeAlias = Sequence[tuple[str, Metric]]


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
    listed = ", ".join(f"{name} {told(name, metric['value'])}" for name, metric in numbers)
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
        ordered = sorted(numbers, key=lambda each: float(each[1]["value"]))
        widest = _compared(ordered[-1], ordered[0])
        return _near(widest, claim.tolerance), [_said(ordered[-1], ordered[0], widest)]
    if claim.reaches:
        one, other = numbers
        return _near(_compared(other, one)), [_said(one, other, _compared(one, other))]
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


def _near(found: Difference, tolerance: float | None = None) -> bool:
    """That one number is not larger than another, or so little that nobody minds."""
    if tolerance is not None:
        return found.mean <= tolerance
    return not found.clear and found.mean <= TOLERANCE


def _peaks(numbers: Named, within: Sequence[str]) -> tuple[bool, list[str]]:
    first, *between, last = numbers
    peak = max(between, key=lambda each: float(each[1]["value"]))
    ends = [(end, _compared(peak, end)) for end in (first, last)]
    holds = all(found.clear for _, found in ends) and (not within or peak[0] in within)
    return holds, [_said(peak, end, found) for end, found in ends]


def _compared(larger: tuple[str, Metric], smaller: tuple[str, Metric]) -> Difference:
    return difference(larger[1], smaller[1])


def _said(larger: tuple[str, Metric], smaller: tuple[str, Metric], found: Difference) -> str:
    name = larger[0]
    seeds = ", ".join(apart(name, each) for each in found.seeds)
    margin = apart(name, found.margin).lstrip("+")
    return (
        f"{name} - {smaller[0]} = {apart(name, found.mean)}{unit(name)}"
        f" (seeds {seeds}; 95 % margin {margin})"
    )


def _deviation(study: Study, document: Document) -> str:
    """In what data, networks and numbers of rows differ from the paper's."""
    scale = document["name"].removeprefix(f"{study.name}-")
    found = [document["provenance"]["data"].get("deviation", "")]
    found += [study.deviation(scale)] if scale in SCALES else []
    return "; ".join(str(each) for each in found if each)


def _scale(document: Document) -> str:
    rows = [model["rows"] for model in document["models"].values()]
    members, others = (_span([each[of] for each in rows]) for of in ("members", "nonmembers"))
    seeds = len(document["provenance"]["seeds"])
    return f"{members} members, {others} non-members, {seeds} seed(s)"


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"
