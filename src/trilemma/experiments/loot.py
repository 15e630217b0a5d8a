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
NOTICED: Mapping[str, tuple[str, ...]] = {  # numbers of each detector
    "PRADA": ("queries", "alarm_at", "wrong"),
    "CalibratedSEAT": ("queries", "pairs", "banned"),
    "CalibratedWork": ("queries", "work", "hashes", "slow_down", "refused"),
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
    means = {name: {**student, **_guarded(declared, name)} for name in thieves}
    found: dict[str, Names] = {
        STOLEN: {name: {**own, BESIDE: own} for name, own in means.items()},
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


def _guarded(declared: Mapping[str, Any], thief: str) -> Names:
    """What a detector notices, where one stands before the thief."""
    own = (declared.get("own") or {}).get(thief) or {}
    guard = own.get("guard") or declared.get("guard")
    if not guard:
        return {}
    every = [number for numbers in NOTICED.values() for number in numbers]
    names = _numbers(NOTICED.get(guard["detector"].get("kind"), list(dict.fromkeys(every))))
    return {"guard": {"thief": names, "user": names, "accounts": NUMBER}}


def _compared(numbers: Sequence[str]) -> Names:
    return {**dict.fromkeys(STUDENTS, _numbers(numbers)), **_numbers([VICTIM, "overfitting"])}


def _numbers(names: Sequence[str]) -> Names:
    return dict.fromkeys(names, NUMBER)
