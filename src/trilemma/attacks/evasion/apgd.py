"""Auto-PGD: projected gradient ascent that sets its own step size (Croce & Hein 2020)."""

import dataclasses
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator

from trilemma.attacks.evasion.climb import Ascents, Targets, checkpoints, climb, likeliest
from trilemma.attacks.evasion.gradients import check_classes, check_inside, check_labels
from trilemma.attacks.evasion.losses import DLR, CrossEntropy, Margin, logit_of, targeted_dlr
from trilemma.attacks.evasion.pool import answers
from trilemma.core.balls import Ball
from trilemma.core.box import UNIT, Box
from trilemma.core.pace import asking
from trilemma.core.types import Classifier, Labels, Logits, PerRow, Rows

DLR_CLASSES = 4  # fewest for which the targeted difference of logits ratio is defined


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class APGD:
    """Projected gradient ascent without a step size to choose.

    Args:
        ball: the perturbations that are allowed; radius 0 allows none.
        steps: N_iter, gradient steps a run.
        restarts: runs, each from a draw of its own.
        loss: what is ascended. The difference of logits ratio needs 3 classes.
        rho: share of the steps since the last checkpoint that must have gone up, or the step
            size is halved.

    Example:
        >>> from trilemma.core.balls import Linf
        >>> APGD(ball=Linf(8 / 255)).checkpoints
        (22, 41, 57, 70, 80, 87, 93, 99)

    Source:
        Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
        parameter-free attacks", ICML 2020, section 3, algorithm 1.
    """

    REVISION: ClassVar[int] = 1

    ball: Ball
    steps: Annotated[int, Field(ge=1)] = 100
    restarts: Annotated[int, Field(ge=1)] = 1
    loss: CrossEntropy | DLR | Margin = CrossEntropy()
    rho: Annotated[float, Field(ge=0, le=1)] = 0.75

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """W: the steps after which the step size may be halved."""
        return checkpoints(self.steps)

    def scaled(self, share: float) -> "APGD":
        """The same attack in a ball of `share` times the radius."""
        return dataclasses.replace(self, ball=type(self.ball)(share * self.ball.radius))


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class APGDT:
    """Projected gradient ascent without a step size, towards one wrong class after the other.

    Args:
        ball: the perturbations that are allowed; radius 0 allows none.
        steps: N_iter, gradient steps a run.
        targets: wrong classes that are tried, those of the largest logits first; all of them
            where there are fewer.
        restarts: runs towards each target, each from a draw of its own.
        rho: as in `APGD`.

    Source: Croce & Hein 2020, section 4.
    """

    REVISION: ClassVar[int] = 1

    ball: Ball
    steps: Annotated[int, Field(ge=1)] = 100
    targets: Annotated[int, Field(ge=1)] = 9
    restarts: Annotated[int, Field(ge=1)] = 1
    rho: Annotated[float, Field(ge=0, le=1)] = 0.75

    def scaled(self, share: float) -> "APGDT":
        """The same attack in a ball of `share` times the radius."""
        return dataclasses.replace(self, ball=type(self.ball)(share * self.ball.radius))


def apgd(
    model: Classifier,
    x: Rows,
    y: Labels,
    config: APGD,
    *,
    box: Box = UNIT,
    rng: Generator,
    batch: int | None = None,
) -> Rows:
    r"""Inputs near `x` that `model` is least likely to label `y`.

    .. math:: z^{(k+1)} = \Pi_S(x^{(k)} + \eta^{(k)} d(\nabla f(x^{(k)}))), \quad
        x^{(k+1)} = \Pi_S(x^{(k)} + \alpha (z^{(k+1)} - x^{(k)})
        + (1 - \alpha) (x^{(k)} - x^{(k-1)})),

    with alpha = 3/4, and eta = 2 radius at first; at each checkpoint a row whose loss did not rise
    often enough, or has no new maximum at an unchanged step size, halves eta and goes back to its
    best point. S is the ball cut by the box: projected on the one, then clipped to the other.

    Args:
        model: logits out; queried in eval mode and handed back as it came, without gradients.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels.
        config: the attack's hyper-parameters.
        box: the valid inputs.
        rng: draws the starts, one for all rows in each run.
        batch: rows a call; None measures what is fastest.

    Returns:
        (n, *x) points of the ball around `x` and of the box: of those visited, the one of highest
        loss, and a misclassified one before any other. A row with an answer or gradient that is
        not a finite number is NaN.

    Raises:
        BadInput: some input lies outside the box; labels are not one a row or not among the
            model's classes; the loss needs more classes.

    Example:
        >>> import torch
        >>> from trilemma.core.balls import Linf
        >>> from trilemma.core.generators import seeded
        >>> model = torch.nn.Linear(2, 2)
        >>> x, y = torch.full((3, 2), 0.5), torch.tensor([0, 1, 0])
        >>> x_adv = apgd(model, x, y, APGD(ball=Linf(0.25), steps=10), rng=seeded(0))
        >>> bool((x_adv - x).abs().max() <= 0.25)
        True

    Source:
        Croce & Hein 2020, algorithm 1.
    """
    check_inside("APGD", x, box)
    y = check_labels(x, y)
    if config.ball.radius == 0 or len(x) == 0:
        return x.detach().clone()
    return climb(model, x, y, untargeted(config, y), box=box, rng=rng, batch=batch).x_adv


def apgdt(
    model: Classifier,
    x: Rows,
    y: Labels,
    config: APGDT,
    *,
    box: Box = UNIT,
    rng: Generator,
    batch: int | None = None,
) -> Rows:
    """Inputs near `x` that `model` labels as one of the likeliest wrong classes.

    `apgd` on the targeted difference of logits ratio, for one target after the other. With 2 or 3
    classes the ratio is not defined; z_t - z_y, its numerator, takes its place.

    Args:
        model: logits out; queried in eval mode and handed back as it came, without gradients.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels.
        config: the attack's hyper-parameters.
        box: the valid inputs.
        rng: draws the starts, one for all rows in each run.
        batch: rows a call; None measures what is fastest.

    Returns:
        (n, *x) points of the ball and of the box: the one of highest loss over all targets, and a
        misclassified one before any other; NaN as `apgd`.

    Raises:
        BadInput: some input lies outside the box; labels are not one a row or not among the
            model's classes.

    Source:
        Croce & Hein 2020, section 4, eq. 7.
    """
    check_inside("APGDT", x, box)
    y = check_labels(x, y)
    if config.ball.radius == 0 or len(x) == 0:
        return x.detach().clone()
    with asking(model, x, gradients=False, questions=len(x), batch=batch) as pace:
        logits = answers(model, x, pace)
    check_classes(logits, y)
    targets = likeliest(logits, y, config.targets)
    return climb(model, x, y, targeted(config, targets), box=box, rng=rng, batch=batch).x_adv


def untargeted(config: APGD, y: Labels, *, first: bool = False) -> Ascents:
    """Ascents of a loss that knows no target; the label stands for it."""
    return Ascents(
        ball=config.ball,
        steps=config.steps,
        rho=config.rho,
        restarts=config.restarts,
        height=lambda logits, y, _: config.loss(logits, y),
        targets=y.view(-1, 1),
        first=first,
    )


def targeted(config: APGDT, targets: Targets, *, first: bool = False) -> Ascents:
    """Ascents of the targeted difference of logits ratio."""
    return Ascents(
        ball=config.ball,
        steps=config.steps,
        rho=config.rho,
        restarts=config.restarts,
        height=_ratio,
        targets=targets,
        first=first,
    )


def _ratio(logits: Logits, y: Labels, target: Labels) -> PerRow:
    if logits.shape[1] < DLR_CLASSES:
        return logit_of(logits, target) - logit_of(logits, y)
    return targeted_dlr(logits, y, target)
