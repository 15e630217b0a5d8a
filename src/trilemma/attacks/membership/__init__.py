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
from trilemma.attacks.membership.augmentation_robustness import (
    AugmentationRobustness,
    Rotations,
    Translations,
    augmentation_hits,
    augmentation_robustness,
)
from trilemma.attacks.membership.boundary_distance import (
    BoundaryDistance,
    Perturbations,
    boundary_distance,
    perturbations,
)
from trilemma.attacks.membership.calibrated import Calibrated
from trilemma.attacks.membership.calibration import CALIBRATIONS, Calibration, score
from trilemma.attacks.membership.confidence import Confidence, confidence
from trilemma.attacks.membership.early_decisions import (
    Decided,
    Decline,
    EarlyDecisions,
    Preparation,
    decided,
    decline,
    early_decisions,
    prepared,
)
from trilemma.attacks.membership.gap import Gap, gap
from trilemma.attacks.membership.lira import (
    LiRA,
    ModeratedVariance,
    PerRowVariance,
    PooledVariance,
    lira,
)
from trilemma.attacks.membership.model_inference import (
    Benign,
    Examples,
    Known,
    ModelInference,
    Targeted,
    Untargeted,
    model_inference,
)
from trilemma.attacks.membership.noise_robustness import (
    BernoulliFlips,
    GaussianNoise,
    NoiseRobustness,
    noise_robustness,
)
from trilemma.attacks.membership.quantile_regression import (
    Criterion,
    Gaussian,
    Pinball,
    QuantileRegression,
    Regress,
    Regression,
    criterion,
    quantile_regression,
)
from trilemma.attacks.membership.random_threshold import (
    GaussianPixels,
    RandomThreshold,
    UniformPixels,
    random_perturbations,
    random_threshold,
    top_percentile,
)
from trilemma.attacks.membership.ratio import BASE, RMIA, Population, base, rmia
from trilemma.attacks.membership.score_network import ScoreNetwork, score_network
from trilemma.attacks.membership.smoothed_radius import SmoothedRadius, smoothed_radius
from trilemma.attacks.membership.statistics import (
    STATISTICS,
    Entropy,
    Loss,
    MaxConfidence,
    ModifiedEntropy,
    Statistic,
    statistic,
    statistic_signal,
)
from trilemma.attacks.membership.transfer import TransferAttack, relabelled, transfer_attack
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

Signal: TypeAlias = (
    Confidence
    | AdversarialConfidence
    | VerifiedConfidence
    | Gap
    | BoundaryDistance
    | EarlyDecisions
    | NoiseRobustness
    | AugmentationRobustness
    | SmoothedRadius
    | Statistic
)
Learned: TypeAlias = ModelInference  # from rows whose membership is known
Membership: TypeAlias = (
    Signal | Learned | Calibrated | TransferAttack | ScoreNetwork | QuantileRegression
)


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


def _statistic(
    target: Classifier | Oracle, x: Rows, y: Labels, config: Statistic, *, box: Box, rng: Generator
) -> PerRow:
    return statistic_signal(target, x, y, config)


def _gap(
    target: Classifier | Oracle, x: Rows, y: Labels, config: Gap, *, box: Box, rng: Generator
) -> PerRow:
    return gap(target, x, y)


def _early(
    target: Classifier | Oracle,
    x: Rows,
    y: Labels,
    config: EarlyDecisions,
    *,
    box: Box,
    rng: Generator,
) -> PerRow:
    return early_decisions(target, x, y, config, box=box, rng=rng).score


def _augmentations(
    target: Classifier | Oracle,
    x: Rows,
    y: Labels,
    config: AugmentationRobustness,
    *,
    box: Box,
    rng: Generator,
) -> PerRow:
    return augmentation_robustness(target, x, y, config, box=box)


METHODS: Mapping[type[Signal], Method] = {
    Confidence: Method(signal=_confidence, needs=Access.ORACLE),
    AdversarialConfidence: Method(signal=adversarial_confidence, needs=Access.MODEL),
    VerifiedConfidence: Method(signal=_verified, needs=Access.MODEL),
    **{kind: Method(signal=_statistic, needs=Access.ORACLE) for kind in STATISTICS},
    Gap: Method(signal=_gap, needs=Access.ORACLE),
    SmoothedRadius: Method(signal=smoothed_radius, needs=Access.ORACLE),
    BoundaryDistance: Method(signal=boundary_distance, needs=Access.ORACLE),
    EarlyDecisions: Method(signal=_early, needs=Access.ORACLE),
    NoiseRobustness: Method(signal=noise_robustness, needs=Access.ORACLE),
    AugmentationRobustness: Method(signal=_augmentations, needs=Access.ORACLE),
}

LEARNED: Mapping[type[Learned], Callable[..., PerRow]] = {
    ModelInference: model_inference,  # called as (model, x, y, known, config, fit=, box=, rng=)
}

__all__ = [
    "BASE",
    "CALIBRATIONS",
    "LEARNED",
    "METHODS",
    "RMIA",
    "STATISTICS",
    "Access",
    "AdversarialConfidence",
    "AugmentationRobustness",
    "Benign",
    "BernoulliFlips",
    "BoundaryDistance",
    "Calibrated",
    "Calibration",
    "Confidence",
    "Criterion",
    "Decided",
    "Decline",
    "EarlyDecisions",
    "Entropy",
    "Examples",
    "Gap",
    "Gaussian",
    "GaussianNoise",
    "GaussianPixels",
    "Known",
    "Learned",
    "LiRA",
    "Loss",
    "MaxConfidence",
    "Membership",
    "Method",
    "ModelInference",
    "ModeratedVariance",
    "ModifiedEntropy",
    "NoiseRobustness",
    "PerRowVariance",
    "Perturbations",
    "Pinball",
    "PooledVariance",
    "Population",
    "Preparation",
    "QuantileRegression",
    "RandomThreshold",
    "Regress",
    "Regression",
    "Rotations",
    "ScoreNetwork",
    "Signal",
    "SmoothedRadius",
    "Statistic",
    "Targeted",
    "TransferAttack",
    "Translations",
    "UniformPixels",
    "Untargeted",
    "VerifiedConfidence",
    "adversarial_confidence",
    "augmentation_hits",
    "augmentation_robustness",
    "base",
    "boundary_distance",
    "confidence",
    "criterion",
    "decided",
    "decline",
    "early_decisions",
    "gap",
    "lira",
    "model_inference",
    "noise_robustness",
    "perturbations",
    "prepared",
    "quantile_regression",
    "random_perturbations",
    "random_threshold",
    "relabelled",
    "rmia",
    "score",
    "score_network",
    "smoothed_radius",
    "statistic",
    "statistic_signal",
    "top_percentile",
    "transfer_attack",
    "verified_confidence",
    "verified_log_odds",
    "worst_case",
    "worst_log_odds",
]
