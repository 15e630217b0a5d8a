"""Membership from the confidence on an adversarial example (Song et al. 2019, eq. 18)."""

from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import Generator

from trilemma.attacks.evasion import Evasion, attack_of
from trilemma.attacks.membership.confidence import confidence
from trilemma.core.box import UNIT, Box
from trilemma.core.pace import usual
from trilemma.core.types import Classifier, Labels, PerRow, Rows


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class AdversarialConfidence:
    """Confidence on adversarial inputs (I_A).

    A record is called a member when the model's probability of its true label, asked about the
    record's adversarial example, is at least a threshold.

    Source: Song et al. 2019, eq. 18.

    Args:
        attack: how the adversarial example is made; the paper takes the ball that the model
            was trained in.
    """

    REVISION: ClassVar[int] = 1

    attack: Evasion


def adversarial_confidence(
    model: Classifier,
    x: Rows,
    y: Labels,
    config: AdversarialConfidence,
    *,
    box: Box = UNIT,
    rng: Generator,
) -> PerRow:
    r"""How sure the model still is of each row's true label under attack: F(x_adv)_y.

    Training in a ball makes predictions smooth around the members; what does not carry over to
    other points tells them apart.

    Args:
        model: logits out; queried in eval mode and handed back as it came.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels.
        config: the attack that makes x_adv.
        box: the valid inputs.
        rng: the attack's randomness.

    Returns:
        (n,) float64 in [0, 1]; larger means more likely a member.

    Raises:
        BadInput: an input lies outside the box; an output is not finite.

    Source:
        Song et al., "Privacy risks of securing machine learning models", CCS 2019, eq. 18.
    """
    rows = usual(x).rows  # a measured pace would repeat but for rounding
    x_adv = attack_of(config.attack)(model, x, y, config.attack, box=box, rng=rng, batch=rows)
    return confidence(model, x_adv, y)
