"""Membership from how many noisy copies keep the label (Choquette-Choo et al. 2021)."""

from typing import Annotated, ClassVar, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor

from trilemma.attacks.evasion.gradients import check_inside, check_labels
from trilemma.attacks.membership.labels import asked, hits_of
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.pace import usual
from trilemma.core.types import Classifier, Labels, PerRow, Rows
from trilemma.oracles import Oracle, ready

ROOM = 2**22  # numbers that are held at once, about

Bank: TypeAlias = Tensor  # (c, *x): one change for each of c copies, the same for all rows
Copies: TypeAlias = Float[Tensor, "r c *x"]


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class GaussianNoise:
    """For continuous features: x + sigma N(0, I), cut to the box.

    Args:
        sigma: in the inputs' unit, above 0; to be chosen on a model of the attacker's own.
    """

    sigma: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    def draw(self, count: int, like: Rows, rng: Generator) -> Bank:
        """The noise of so many copies, in units of sigma."""
        shape = (count, *like.shape[1:])
        return torch.randn(shape, generator=rng, device=rng.device, dtype=like.dtype)

    def copies(self, x: Rows, bank: Bank, box: Box) -> Copies:
        """Each row with each change."""
        return box.clip(x.unsqueeze(1) + self.sigma * bank)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class BernoulliFlips:
    """For binary features, the ends of the box: each is turned into the other end, or left.

    Args:
        probability: of a flip, in (0, 1); to be chosen on a model of the attacker's own.
    """

    probability: Annotated[float, Field(gt=0, lt=1)]

    def draw(self, count: int, like: Rows, rng: Generator) -> Bank:
        """Which features are flipped in so many copies."""
        shape = (count, *like.shape[1:])
        return torch.rand(shape, generator=rng, device=rng.device) < self.probability

    def copies(self, x: Rows, bank: Bank, box: Box) -> Copies:
        """Each row with each change."""
        low, high = (torch.as_tensor(end).to(x) for end in (box.low, box.high))
        return torch.where(bank, (low + high - x).unsqueeze(1), x.unsqueeze(1))


def _check_binary(x: Rows, box: Box) -> None:
    wrong = ~((x == box.low) | (x == box.high)).flatten(1).all(1)
    if bool(wrong.any()):
        raise BadInput(
            "inputs",
            f"{int(wrong.sum())} of {len(x)} rows have features between the ends"
            f" [{box.low}, {box.high}]",
            "Flips are for binary features; take GaussianNoise for others",
        )


Noise: TypeAlias = GaussianNoise | BernoulliFlips


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class NoiseRobustness:
    """How many noisy copies keep the label, from labels alone.

    A record is called a member when at least a share of noisy copies of it is given its true
    label. For a linear model the share tells the distance to the boundary.

    Source: Choquette-Choo, Tramer, Carlini & Papernot, "Label-only membership inference attacks",
    ICML 2021, section 3.

    Args:
        noise: how a copy is made.
        copies: of each record, at least 1: the queries that it costs. Shares differ by 1 / copies.
    """

    REVISION: ClassVar[int] = 1

    noise: Noise
    copies: Annotated[int, Field(ge=1)] = 250


def noise_robustness(
    target: Classifier | Oracle,
    x: Rows,
    y: Labels,
    config: NoiseRobustness,
    *,
    box: Box = UNIT,
    rng: Generator,
) -> PerRow:
    r"""The share of each row's noisy copies that are given its true label.

    .. math:: s(x, y) = \frac1N \sum_{i=1}^N 1[\arg\max F(x + \sigma z_i) = y],
              \quad z_i \sim N(0, I)

    For a linear model its expectation is Phi(d / sigma), with d the distance of the boundary, below
    0 where x is on the wrong side, if the box cuts nothing.

    Args:
        target: an oracle or a model; only the first of its most probable classes is looked at.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels.
        config: noise and number of copies.
        box: the valid inputs.
        rng: draws one noise for each copy, the same for all rows, so that a row's score does not
            depend on the rows beside it.

    Returns:
        (n,) float64 in [0, 1]; larger means more likely a member.

    Raises:
        BadInput: inputs outside the box; features to be flipped that are not binary.
        BudgetExceeded: of the oracle's; half a vote is none.

    Source:
        Choquette-Choo et al., ICML 2021, section 3: the noise as a proxy of the distance.
    """
    check_inside("NoiseRobustness", x, box)
    if isinstance(config.noise, BernoulliFlips):
        _check_binary(x, box)
    y, oracle = check_labels(x, y), asked(target, x)
    hits = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    pace = usual(x)
    # by the features alone: what is drawn must not depend on how many rows there are
    most = max(1, min(config.copies, pace.rows, ROOM // max(1, x[:1].numel())))
    groups = torch.arange(len(x), device=x.device).split(max(1, pace.rows // most))
    with ready(oracle, x, questions=0, batch=pace.rows):
        for first in range(0, config.copies, most):
            bank = config.noise.draw(min(most, config.copies - first), x, rng).to(x.device)
            for some in groups:
                copies = config.noise.copies(x[some], bank, box)
                hits[some] += hits_of(oracle, copies, y[some], pace).sum(1)
    return hits / config.copies
