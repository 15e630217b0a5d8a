"""Evasion: inputs near given ones that a model gets wrong. The union is the registry."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from trilemma.attacks.evasion.pgd import PGD, pgd
from trilemma.core.types import Rows

Evasion: TypeAlias = PGD

# attack(model, x, y, config, box=..., rng=..., batch=...) -> x_adv; each needs a white-box model
ATTACKS: Mapping[type[Evasion], Callable[..., Rows]] = {PGD: pgd}


def attack_of(config: Evasion) -> Callable[..., Rows]:
    """The function that runs `config`: its entry of the table."""
    return ATTACKS[type(config)]


__all__ = ["ATTACKS", "PGD", "Evasion", "attack_of", "pgd"]
