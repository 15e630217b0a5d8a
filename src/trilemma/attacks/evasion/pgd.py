"""Projected gradient ascent on the cross-entropy (Madry et al.; Song et al. 2019, eq. 9)."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, ClassVar, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor
from torch.nn import functional as F

from trilemma.core.balls import Ball
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.modes import evaluating
from trilemma.core.types import Classifier, Labels, PerRow, Rows

OneRow: TypeAlias = Float[Tensor, "1 *x"]
TOLERANCE = 1e-6  # inputs may leave the box by the rounding of a rescaling, and no further


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class PGD:
    """Hyper-parameters of projected gradient ascent.

    Args:
        ball: the perturbations that are allowed; radius 0 allows none.
        steps: gradient steps T, at least 1.
        step_size: eta, in the inputs' unit; None is 2.5 radius / steps, which lets the path
            reach any point of the ball from any other.
        random_start: start at a uniform draw from the ball; False starts at x itself, as in
            Song et al., eq. 9.
        restarts: runs from that many draws, of which each row keeps the one of highest loss.

    Example:
        >>> from trilemma.core.balls import Linf
        >>> PGD(ball=Linf(8 / 255), steps=20).rate
        0.00392156862745098
    """

    REVISION: ClassVar[int] = 1

    ball: Ball
    steps: Annotated[int, Field(ge=1)] = 20
    step_size: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    random_start: bool = True
    restarts: Annotated[int, Field(ge=1)] = 1

    @property
    def rate(self) -> float:
        """The step size eta that is used."""
        return 2.5 * self.ball.radius / self.steps if self.step_size is None else self.step_size

    def scaled(self, share: float) -> "PGD":
        """The same attack in a ball of `share` times the radius, with steps to match."""
        ball = type(self.ball)(share * self.ball.radius)
        step_size = None if self.step_size is None else share * self.step_size or None
        return dataclasses.replace(self, ball=ball, step_size=step_size)


def pgd(
    model: Classifier,
    x: Rows,
    y: Labels,
    config: PGD,
    *,
    box: Box = UNIT,
    rng: Generator,
    batch: int = 64,
) -> Rows:
    r"""Inputs near `x` that `model` is least likely to label `y`.

    .. math:: \tilde x^{t+1} = \Pi_{B(x)}[\tilde x^t + \eta\, d(\nabla \ell(F, \tilde x^t, y))],

    where d is the unit step of the ball's norm (the sign, for Linf); then clipped to the box.

    Args:
        model: logits out; queried in eval mode and handed back as it came, without gradients.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels.
        config: the attack's hyper-parameters.
        box: the valid inputs.
        rng: draws the starts: one for all rows (and one more for each restart), so that what
            becomes of a row does not depend on the rows beside it.
        batch: rows at a time, which bounds memory; 64 to 128 is fastest on a CPU.

    Returns:
        (n, *x) points of the ball around `x` and of the box. A row whose gradient is not a
        finite number is NaN: it must not pass for a row that resisted.

    Raises:
        BadInput: some input lies outside the box.

    Example:
        >>> import torch
        >>> from trilemma.core.balls import Linf
        >>> from trilemma.core.generators import seeded
        >>> model = torch.nn.Linear(2, 2)
        >>> x, y = torch.full((3, 2), 0.5), torch.tensor([0, 1, 0])
        >>> x_adv = pgd(model, x, y, PGD(ball=Linf(0.25), steps=4), rng=seeded(0))
        >>> (x_adv - x).abs().max().item()
        0.25

    Source:
        Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018;
        Song et al., "Privacy risks of securing machine learning models", CCS 2019, eq. 9.
    """
    _check(x, box)
    if config.ball.radius == 0 or len(x) == 0:
        return x.detach().clone()
    starts = [_start(x[:1].detach(), config, rng) for _ in range(config.restarts)]
    with evaluating(model):
        parts = [
            _strongest(model, rows, labels, config, box, starts)
            for rows, labels in zip(x.detach().split(batch), y.split(batch), strict=True)
        ]
    return torch.cat(parts)


def _check(x: Rows, box: Box) -> None:
    outside = (box.clip(x) - x).abs() > TOLERANCE
    if bool(outside.any()):
        rows = int(outside.flatten(1).any(1).sum())
        raise BadInput(
            "PGD",
            f"{rows} of {len(x)} inputs lie outside the box of valid inputs [{box.low}, {box.high}]"
            f" (they span [{x.min():.4g}, {x.max():.4g}])",
            "Rescale the inputs, or give the box they live in",
        )


def _start(like: OneRow, config: PGD, rng: Generator) -> OneRow:
    """One perturbation, from which every row starts."""
    if not config.random_start:
        return torch.zeros_like(like)
    return config.ball.sample(like.to(rng.device), rng).to(like.device)


def _strongest(
    model: Classifier, x: Rows, y: Labels, config: PGD, box: Box, starts: Sequence[OneRow]
) -> Rows:
    """Of the runs from each start, the last point of the one that ends at the highest loss."""
    best = _ascend(model, x, y, config, box, starts[0])
    if len(starts) == 1:
        return best
    with torch.no_grad():
        height = _losses(model, best, y)
        for start in starts[1:]:
            found = _ascend(model, x, y, config, box, start)
            loss = _losses(model, found, y)
            # Not `loss > height`: a NaN must win, so that it is seen.
            better = ~(loss <= height)
            best = torch.where(better.view(-1, *[1] * (x.dim() - 1)), found, best)
            height = torch.where(better, loss, height)
    return best


def _ascend(model: Classifier, x: Rows, y: Labels, config: PGD, box: Box, start: OneRow) -> Rows:
    """Eq. 9 from x + start."""
    ball, rate = config.ball, config.rate
    z = box.clip(x + start)
    finite = torch.ones(len(x), dtype=torch.bool, device=x.device)
    for _ in range(config.steps):
        gradient = _gradient(model, z, y)
        finite &= gradient.flatten(1).isfinite().all(1)
        z = box.clip(x + ball.project(z + rate * ball.steepest(gradient) - x))
    return (
        z
        if bool(finite.all())
        else z.masked_fill(~finite.view(-1, *[1] * (x.dim() - 1)), torch.nan)
    )


def _gradient(model: Classifier, x: Rows, y: Labels) -> Rows:
    """Of each row's loss in that row; the model's parameters get none."""
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(_losses(model, leaf, y).sum(), leaf)
    return gradient


def _losses(model: Classifier, x: Rows, y: Labels) -> PerRow:
    return F.cross_entropy(model(x), y, reduction="none")
