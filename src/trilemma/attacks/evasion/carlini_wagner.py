"""The nearest adversarial example in L2, by Adam and a search for the price (Carlini & Wagner)."""

import dataclasses
import math
from typing import Annotated, ClassVar, TypeAlias

import torch
from jaxtyping import Bool
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor

from trilemma.attacks.evasion.gradients import (
    check_inside,
    check_labels,
    finite_rows,
    over,
    watched,
    wide,
)
from trilemma.attacks.evasion.losses import logit_of, strongest_rival
from trilemma.core.box import UNIT, Box
from trilemma.core.pace import Pace, asking
from trilemma.core.types import Classifier, Labels, Logits, PerRow, Rows

Which: TypeAlias = Bool[Tensor, " n"]
BETAS = 0.9, 0.999  # Adam's
TINY = 1e-12  # keeps Adam's ratio finite where no gradient ever was
LAST = 0.1  # share of a descent that tells whether its price is high enough


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class CarliniWagner:
    """The nearest adversarial example in L_2, by optimisation (CW).

    Args:
        confidence: kappa: by how much the wrong logit must lead.
        steps: of Adam for each price. The paper takes 10,000 at one rate; with a rate that
            falls, 200 get as near.
        binary_search_steps: prices c that are tried, at least 1.
        learning_rate: Adam's first, as a share of the box's width (in the inputs' unit, where it
            has no end); it falls to 0 in a straight line over the steps.
        initial_const: the first price c.
        targeted: the labels are those wanted.

    Source: Carlini & Wagner, "Towards evaluating the robustness of neural networks", IEEE S&P
    2017, section VI.A.
    """

    REVISION: ClassVar[int] = 1

    confidence: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    steps: Annotated[int, Field(ge=1)] = 200
    binary_search_steps: Annotated[int, Field(ge=1)] = 9
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    initial_const: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.001
    targeted: bool = False

    def scaled(self, share: float) -> "CarliniWagner":
        """The same attack: there is no ball that could be smaller."""
        return self

    def lead(self, logits: Logits, y: Labels) -> PerRow:
        """By how much the answer is wrong: max_(j != y) z_j - z_y, turned where targeted."""
        lead = strongest_rival(logits, y) - logit_of(logits, y)
        return -lead if self.targeted else lead

    def wrong(self, lead: PerRow) -> Which:
        """Whether a lead is one, and as large as is wanted."""
        return (lead > 0) & (lead >= self.confidence)


def carlini_wagner(
    model: Classifier,
    x: Rows,
    y: Labels,
    config: CarliniWagner,
    *,
    box: Box = UNIT,
    rng: Generator,
    batch: int | None = None,
) -> Rows:
    r"""The nearest inputs found that `model` gets wrong.

    .. math:: \min_{\tilde x} \|\tilde x - x\|_2^2 + c\, (\kappa - \mathrm{lead}(\tilde x))_+

    by Adam from x, clipped to the box at each step (the paper's other way, a change of variable by
    tanh, has no slope where a pixel is black or white). The price c is searched by bisection, row
    by row: less where the answer was wrong at the end of the descent, more where it was not. The
    paper counts wrong answers anywhere in a descent; its first steps overshoot where the boundary
    is near, and then the price only falls.

    With two classes the result is within about 1 % of the nearest boundary. With more a descent
    follows the strongest rival, which need not be the nearest: on linear models with 10 classes
    about one row in seven ends farther, by up to a third. `fabt`, which aims at each likely class
    by itself, ends within 0.1 % of the nearest boundary there.

    Args:
        model: logits out; queried in eval mode and handed back as it came.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels; those wanted, where `config.targeted`.
        config: confidence, steps, prices.
        box: the valid inputs.
        rng: not needed, since nothing is drawn.
        batch: rows at a time; None finds what is fastest.

    Returns:
        (n, *x) the nearest adversarial example seen of each row. Where none was seen, x itself,
        which the model still gets right: distance 0 alone is no success. Where x itself is wrong
        already, x. NaN where a gradient was not finite and no example was seen.

    Raises:
        BadInput: some input lies outside the box; labels are not one a row or not among the
            model's classes.

    Example:
        >>> import torch
        >>> from trilemma.core.generators import seeded
        >>> x, y = torch.tensor([[0.75, 0.25]]), torch.tensor([0])
        >>> config = CarliniWagner(steps=50)
        >>> found = carlini_wagner(torch.nn.Identity(), x, y, config, rng=seeded(0))
        >>> round((found - x).norm().item(), 2)  # half of 0.5, times the square root of 2
        0.35

    Source:
        Carlini & Wagner 2017, section VI.A.
    """
    check_inside("adversarial examples", x, box)
    x, y = x.detach(), check_labels(x, y)
    x_adv, right = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    if len(x) == 0:
        return x_adv
    questions, known = len(x) * config.steps * config.binary_search_steps, watched(model, y)
    with asking(model, x, gradients=True, questions=questions, batch=batch) as pace:
        with torch.no_grad():
            for each in pace.slices(len(x)):
                lead = config.lead(known(pace.lay(x[each])), y[each])
                right[each] = ~config.wrong(lead)  # a NaN, too: it must be looked at
        rest = right.nonzero().squeeze(1)
        for each in pace.slices(len(rest)):
            rows = rest[each]
            x_adv[rows] = _nearest(known, pace.lay(x[rows]), y[rows], config, box, pace)
    return x_adv


@dataclasses.dataclass(eq=False)
class _Best:
    """The nearest example seen of each row, changed in place."""

    x: Rows
    distance: PerRow  # squared; inf where none was seen
    sound: Which  # whether all gradients were numbers

    def see(self, z: Rows, distance: PerRow, wrong: Which) -> None:
        """Keep what is wrong and nearer."""
        nearer = wrong & (distance < self.distance)
        self.x = torch.where(over(nearer, z), z, self.x)
        self.distance = torch.where(nearer, distance, self.distance)


def _nearest(
    model: Classifier, x: Rows, y: Labels, config: CarliniWagner, box: Box, pace: Pace
) -> Rows:
    """The search for the price, on a micro-batch."""
    price = x.new_full((len(x),), config.initial_const, dtype=wide(x))
    low, high = torch.zeros_like(price), torch.full_like(price, math.inf)
    sound = torch.ones(len(x), dtype=torch.bool, device=x.device)
    best = _Best(x, torch.full_like(price, math.inf), sound)
    for _ in range(config.binary_search_steps):
        enough = _descend(model, x, y, price, config, box, pace, best)
        high = torch.where(enough, price, high)
        low = torch.where(enough, low, price)
        price = torch.where(high.isinf(), 10 * price, (low + high) / 2)
    lost = ~best.sound & best.distance.isinf()
    return torch.where(over(lost, x), torch.nan, best.x)


def _descend(
    model: Classifier,
    x: Rows,
    y: Labels,
    price: PerRow,
    config: CarliniWagner,
    box: Box,
    pace: Pace,
    best: _Best,
) -> Which:
    """Adam on distance plus price; whether the answer was wrong anywhere in its last tenth."""
    (first, second), dims = BETAS, tuple(range(1, x.dim()))
    z = x.to(wide(x))  # half precision has no room for a square of Adam's, nor for a high price
    mean, square, costs = torch.zeros_like(z), torch.zeros_like(z), over(price, x)
    widest = config.learning_rate * _width(box, z)
    enough = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for t in range(1, config.steps + 1):
        with torch.enable_grad():
            leaf = pace.lay(z.to(x.dtype)).detach().requires_grad_()
            lead = config.lead(model(leaf), y)
            short = (config.confidence - lead).clamp(min=0)
            (gradient,) = torch.autograd.grad(short.sum(), leaf)
        seen, wrong = leaf.detach(), config.wrong(lead.detach())
        delta = seen.to(z.dtype) - x
        best.see(seen, delta.square().sum(dims), wrong)
        best.sound &= finite_rows(gradient)
        if t > (1 - LAST) * config.steps:
            enough |= wrong
        gradient = (gradient * costs).add_(delta, alpha=2)
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        rate = (1 - (t - 1) / config.steps) * math.sqrt(1 - second**t) / (1 - first**t)
        z = box.clip(z - rate * widest * mean / square.sqrt().add_(TINY))
    return enough


def _width(box: Box, like: Rows) -> Tensor:
    """Of each feature of the box; 1 where it has no end."""
    low, high = (
        torch.as_tensor(end, dtype=like.dtype, device=like.device) for end in (box.low, box.high)
    )
    width: Tensor = high - low
    return width.where(width.isfinite(), 1)
