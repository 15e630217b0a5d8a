"""Membership from the verified worst-case confidence (Song et al. 2019, eq. 20)."""

from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass

from trilemma.bounds import Domain, Dual, margins
from trilemma.core.balls import Ball
from trilemma.core.box import UNIT, Box
from trilemma.core.types import Classifier, Labels, Logits, PerRow, Rows


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class VerifiedConfidence:
    """Verified worst-case confidence (I_V).

    A record is called a member when a sure lower bound of the model's probability of its true
    label, over every input in a ball around the record, is at least a threshold. Thresholds are on
    the bound's log-odds, in which bounds differ that round to 0 or 1.

    Source: Song et al. 2019, eq. 20.

    Args:
        ball: the inputs that count; the paper takes the ball that the model was trained in.
        domain: how the bound is found; the paper takes for each model the verification that it
            was trained with. `Dual` with exact norms only: estimates are no bounds.
    """

    REVISION: ClassVar[int] = 2

    ball: Ball
    domain: Domain

    def __post_init__(self) -> None:
        if isinstance(self.domain, Dual) and self.domain.projections is not None:
            raise ValueError("domain.projections: an estimate is no sure bound; leave it out")


def verified_confidence(
    model: Classifier, x: Rows, y: Labels, config: VerifiedConfidence, *, box: Box = UNIT
) -> PerRow:
    r"""A lower bound of each row's confidence in its true label over a ball: V(F(x~)_y, B).

    .. math:: F(\tilde x)_y = \frac{1}{1 + \sum_{j \ne y} e^{g_j - g_y}}
              \ge \frac{1}{1 + \sum_{j \ne y} e^{-m_j}}

    with the margins :math:`m_j \le g_y - g_j` of `trilemma.bounds`.

    Args:
        model: an `nn.Module` of layers that bounds are known for, logits out.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels.
        config: the ball and how the bound is found.
        box: the valid inputs.

    Returns:
        (n,) float64 in [0, 1]; larger means more likely a member.

    Raises:
        BadInput: a layer is not supported, by name; an input lies outside the box.

    Example:
        >>> from trilemma.bounds import Interval
        >>> from trilemma.core.balls import Linf
        >>> config = VerifiedConfidence(ball=Linf(0.25), domain=Interval())
        >>> x, y = torch.tensor([[0.5, 0.5]]), torch.tensor([1])
        >>> model = torch.nn.Sequential(torch.nn.Identity())
        >>> round(verified_confidence(model, x, y, config).item(), 4)  # 1 / (1 + exp(0.5))
        0.3775

    Source:
        Song et al., "Privacy risks of securing machine learning models", CCS 2019, eq. 20.
    """
    with torch.no_grad():
        return worst_case(margins(model, x, y, config.ball, config.domain, box))


def verified_log_odds(
    model: Classifier, x: Rows, y: Labels, config: VerifiedConfidence, *, box: Box = UNIT
) -> PerRow:
    r"""The log-odds of `verified_confidence`, which order rows whose bounds round to 0 or 1.

    .. math:: \log \frac{p}{1 - p} = -\log \sum_{j \ne y} e^{-m_j}

    strictly rises with the bound p. Bounds of a model that was trained without them are often so
    small that a float64 has no number but 0 for them.

    Args:
        model: an `nn.Module` of layers that bounds are known for, logits out.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels.
        config: the ball and how the bound is found.
        box: the valid inputs.

    Returns:
        (n,) float64; larger means more likely a member.

    Raises:
        BadInput: a layer is not supported, by name; an input lies outside the box.
    """
    with torch.no_grad():
        return worst_log_odds(margins(model, x, y, config.ball, config.domain, box), y)


def worst_log_odds(least: Logits, y: Labels) -> PerRow:
    """The least log-odds that margins of at least `least` leave the label `y`; float64."""
    others = least.double().scatter(1, y.view(-1, 1), torch.inf)  # the label itself does not count
    return -torch.logsumexp(-others, dim=1)


def worst_case(least: Logits) -> PerRow:
    """The least confidence that margins of at least `least`, 0 at the label, leave; float64."""
    return (-torch.logsumexp(-least.double(), dim=1)).exp()
