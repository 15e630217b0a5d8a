"""AutoAttack, the standard ensemble of four attacks (Croce & Hein 2020)."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Generator

from trilemma.attacks.evasion.apgd import APGD, APGDT, targeted, untargeted
from trilemma.attacks.evasion.climb import Found, Targets, climb, likeliest
from trilemma.attacks.evasion.fab import FABT, Walks, walk
from trilemma.attacks.evasion.gradients import check_classes, check_inside, check_labels
from trilemma.attacks.evasion.pool import answers
from trilemma.attacks.evasion.square import Square, search
from trilemma.core.balls import Ball
from trilemma.core.box import UNIT, Box
from trilemma.core.pace import asking
from trilemma.core.types import Classifier, Labels, Rows


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class AutoAttack:
    """Four attacks, each on the rows that resisted those before it.

    The standard version, which has no settings but the ball: APGD on the cross-entropy (100 steps,
    one run), APGD on the targeted difference of logits ratio and FAB (100 steps towards each of the
    9 likeliest wrong classes), and Square (5,000 queries).

    Args:
        ball: the perturbations that are allowed; radius 0 allows none.

    Example:
        >>> from trilemma.core.balls import L2
        >>> AutoAttack(ball=L2(0.5)).parts[-1].queries
        5000

    Source:
        Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
        parameter-free attacks", ICML 2020, section 5.
    """

    REVISION: ClassVar[int] = 1

    ball: Ball

    @property
    def parts(self) -> tuple[APGD, APGDT, FABT, Square]:
        """The attacks, in the order in which they run."""
        ball = self.ball
        return APGD(ball=ball), APGDT(ball=ball), FABT(ball=ball), Square(ball=ball)

    def scaled(self, share: float) -> "AutoAttack":
        """The same attack in a ball of `share` times the radius."""
        return dataclasses.replace(self, ball=type(self.ball)(share * self.ball.radius))


def autoattack(
    model: Classifier,
    x: Rows,
    y: Labels,
    config: AutoAttack,
    *,
    box: Box = UNIT,
    rng: Generator,
    batch: int | None = None,
) -> Rows:
    """Inputs near `x` that are misclassified, wherever one of the four attacks finds such a one.

    A row leaves at its first misclassified point in the ball. With fewer than 10 classes all wrong
    ones are targets; with fewer than 4 the targeted ratio is not defined, and its numerator takes
    its place (see `apgdt`), so that every model with 2 classes or more is attacked by all four.

    Args:
        model: logits out; queried in eval mode and handed back as it came, without gradients.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels.
        config: the ball.
        box: the valid inputs.
        rng: draws starts and windows, one set for all rows.
        batch: rows a call; None measures what is fastest.

    Returns:
        (n, *x): a misclassified point of the ball around `x` and of the box where one was found, x
        itself where none was, and where x is misclassified as it is. A row with an answer or
        gradient that is not a finite number, where no attack succeeded before, is NaN: it must not
        pass for a row that resisted.

    Raises:
        BadInput: some input lies outside the box; labels are not one a row or not among the
            model's classes.

    Example:
        >>> import torch
        >>> from trilemma.core.balls import Linf
        >>> from trilemma.core.generators import seeded
        >>> model = torch.nn.Identity()  # undecided where both features are equal
        >>> x, y = torch.tensor([[0.6, 0.4], [0.9, 0.1]]), torch.tensor([0, 0])
        >>> x_adv = autoattack(model, x, y, AutoAttack(ball=Linf(0.2)), rng=seeded(0))
        >>> model(x_adv).argmax(1)
        tensor([1, 0])

    Source:
        Croce & Hein 2020, section 5.
    """
    check_inside("AutoAttack", x, box)
    x, y = x.detach(), check_labels(x, y)
    if config.ball.radius == 0 or len(x) == 0:
        return x.clone()
    with asking(model, x, gradients=False, questions=len(x), batch=batch) as pace:
        logits = answers(model, x, pace)
    check_classes(logits, y)
    targets = likeliest(logits, y, config.parts[1].targets)
    sound = logits.sum(1).isfinite()
    x_adv = x.masked_fill(~sound.view(-1, *[1] * (x.dim() - 1)), torch.nan)
    left = (sound & (logits.argmax(1) == y)).nonzero().squeeze(1)
    for attack in _attacks(model, config, box, rng, batch):
        if len(left):
            found = attack(x[left], y[left], targets[left])
            done = found.wrong | found.x_adv.flatten(1).isnan().any(1)
            x_adv[left[done]] = found.x_adv[done]
            left = left[~done]
    return x_adv


def _attacks(
    model: Classifier, config: AutoAttack, box: Box, rng: Generator, batch: int | None
) -> tuple[Callable[[Rows, Labels, Targets], Found], ...]:
    """The parts, on rows, their labels and their targets."""
    ascent, targeted_ascent, boundary, windows = config.parts

    def apgd(x: Rows, y: Labels, targets: Targets) -> Found:
        runs = untargeted(ascent, y, first=True)
        return climb(model, x, y, runs, box=box, rng=rng, batch=batch)

    def apgdt(x: Rows, y: Labels, targets: Targets) -> Found:
        runs = targeted(targeted_ascent, targets, first=True)
        return climb(model, x, y, runs, box=box, rng=rng, batch=batch)

    def fabt(x: Rows, y: Labels, targets: Targets) -> Found:
        runs = Walks(boundary, targets, first=True)
        return walk(model, x, y, runs, box=box, rng=rng, batch=batch)

    def square(x: Rows, y: Labels, targets: Targets) -> Found:
        return search(model, x, y, windows, box=box, rng=rng, batch=batch)

    return apgd, apgdt, fabt, square
