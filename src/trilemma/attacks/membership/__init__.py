"""Membership inference: one score a row, larger for likelier members. The union is the registry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from torch import Generator

from trilemma.attacks.membership.adversarial_confidence import (
    AdversarialConfidence,
    adversarial_confidence,
)
from trilemma.attacks.membership.confidence import Confidence, confidence
from trilemma.core.box import Box
from trilemma.core.types import Classifier, Labels, PerRow, Rows
from trilemma.oracles import Oracle

Membership: TypeAlias = Confidence | AdversarialConfidence


class Access(Enum):
    """What an attacker must have."""

    ORACLE = auto()  # answers to queries; a model will do
    MODEL = auto()  # the model itself, to differentiate


@dataclass(frozen=True, kw_only=True)
class Method:
    """A signal as the table holds it.

    Args:
        signal: called as (target, x, y, config, box=..., rng=...), gives (n,) scores.
        needs: what `target` must be.
    """

    signal: Callable[..., PerRow]
    needs: Access


def _confidence(
    target: Classifier | Oracle, x: Rows, y: Labels, config: Confidence, *, box: Box, rng: Generator
) -> PerRow:
    return confidence(target, x, y)


METHODS: Mapping[type[Membership], Method] = {
    Confidence: Method(signal=_confidence, needs=Access.ORACLE),
    AdversarialConfidence: Method(signal=adversarial_confidence, needs=Access.MODEL),
}

__all__ = [
    "METHODS",
    "Access",
    "AdversarialConfidence",
    "Confidence",
    "Membership",
    "Method",
    "adversarial_confidence",
    "confidence",
]
