"""Projected gradient ascent on a loss (Madry et al.; Song et al. 2019, eq. 9)."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, ClassVar, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor

from trilemma.attacks.evasion.gradients import (
    check_inside,
    check_labels,
    finite_rows,
    over,
    value_and_gradient,
    watched,
)
from trilemma.attacks.evasion.losses import BenignKL, CrossEntropy, Loss, Margin
from trilemma.core.balls import Ball
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.pace import Pace, asking
from trilemma.core.types import Classifier, Labels, Logits, PerRow, Probs, Rows

OneRow: TypeAlias = Float[Tensor, "1 *x"]
Height: TypeAlias = Callable[..., PerRow]  # (logits, what else the loss needs of each row)
LOOK = 4  # steps between looks for rows that rest


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class PGD:
    """Projected gradient ascent on a loss.

    From a random point of the ball so many steps uphill, each followed by a projection.

    Args:
        ball: the perturbations that are allowed; radius 0 allows none.
        steps: gradient steps T, at least 1.
        step_size: eta, in the inputs' unit; None is 2.5 radius / steps, which lets the path
            reach any point of the ball from any other.
        random_start: start at a uniform draw from the ball; False starts at x itself, as
            `published` does.
        restarts: runs from that many draws, of which each row keeps the one of highest loss.
        loss: what is ascended.
        targeted: the labels are those wanted, and the loss is descended.

    Example:
        >>> from trilemma.core.balls import Linf
        >>> PGD(ball=Linf(8 / 255), steps=20).rate
        0.00392156862745098

    Source:
        Madry et al., ICLR 2018; Song et al., CCS 2019, eq. 9.
    """

    REVISION: ClassVar[int] = 1

    ball: Ball
    steps: Annotated[int, Field(ge=1)] = 20
    step_size: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    random_start: bool = True
    restarts: Annotated[int, Field(ge=1)] = 1
    loss: Loss = dataclasses.field(default_factory=CrossEntropy)
    targeted: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.loss, BenignKL) and not self.random_start:
            raise ValueError("random_start: the divergence is flat at x itself; start beside it")
        if self.targeted and isinstance(self.loss, BenignKL):
            raise ValueError("targeted: the divergence from the benign answer knows no label")
        if self.targeted and isinstance(self.loss, Margin) and self.loss.confidence is not None:
            raise ValueError("targeted: the margin's confidence would end where the way begins")

    @classmethod
    def published(cls, *, ball: Ball, steps: int = 20, step_size: float | None = None) -> "PGD":
        """Song et al., eq. 9: from x itself, once, up the cross-entropy of the true label.

        The equation leaves the ball, T and eta open, and so does this.

        Example:
            >>> from trilemma.core.balls import Linf
            >>> PGD.published(ball=Linf(0.1), step_size=0.01).random_start
            False
        """
        return cls(
            ball=ball,
            steps=steps,
            step_size=step_size,
            random_start=False,
            restarts=1,
            loss=CrossEntropy(),
            targeted=False,
        )

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
    y: Labels | Probs,
    config: PGD,
    *,
    box: Box = UNIT,
    rng: Generator,
    batch: int | None = None,
    loss: Height | None = None,
) -> Rows:
    r"""Inputs near `x` that `model` is least likely to label `y`.

    .. math:: \tilde x^{t+1} = \Pi_{B(x)}[\tilde x^t + \eta\, d(\nabla \ell(F, \tilde x^t, y))],

    where d is the unit step of the ball's norm (the sign, for Linf); then clipped to the box.

    Args:
        model: logits out; queried in eval mode and handed back as it came, without gradients.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels; those wanted, where `config.targeted`. The cross-entropy and a `loss`
            of the caller's take (n, k) weights of the classes, too.
        config: the attack's hyper-parameters.
        box: the valid inputs.
        rng: draws the starts: one for all rows (and one more for each restart), so that what
            becomes of a row does not depend on the rows beside it.
        batch: rows at a time, which bounds memory; None finds what is fastest. It changes
            results by rounding only.
        loss: (logits, labels) -> (n,), used instead of `config.loss`; it alone knows which
            labels fit the logits.

    Returns:
        (n, *x) points of the ball around `x` and of the box. A row whose gradient is not a
        finite number is NaN: it must not pass for a row that resisted.

    Raises:
        BadInput: some input lies outside the box; labels are not one a row or not among the
            model's classes; `loss` does not answer one number a row.

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
    check_inside("adversarial examples", x, box)
    soft = loss is not None or isinstance(config.loss, CrossEntropy | BenignKL)
    x, y = x.detach(), check_labels(x, y, soft=soft)
    if config.ball.radius == 0 or len(x) == 0:
        return x.clone()
    height, known = (config.loss, watched(model, y)) if loss is None else (_by_row(loss), model)
    benign = loss is None and config.loss.needs_benign
    questions = len(x) * config.steps * config.restarts
    with asking(model, x, gradients=True, questions=questions, batch=batch) as pace:
        climb = Ascent(known, height, config, box, starts(x, config, rng), pace)
        x_adv = torch.empty_like(x)
        for each in pace.slices(len(x)):
            rows = pace.lay(x[each])
            beside = (y[each], climb.answer(rows)) if benign else (y[each],)
            x_adv[each] = climb(rows, *beside)
    return x_adv


def _by_row(loss: Height) -> Height:
    """A mean over the rows would couple them."""

    def height(logits: Logits, y: Labels | Probs) -> PerRow:
        value = loss(logits, y)
        if value.shape != logits.shape[:1]:
            raise BadInput(
                "loss",
                f"must be one number for each of {len(logits)} rows; its shape is"
                f" {tuple(value.shape)}",
                'Losses of torch answer so with reduction="none"',
            )
        return value

    return height


def starts(x: Rows, config: PGD, rng: Generator) -> list[OneRow]:
    """The perturbations from which every row starts, one a restart."""
    like = x[:1].contiguous()  # a draw fills memory in its order
    if not config.random_start:
        return [torch.zeros_like(like)] * config.restarts
    there = like.to(rng.device)
    return [config.ball.sample(there, rng).to(like.device) for _ in range(config.restarts)]


@dataclasses.dataclass(frozen=True, eq=False)
class Ascent:
    """Eq. 9 on a micro-batch: what all rows have in common.

    Args:
        model: logits out.
        height: (logits, *beside) -> (n,), ascended or, where `config.targeted`, descended.
        config: ball, steps and step size.
        box: the valid inputs.
        starts: perturbations from which to start.
        pace: how inputs lie in memory.
    """

    model: Classifier
    height: Height
    config: PGD
    box: Box
    starts: Sequence[OneRow]
    pace: Pace

    def __call__(self, x: Rows, *beside: Tensor) -> Rows:
        """Of the runs from each start, the last point of the one that ends highest."""
        best = self._run(x, self.starts[0], *beside)
        if len(self.starts) == 1:
            return best
        highest = self._heights(self.answer(best), *beside)
        for start in self.starts[1:]:
            found = self._run(x, start, *beside)
            height = self._heights(self.answer(found), *beside)
            # Not `height > highest`: a NaN must win, so that it is seen.
            better = ~(height <= highest)
            best = torch.where(over(better, x), found, best)
            highest = torch.where(better, height, highest)
        return best

    def answer(self, x: Rows) -> Logits:
        """The model's logits, without gradients."""
        with torch.no_grad():
            return self.model(self.pace.lay(x))

    def _heights_at(self, beside: Sequence[Tensor], z: Rows) -> PerRow:
        return self._heights(self.model(z), *beside)

    def _heights(self, logits: Logits, *beside: Tensor) -> PerRow:
        height = self.height(logits, *beside)
        return -height if self.config.targeted else height

    def _run(self, x: Rows, start: OneRow, *beside: Tensor) -> Rows:
        """T steps from x + start; rows that rest, or have no gradient, leave on the way.

        A row that a step did not move is moved by none: the step depends on the point alone.
        """
        config, lay = self.config, self.pace.lay
        ended, at = torch.empty_like(x), torch.arange(len(x), device=x.device)
        z = self.box.clip(x + start)
        sound = torch.ones(len(x), dtype=torch.bool, device=x.device)
        for t in range(1, config.steps + 1):
            _, gradient = value_and_gradient(partial(self._heights_at, beside), lay(z))
            sound &= finite_rows(gradient)
            step = torch.add(z, config.ball.steepest(gradient), alpha=config.rate)
            last, z = z, self.box.clip(x + config.ball.project(step.sub_(x)))
            if t % LOOK:
                continue
            going = sound & (z != last).flatten(1).any(1)
            if not bool(going.all()):
                ended[at] = torch.where(over(sound, z), z, torch.nan)
                x, z, at, sound = lay(x[going]), lay(z[going]), at[going], sound[going]
                beside = tuple(each[going] for each in beside)
                if len(at) == 0:
                    return ended
        ended[at] = torch.where(over(sound, z), z, torch.nan)
        return ended
