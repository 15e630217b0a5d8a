"""What a private training promises, and whether what was measured keeps to it. No torch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trilemma.experiments.plan import Cell
from trilemma.experiments.sections import Facts, Json
from trilemma.experiments.selftests.checks import Check, not_evaluable, passed, warned

BOUND = "epsilon_lower_bound"


def promise(cells: Sequence[Cell], of: Facts) -> Json:
    """The dearest of the seeds' promises, and the largest lower bound that an attack measured.

    Args:
        cells: of one model, one a seed.
        of: what a stage found; None where it failed.
    """
    found = _promises(cells, of)
    if not found:
        return {}
    dearest = max(found, key=lambda each: _number(each["epsilon"]))
    bounds = _bounds(cells, of)
    measured: Json = {"not_evaluable": "no attack could be evaluated"}
    if bounds:
        value, attack, seed = max(bounds)
        measured = {"epsilon": value, "attack": attack, "seed": seed}
    return {"privacy": {**dearest, "measured": measured}}


def in_words(cells: Sequence[Cell], of: Facts) -> str:
    """The promise in a sentence; empty where there is none.

    Args:
        cells: of one model, one a seed.
        of: what a stage found; None where it failed.
    """
    found = promise(cells, of).get("privacy")
    if found is None:
        return ""
    epsilon = "no finite epsilon" if found["epsilon"] is None else f"epsilon {found['epsilon']:.4g}"
    return (
        f"({epsilon}, delta {found['delta']:g})-DP by {found['mechanism']}, accountant"
        f" {found['accountant']}: noise multiplier {found['noise_multiplier']:.4g}, rows clipped at"
        f" {found['clip_norm']:g}, {found['steps']} steps at a sampling rate of"
        f" {found['sampling_rate']:.4g}, if nobody knows the seed"
    )


def kept(cells: Sequence[Cell], of: Facts) -> Check | None:
    r"""Whether no measured lower bound exceeds the promise; None where none was made.

    A bound is measured for delta 0. From TPR <= e^epsilon FPR + delta follows
    TPR / FPR <= e^epsilon + delta n, since the upper bound of an FPR among n rows is 1 / n at
    least; the check allows for that.

    Args:
        cells: of one model, one a seed.
        of: what a stage found; None where it failed.
    """
    told = promise(cells, of).get("privacy")
    if told is None:
        return None
    bounds = _bounds(cells, of)
    if not bounds:
        return not_evaluable("No attack gave a lower bound of epsilon.")
    found = next((f for cell in cells if (f := of(cell.benign))), None)
    rows = max(found["rows"].values()) if found else 0
    allowed = _number(told["epsilon"]) + math.log1p(told["delta"] * rows)
    most, attack, seed = max(bounds)
    above = sum(value > allowed for value, _, _ in bounds)
    summary = (
        f"The promise is epsilon {_number(told['epsilon']):.4g} at most, the largest measured lower"
        f" bound {most:.4g} ({attack}, seed {seed})"
    )
    details = {"measured": most, "promised": told["epsilon"], "bounds": len(bounds), "above": above}
    if not above:
        return passed(f"{summary}.", **details)
    return warned(
        f"{summary}: {above} of {len(bounds)} bounds at 95 % confidence are above it. Either rows"
        " are no neighbours of their own (duplicates, one person's several rows), or the noise or"
        " its accounting is wrong, or chance",
        **details,
    )


def _promises(cells: Sequence[Cell], of: Facts) -> list[Mapping[str, Any]]:
    every = [of(cell.source) or {} for cell in cells]
    return [found["privacy"] for found in every if "privacy" in found]


def _bounds(cells: Sequence[Cell], of: Facts) -> list[tuple[float, str, int]]:
    """Each attack's lower bound with each seed, the attack, the seed."""
    found = []
    for cell in cells:
        for name, stage in cell.attacks.items():
            bound = ((of(stage) or {}).get("metrics") or {}).get(BOUND, {})
            if "value" in bound:
                found.append((float(bound["value"]), name, cell.seed))
    return found


def _number(epsilon: float | None) -> float:
    return math.inf if epsilon is None else epsilon
