"""Certified predictions of a PixelDP network: how far an input may move, for sure."""

import functools
import math
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor, nn

from trilemma.core.errors import BadInput
from trilemma.core.generators import draw_seed
from trilemma.core.modes import evaluating
from trilemma.core.pace import usual
from trilemma.core.types import PerRow, Probs, Rows
from trilemma.models.pixel_dp import NoisyNetwork

DELTAS = torch.logspace(-12, math.log10(0.5), 600, dtype=torch.float64)
HALVINGS = 60  # of an interval in [0, 1], to below what float64 tells apart


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Certified:
    """Labels that hold in a ball, for sure up to chance.

    Args:
        draws: of noise, by which the expected scores are estimated.
        level: probability with which a row's certificate holds, at least.

    Source:
        Lecuyer et al., "Certified robustness to adversarial examples with differential privacy",
        IEEE S&P 2019, section III-D and proposition 2.
    """

    draws: Annotated[int, Field(ge=1)] = 300
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95


@dataclass(frozen=True, kw_only=True, config={"arbitrary_types_allowed": True})
class Certificate:
    """What is sure of each row.

    Args:
        label: (n,) the label with the largest expected score, as the draws say.
        radius: (n,) float64: no change of the input of a smaller l_2 norm makes another label's
            expected score the largest; 0 where nothing is sure.
    """

    label: Tensor
    radius: Tensor


def certified(
    model: nn.Module, x: Rows, config: Certified, *, rng: Generator, batch: int | None = None
) -> Certificate:
    r"""The largest balls in which the label of the expected scores is sure to stay.

    With A the scores under noise, lb and ub bounds of their expectations at x,

    .. math:: E_{lb} A_y > e^{2 \epsilon} \max_{j \ne y} E_{ub} A_j + (1 + e^\epsilon) \delta

    for some eps <= 1 and delta at which the noise makes changes of the radius private, by
    sigma = sqrt(2 ln(1.25 / delta)) radius / eps.

    Args:
        model: a network with a noise layer of sensitivity 1; queried in eval mode and handed back
            as it came.
        x: (n, *s) inputs, chosen without knowledge of the draws.
        config: how many draws, and how sure.
        rng: draws the noise, one bank for all rows.
        batch: rows at a time; changes speed and memory, not the answers.

    Raises:
        BadInput: the model has no noise layer.
    """
    if not isinstance(model, NoisyNetwork):
        raise BadInput(
            "model", f"is a {type(model).__name__}", "Certify one with a noise layer (PixelDP)"
        )
    mean = _expected(model, x, draw_seed(rng), config.draws, batch or usual(x).rows)
    tail = (1 - config.level) / (2 * mean.shape[1])  # two bounds for each class
    lower, upper = expectation_bounds(mean, config.draws, tail)
    label = mean.argmax(1)
    own = lower.gather(1, label.unsqueeze(1)).squeeze(1)
    rival = upper.scatter(1, label.unsqueeze(1), 0.0).amax(1)
    return Certificate(label=label, radius=robust_radius(own, rival, model.sigma))


def robust_radius(own: PerRow, rival: PerRow, sigma: float) -> PerRow:
    r"""The largest radius that the robustness condition grants, over delta.

    For each delta the condition is a quadratic one in e^eps,

    .. math:: u e^{2 \epsilon} + \delta e^\epsilon + \delta - l < 0,

    so that its largest eps is a logarithm of the positive root, or 1 if that is less; the radius
    is sigma eps / sqrt(2 ln(1.25 / delta)).

    Args:
        own: l, a lower bound of the label's expected score.
        rival: u, an upper bound of every other label's.
        sigma: standard deviation of the noise, at sensitivity 1.

    Returns:
        (n,), 0 where no delta grants any.

    Source:
        Lecuyer et al. 2019, section III-D.
    """
    delta = DELTAS.to(own.device)
    spare = (own.double().unsqueeze(1) - delta).clamp(min=0)
    # 2 c / (b + sqrt(b^2 + 4 a c)): the root without a division by u, which may be 0
    root = 2 * spare / (delta + (delta.square() + 4 * rival.double().unsqueeze(1) * spare).sqrt())
    eps = root.clamp(1, math.e).log()
    return (sigma * eps / (2 * (1.25 / delta).log()).sqrt()).amax(1)


def expectation_bounds(
    mean: Float[Tensor, "n k"], draws: int, tail: float
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
    r"""Bounds of an expectation in [0, 1] by the mean of independent draws (Hoeffding).

    The ends p < mean < p' of

    .. math:: m \ln(m / p) + (1 - m) \ln((1 - m) / (1 - p)) = \ln(1 / tail) / draws,

    each passed by the expectation with probability `tail` at most, whatever the distribution.

    Args:
        mean: m, of the draws.
        draws: how many.
        tail: probability of error, of each end by itself.

    Returns:
        The lower ends and the upper ends, in [0, 1].

    Source:
        Hoeffding, "Probability inequalities for sums of bounded random variables", JASA 1963,
        eq. 2.1.
    """
    mean = mean.double().clamp(0, 1)
    allowed = -math.log(tail) / draws
    return 1 - _upper(1 - mean, allowed), _upper(mean, allowed)


def _upper(mean: Probs, allowed: float) -> Probs:
    """The largest expectation whose divergence from the mean is allowed, by halving."""
    low, high = mean, torch.ones_like(mean)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        far = _divergence(mean, middle) > allowed
        low, high = torch.where(far, low, middle), torch.where(far, middle, high)
    return high


def _divergence(mean: Probs, p: Probs) -> Probs:
    """Of coins: from one that shows heads with probability `mean` to one with p > 0."""
    rest = (1 - p).clamp(min=torch.finfo(p.dtype).tiny)
    of_both: Probs = torch.special.xlogy(mean, mean / p) + torch.special.xlogy(
        1 - mean, (1 - mean) / rest
    )
    return of_both


@torch.no_grad()
def _expected(model: NoisyNetwork, x: Rows, seed: int, draws: int, batch: int) -> Probs:
    """The mean scores over a bank of draws."""
    with evaluating(model):
        parts = []
        for rows in x.split(batch):
            scores = (logits.double().softmax(1) for logits in model.drawn(rows, seed, draws))
            parts.append(functools.reduce(torch.add, scores))
    return torch.cat(parts) / draws
