"""Inputs about which a model has no opinion (Li et al. 2023, definition 1 and algorithm 1)."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator

from trilemma.attacks.evasion.gradients import check_inside, watched
from trilemma.attacks.evasion.losses import uniform_divergence
from trilemma.attacks.evasion.pgd import PGD, Ascent, starts
from trilemma.core.balls import Ball
from trilemma.core.box import UNIT, Box
from trilemma.core.pace import asking
from trilemma.core.types import Classifier, PerRow, Rows


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class UncertainExamples:
    """Inputs near given ones at which all labels are about equally likely.

    Args:
        ball: the perturbations that are allowed.
        steps: B_S, gradient steps, at least 1.
        step_size: eta, in the inputs' unit; None is 2.5 radius / steps, which for the paper's
            ball of 8/255 and 10 steps is its 2/255.
        random_start: start at a uniform draw from the ball, as the PGD that the paper names does;
            False starts at x itself.

    Source: Li et al., "Extracting robust models with uncertain examples", ICLR 2023, algorithm 1,
    lines 6-8.
    """

    REVISION: ClassVar[int] = 1

    ball: Ball
    steps: Annotated[int, Field(ge=1)] = 10
    step_size: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    random_start: bool = True


def uncertain_examples(
    model: Classifier,
    x: Rows,
    config: UncertainExamples,
    *,
    box: Box = UNIT,
    rng: Generator,
    batch: int | None = None,
) -> Rows:
    r"""Inputs near `x` at which the model's answer is nearest to uniform.

    .. math:: \min_{\tilde x \in B(x)} KL(u \,\|\, \mathrm{softmax}(M(\tilde x)))

    by projected gradient descent. No label is asked for: how uncertain each is, `uncertainty` says.

    Args:
        model: logits out (the thief's own model); queried in eval mode and handed back as it came.
        x: (n, *x) inputs inside `box`.
        config: ball, steps and step size.
        box: the valid inputs.
        rng: draws the start, one for all rows.
        batch: rows at a time; None finds what is fastest.

    Returns:
        (n, *x) points of the ball and of the box; NaN where a gradient was not finite.

    Raises:
        BadInput: some input lies outside the box; the model has a single class.

    Example:
        >>> import torch
        >>> from trilemma.core.balls import Linf
        >>> from trilemma.core.generators import seeded
        >>> x = torch.tensor([[0.75, 0.25]])
        >>> config = UncertainExamples(ball=Linf(0.5), steps=50, step_size=0.01)
        >>> found = uncertain_examples(torch.nn.Identity(), x, config, rng=seeded(0))
        >>> uncertainty(torch.nn.Identity(), x).item() > 0.2
        True
        >>> uncertainty(torch.nn.Identity(), found).item() < 0.02
        True

    Source:
        Li et al. 2023, algorithm 1, lines 6-8.
    """
    check_inside("uncertain examples", x, box)
    x = x.detach()
    if config.ball.radius == 0 or len(x) == 0:
        return x.clone()
    path = PGD(
        ball=config.ball,
        steps=config.steps,
        step_size=config.step_size,
        random_start=config.random_start,
        targeted=True,  # towards the uniform answer: the divergence is descended
    )
    questions = len(x) * config.steps
    with asking(model, x, gradients=True, questions=questions, batch=batch) as pace:
        climb = Ascent(watched(model), uniform_divergence, path, box, starts(x, path, rng), pace)
        found = torch.empty_like(x)
        for each in pace.slices(len(x)):
            found[each] = climb(pace.lay(x[each]))
    return found


def uncertainty(model: Classifier, x: Rows, *, batch: int | None = None) -> PerRow:
    """The least delta for which each row is a delta-uncertain example.

    max_j softmax(M(x))_j - min_j softmax(M(x))_j.

    Args:
        model: logits out; queried in eval mode and handed back as it came.
        x: (n, *x) inputs.
        batch: rows at a time; None finds what is fastest.

    Returns:
        (n,) in [0, 1]; 0 where all labels are equally likely.

    Example:
        >>> import torch
        >>> uncertainty(torch.nn.Identity(), torch.tensor([[0.0, 0.0], [0.0, 100.0]]))
        tensor([0., 1.])

    Source:
        Li et al. 2023, definition 1.
    """
    delta = x.new_empty(len(x))
    with asking(model, x, gradients=False, questions=len(x), batch=batch) as pace, torch.no_grad():
        for each in pace.slices(len(x)):
            p = model(pace.lay(x[each])).softmax(1)
            delta[each] = p.amax(1) - p.amin(1)
    return delta
