"""One step of the whole radius, and several small ones from x itself (Goodfellow; Kurakin)."""

import dataclasses
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator

from trilemma.attacks.evasion.pgd import PGD, pgd
from trilemma.core.balls import Ball
from trilemma.core.box import UNIT, Box
from trilemma.core.types import Classifier, Labels, Probs, Rows


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class FGSM:
    """One step of the whole radius (fast gradient sign method).

    Args:
        ball: the perturbations that are allowed; in L2 the step follows the gradient itself.
        targeted: the labels are those wanted, and the loss is descended.

    Source: Goodfellow, Shlens, Szegedy, "Explaining and harnessing adversarial examples", ICLR
    2015.
    """

    REVISION: ClassVar[int] = 1

    ball: Ball
    targeted: bool = False

    def scaled(self, share: float) -> "FGSM":
        """The same attack in a ball of `share` times the radius."""
        return dataclasses.replace(self, ball=type(self.ball)(share * self.ball.radius))


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class IFGSM:
    """Several small steps from x itself (iterative FGSM).

    Args:
        ball: the perturbations that are allowed.
        steps: gradient steps, at least 1; Qin et al. 2023 take 5.
        step_size: in the inputs' unit; None is radius / steps, with which straight steps end on
            the ball's surface. (Kurakin et al. fix the step at one grey level, and the number of
            steps by the radius.)
        targeted: the labels are those wanted, and the loss is descended.

    Source: Kurakin, Goodfellow, Bengio, "Adversarial examples in the physical world", ICLR
    workshop 2017, section 2.2.
    """

    REVISION: ClassVar[int] = 1

    ball: Ball
    steps: Annotated[int, Field(ge=1)] = 5
    step_size: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    targeted: bool = False

    @property
    def rate(self) -> float:
        """The step size that is used."""
        return self.ball.radius / self.steps if self.step_size is None else self.step_size

    def scaled(self, share: float) -> "IFGSM":
        """The same attack in a ball of `share` times the radius, with steps to match."""
        ball = type(self.ball)(share * self.ball.radius)
        step_size = None if self.step_size is None else share * self.step_size or None
        return dataclasses.replace(self, ball=ball, step_size=step_size)


def fgsm(
    model: Classifier,
    x: Rows,
    y: Labels | Probs,
    config: FGSM,
    *,
    box: Box = UNIT,
    rng: Generator,
    batch: int | None = None,
) -> Rows:
    r"""Inputs one step up the loss from `x`.

    .. math:: \tilde x = x + \epsilon\, \mathrm{sign}(\nabla_x \ell(F, x, y))

    Args:
        model: logits out; queried in eval mode and handed back as it came.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels; those wanted, where `config.targeted`; or (n, k) weights of classes.
        config: the ball.
        box: the valid inputs, to which the step is clipped.
        rng: not needed, since nothing is drawn.
        batch: rows at a time; None finds what is fastest.

    Returns:
        (n, *x) points of the ball and of the box; NaN where the gradient is not finite.

    Raises:
        BadInput: some input lies outside the box; labels are not one a row or not among the
            model's classes.

    Example:
        >>> import torch
        >>> from trilemma.core.balls import Linf
        >>> from trilemma.core.generators import seeded
        >>> model = lambda z: torch.stack([-z[:, 0], z[:, 0]], dim=1)
        >>> x, y = torch.tensor([[0.5]]), torch.tensor([1])
        >>> fgsm(model, x, y, FGSM(ball=Linf(0.25)), rng=seeded(0))
        tensor([[0.2500]])

    Source:
        Goodfellow et al. 2015, section 4.
    """
    straight = _from_x(config, steps=1, rate=config.ball.radius)
    return pgd(model, x, y, straight, box=box, rng=rng, batch=batch)


def ifgsm(
    model: Classifier,
    x: Rows,
    y: Labels | Probs,
    config: IFGSM,
    *,
    box: Box = UNIT,
    rng: Generator,
    batch: int | None = None,
) -> Rows:
    r"""Inputs some small steps up the loss from `x`.

    .. math:: \tilde x^{t+1} = \Pi_{B(x)}[\tilde x^t
              + \alpha\, \mathrm{sign}(\nabla \ell(F, \tilde x^t, y))], \quad \tilde x^0 = x

    Args:
        model: logits out; queried in eval mode and handed back as it came.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels; those wanted, where `config.targeted`; or (n, k) weights of classes.
        config: ball, steps and step size.
        box: the valid inputs, to which each step is clipped.
        rng: not needed, since nothing is drawn.
        batch: rows at a time; None finds what is fastest.

    Returns:
        (n, *x) points of the ball and of the box; NaN where a gradient was not finite.

    Raises:
        BadInput: some input lies outside the box; labels are not one a row or not among the
            model's classes.

    Example:
        >>> import torch
        >>> from trilemma.core.balls import Linf
        >>> from trilemma.core.generators import seeded
        >>> model = lambda z: torch.stack([-z[:, 0], z[:, 0]], dim=1)
        >>> x, y = torch.tensor([[0.5]]), torch.tensor([1])
        >>> ifgsm(model, x, y, IFGSM(ball=Linf(0.25), step_size=0.0625, steps=2), rng=seeded(0))
        tensor([[0.3750]])

    Source:
        Kurakin et al. 2017, section 2.2; Qin et al. 2023 (I-FGSM).
    """
    small = _from_x(config, steps=config.steps, rate=config.rate)
    return pgd(model, x, y, small, box=box, rng=rng, batch=batch)


def _from_x(config: FGSM | IFGSM, *, steps: int, rate: float) -> PGD:
    """Gradient ascent that starts at x itself; a radius of 0 has no step."""
    return PGD(
        ball=config.ball,
        steps=steps,
        step_size=rate or None,
        random_start=False,
        targeted=config.targeted,
    )
