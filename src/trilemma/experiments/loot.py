"""The names of the numbers that declared thefts end with, for conditions. No torch."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from trilemma.experiments.stolen import (
    ADVERSARIAL,
    ATTACKED,
    BENIGN,
    BESIDE,
    PLAIN,
    STUDENTS,
    UNDER,
)

Names: TypeAlias = Mapping[str, Any]  # each with the names below; a number has none
STOLEN, TRANSFER = "stolen", "transfer"
PLACES: Mapping[str, tuple[str, ...]] = {  # in a model's entry of the document
    STOLEN: ("extraction", "thieves"),
    TRANSFER: ("extraction", "transfer"),
}
VICTIM = "victim"  # among those whose adversarial examples are tried on each other
NUMBER: Names = {}


def loot(table: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Names]:
    """The names below `stolen` and `transfer`, level by level, as the document has them.

    Args:
        table: the declared experiment as plain values.
        known: what the document says, or will say, of its `thieves` and of `robustness`.
    """
    thieves = list(known.get("thieves", {}))
    if not thieves:
        return {}
    declared = table["extraction"]
    student = _student("adversarial" in known["robustness"], list(declared.get("under") or {}))
    found: dict[str, Names] = {
        STOLEN: {name: {**student, BESIDE: student} for name in thieves},
    }
    if declared.get("transfer") is not None:
        tried = _numbers([VICTIM, *thieves])
        found[TRANSFER] = dict.fromkeys(tried, tried)
    return found


def _student(attacked: bool, under: Sequence[str]) -> Names:
    found: dict[str, Names] = {BENIGN: _compared(PLAIN)}
    seen = ["accuracy", "fidelity"]
    if attacked:
        found[ADVERSARIAL] = _compared(ATTACKED)
        seen.append("robust_accuracy")
    if under:
        found[UNDER] = dict.fromkeys(under, _compared(ATTACKED))
    return {**found, "published": _numbers(seen)}


def _compared(numbers: Sequence[str]) -> Names:
    return {**dict.fromkeys(STUDENTS, _numbers(numbers)), **_numbers([VICTIM, "overfitting"])}


def _numbers(names: Sequence[str]) -> Names:
    return dict.fromkeys(names, NUMBER)
