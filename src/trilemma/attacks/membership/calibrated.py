"""A membership signal with each row's own yardstick: reference models with and without it."""

from typing import ClassVar, TypeAlias

from pydantic.dataclasses import dataclass

from trilemma.attacks.membership.adversarial_confidence import AdversarialConfidence
from trilemma.attacks.membership.calibration import Calibration
from trilemma.attacks.membership.confidence import Confidence
from trilemma.attacks.membership.lira import LiRA
from trilemma.attacks.membership.verified_confidence import VerifiedConfidence

Odds: TypeAlias = Confidence | AdversarialConfidence | VerifiedConfidence


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class Calibrated:
    """Signal calibrated by reference models.

    The log-odds of a confidence is compared with what reference models, each trained on a random
    half of the rows, have for the very same row: easy rows are no longer taken for members.

    Source: the method's; with signals under attack or in the proven worst case, Song et al. 2019.

    Args:
        signal: whose log-odds are calibrated: the confidence as it is, under attack, or in the
            worst case. Each reference model is attacked or verified itself.
        method: what is made of them.
    """

    REVISION: ClassVar[int] = 1

    signal: Odds = Confidence()
    method: Calibration = LiRA()
