"""Whether a schedule ever gives an attack, or a verified ball, its full radius."""

from trilemma.core.errors import BadInput
from trilemma.training.objectives import Scaled, Sum, Term
from trilemma.training.recipes import Recipe


def check_full_strength(recipe: Recipe, objective: Term, where: str = "recipe") -> None:
    """Refuse a schedule under which a robust objective would never be what it says.

    Args:
        recipe: its epochs, warm-up and ramp.
        objective: any; one without attack and ball is not touched by the schedule.
        where: the recipe's path, for the message.

    Raises:
        BadInput: the objective attacks or verifies, and no epoch does so at the full radius.
    """
    last = recipe.strength(recipe.epochs - 1)
    if last == 1 or not scaled_by_strength(objective):
        return
    reached = "none of" if last == 0 else f"{last:.2g} of"
    raise BadInput(
        where,
        f"epochs {recipe.epochs}, warmup {recipe.warmup} and ramp {recipe.ramp} reach {reached}"
        " the radius that the objective names",
        f"Give epochs: {recipe.warmup + recipe.ramp + 1} or more, or a shorter warmup or ramp",
    )


def scaled_by_strength(objective: Term) -> bool:
    """Whether an attack or a verified ball is part of the loss."""
    if isinstance(objective, Sum):
        return any(map(scaled_by_strength, objective.terms))
    if isinstance(objective, Scaled):
        return scaled_by_strength(objective.term)
    return any(getattr(objective, name, None) is not None for name in ("attack", "ball"))
