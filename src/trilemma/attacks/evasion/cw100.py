"""The Carlini-Wagner margin ascended by PGD for 100 steps, as robust accuracy is often measured."""

import dataclasses
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator

from trilemma.attacks.evasion.losses import Margin
from trilemma.attacks.evasion.pgd import PGD, pgd
from trilemma.core.balls import Ball
from trilemma.core.box import UNIT, Box
from trilemma.core.types import Classifier, Labels, Rows

STEPS = 100


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class CW100:
    """PGD with 100 steps on the Carlini-Wagner margin (CW-100).

    Li et al. name the loss and the steps only. The margin has no upper end here, so that a row
    which is misclassified goes on, and the start is a draw from the ball, as in their PGD.

    Args:
        ball: the perturbations that are allowed.
        step_size: eta, in the inputs' unit; None is a quarter of the radius, as 2/255 for 8/255
            in the paper.
        random_start: start at a uniform draw from the ball.

    Source: Li et al., "Extracting robust models with uncertain examples", ICLR 2023, section 5.1.
    """

    REVISION: ClassVar[int] = 1

    ball: Ball
    step_size: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    random_start: bool = True

    def scaled(self, share: float) -> "CW100":
        """The same attack in a ball of `share` times the radius, with steps to match."""
        ball = type(self.ball)(share * self.ball.radius)
        step_size = None if self.step_size is None else share * self.step_size or None
        return dataclasses.replace(self, ball=ball, step_size=step_size)

    def as_pgd(self) -> PGD:
        """The same as a configuration of PGD."""
        return PGD(
            ball=self.ball,
            steps=STEPS,
            step_size=self.step_size or self.ball.radius / 4 or None,
            random_start=self.random_start,
            loss=Margin(),
        )


def cw100(
    model: Classifier,
    x: Rows,
    y: Labels,
    config: CW100,
    *,
    box: Box = UNIT,
    rng: Generator,
    batch: int | None = None,
) -> Rows:
    """Inputs near `x` where the strongest wrong logit leads by most: `pgd` on `Margin`.

    Args:
        model: logits out; queried in eval mode and handed back as it came.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels.
        config: ball and step size.
        box: the valid inputs.
        rng: draws the start, one for all rows.
        batch: rows at a time; None finds what is fastest.

    Returns:
        (n, *x) points of the ball and of the box; NaN where a gradient was not finite.

    Raises:
        BadInput: some input lies outside the box; labels are not one a row or not among the
            model's classes.

    Source:
        Li et al. 2023, section 5.1 (CW100).
    """
    return pgd(model, x, y, config.as_pgd(), box=box, rng=rng, batch=batch)
