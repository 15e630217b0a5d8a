"""The perturbations that a declared experiment names: by its attacks, by its objectives."""

from trilemma.attacks.evasion import PGD, Evasion
from trilemma.attacks.membership import AdversarialConfidence, Membership
from trilemma.core.balls import Ball
from trilemma.core.errors import BadInput
from trilemma.training.objectives import (
    L1,
    L2,
    NO_ATTACK,
    AbstractInterpretation,
    AdversarialRegularisation,
    IntervalBoundPropagation,
    Natural,
    Objective,
    Scaled,
    Sum,
    Verified,
)

STEPS = 20  # of the PGD under which accuracy is measured where nothing else is declared


def perturbation(attack: Membership) -> Evasion | None:
    """What an attack does to the inputs before it asks; None asks about them as they are."""
    return attack.attack if isinstance(attack, AdversarialConfidence) else None


def ball_of(change: Evasion) -> Ball | None:
    """The ball that an attack stays in; None for one that looks for the nearest point instead."""
    ball: Ball | None = getattr(change, "ball", None)
    return ball


def attacks_in(objective: Objective, path: str) -> dict[str, Evasion]:
    """The attacks that an objective trains against, by the paths of their balls.

    Where it verifies a ball instead, PGD in that ball.
    """
    if isinstance(objective, Sum):
        terms = (attacks_in(term, f"{path}.terms[{i}]") for i, term in enumerate(objective.terms))
        return {where: attack for found in terms for where, attack in found.items()}
    if isinstance(objective, Scaled):
        return attacks_in(objective.term, f"{path}.term")
    if isinstance(objective, Verified | AbstractInterpretation | IntervalBoundPropagation):
        return {f"{path}.ball": PGD(ball=objective.ball, steps=STEPS)}
    if isinstance(objective, Natural | L1 | L2 | AdversarialRegularisation):
        return {}
    if objective.attack is None:
        raise BadInput(f"{path}.attack", "is missing", NO_ATTACK)
    return {f"{path}.attack.ball": objective.attack}
