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
from trilemma.attacks.membership.model_inference import (
    Benign,
    Examples,
    Known,
    ModelInference,
    Targeted,
    Untargeted,
    model_inference,
)
from trilemma.attacks.membership.verified_confidence import (
    VerifiedConfidence,
    verified_confidence,
    verified_log_odds,
    worst_case,
    worst_log_odds,
)
from trilemma.core.box import Box
from trilemma.core.types import Classifier, Labels, PerRow, Rows
from trilemma.oracles import Oracle

Signal: TypeAlias = Confidence | AdversarialConfidence | VerifiedConfidence
Learned: TypeAlias = ModelInference  # from rows whose membership is known
Membership: TypeAlias = Signal | Learned


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


def _verified(
    target: Classifier, x: Rows, y: Labels, config: VerifiedConfidence, *, box: Box, rng: Generator
) -> PerRow:
    return verified_log_odds(target, x, y, config, box=box)


METHODS: Mapping[type[Signal], Method] = {
    Confidence: Method(signal=_confidence, needs=Access.ORACLE),
    AdversarialConfidence: Method(signal=adversarial_confidence, needs=Access.MODEL),
    VerifiedConfidence: Method(signal=_verified, needs=Access.MODEL),
}

LEARNED: Mapping[type[Learned], Callable[..., PerRow]] = {
    ModelInference: model_inference,  # called as (model, x, y, known, config, fit=, box=, rng=)
}

__all__ = [
    "LEARNED",
    "METHODS",
    "Access",
    "AdversarialConfidence",
    "Benign",
    "Confidence",
    "Examples",
    "Known",
    "Learned",
    "Membership",
    "Method",
    "ModelInference",
    "Signal",
    "Targeted",
    "Untargeted",
    "VerifiedConfidence",
    "adversarial_confidence",
    "confidence",
    "model_inference",
    "verified_confidence",
    "verified_log_odds",
    "worst_case",
    "worst_log_odds",
]
