"""Distance has a price instead of a limit (Sinha et al. 2018; Song et al. 2019, eq. 10)."""

import dataclasses
from typing import Annotated, ClassVar, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor
from torch.nn import functional as F

from trilemma.attacks.evasion.gradients import (
    check_inside,
    check_labels,
    finite_rows,
    no_less,
    over,
    value_and_gradient,
    watched,
)
from trilemma.core.box import UNIT, Box
from trilemma.core.pace import asking
from trilemma.core.types import Classifier, Labels, PerRow, Probs, Rows

Flat: TypeAlias = Float[Tensor, "n d"]


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class LinfPenalty:
    """max_i |delta_i|, or its square.

    Args:
        squared: as in Sinha et al.; False is eq. 10 as printed, under which a row stays where it
            is unless its gradient's L_1 norm exceeds gamma.
    """

    squared: bool = True

    def proximal(self, v: Flat, price: float) -> Flat:
        r"""argmin_u \|u - v\|^2 / 2 + price * penalty(u): v with its largest entries cut to t.

        What is cut off, \sum_i (|v_i| - t)_+, equals the price (twice price times t, squared),
        which a sort of |v| solves exactly.
        """
        falling = v.abs().sort(dim=1, descending=True).values
        count = torch.arange(1, v.shape[1] + 1, dtype=v.dtype, device=v.device)
        total = falling.cumsum(1)
        t = total / (count + 2 * price) if self.squared else (total - price) / count
        # t is largest where the entries counted are those above it
        return v.clamp(-(cut := t.amax(1, keepdim=True).clamp(min=0)), cut)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class L2Penalty:
    """sqrt(sum_i delta_i^2), or its square.

    Args:
        squared: as in Sinha et al.; False is eq. 10 as printed, under which a row stays where it
            is unless its gradient's norm exceeds gamma.
    """

    squared: bool = True

    def proximal(self, v: Flat, price: float) -> Flat:
        r"""argmin_u \|u - v\|^2 / 2 + price * penalty(u): v, shortened."""
        if self.squared:
            return v / (1 + 2 * price)
        norm: Tensor = v.norm(dim=1, keepdim=True)
        return v * (1 - price / norm.clamp(min=no_less(1e-30, norm))).clamp(min=0)


Penalty: TypeAlias = LinfPenalty | L2Penalty


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Distributional:
    """Ascent on the loss less a price of distance (Lagrangian relaxation).

    Args:
        gamma: the price, > 0, in nats a unit of the penalty; there is no ball.
        steps: gradient steps, at least 1; Sinha et al. take 15.
        step_size: of the first step; step t has 1/sqrt(t) of it.
        penalty: how distance is measured.

    Source: Song et al., "Privacy risks of securing machine learning models", CCS 2019, eq. 10.
    """

    REVISION: ClassVar[int] = 1

    gamma: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    steps: Annotated[int, Field(ge=1)] = 15
    step_size: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    penalty: Penalty = dataclasses.field(default_factory=LinfPenalty)

    def scaled(self, share: float) -> "Distributional":
        """The same attack at 1/`share` of the price."""
        return dataclasses.replace(self, gamma=self.gamma / share)


def distributional(
    model: Classifier,
    x: Rows,
    y: Labels | Probs,
    config: Distributional,
    *,
    box: Box = UNIT,
    rng: Generator,
    batch: int | None = None,
) -> Rows:
    r"""Inputs of high loss for the way they are from `x`.

    .. math:: \max_{\tilde x} \ell(F, (\tilde x, y)) - \gamma \|\tilde x - x\|_p

    A step goes up the loss, then takes the proximal step of the penalty around x, then the nearest
    point of the box. (Where the box binds, the last two together are not the proximal step of
    both.) For L_inf this is the scheme of Sinha et al., appendix E. The program of Song et al.
    shrinks by the mean gradient of the batch instead, under which rows would depend on each other.

    Args:
        model: logits out; queried in eval mode and handed back as it came.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels; or (n, k) weights of the classes.
        config: price, penalty, steps.
        box: the valid inputs.
        rng: not needed, since nothing is drawn.
        batch: rows at a time; None finds what is fastest.

    Returns:
        (n, *x) points of the box; NaN where a gradient was not finite.

    Raises:
        BadInput: some input lies outside the box; labels are not one a row or not among the
            model's classes.

    Example:
        >>> import torch
        >>> from trilemma.core.generators import seeded
        >>> x, y = torch.full((1, 2), 0.5), torch.tensor([0])
        >>> near, far = (
        ...     distributional(torch.nn.Identity(), x, y, Distributional(gamma=g), rng=seeded(0))
        ...     for g in (100.0, 2.0)
        ... )
        >>> ((near - x).abs() < (far - x).abs()).all().item()
        True

    Source:
        Song et al. 2019, eq. 10; Sinha, Namkoong, Duchi, "Certifying some distributional
        robustness with principled adversarial training", ICLR 2018, algorithm 1 and appendix E.
    """
    check_inside("adversarial examples", x, box)
    x, y = x.detach(), check_labels(x, y, soft=True)
    x_adv = x.clone()
    if len(x) == 0:
        return x_adv
    questions, known = len(x) * config.steps, watched(model, y)
    with asking(model, x, gradients=True, questions=questions, batch=batch) as pace:
        for each in pace.slices(len(x)):
            rows, labels = pace.lay(x[each]), y[each]
            sound = torch.ones(len(rows), dtype=torch.bool, device=x.device)

            def height(z: Rows, labels: Labels | Probs = labels) -> PerRow:
                return F.cross_entropy(known(z), labels, reduction="none")

            z = rows
            for t in range(1, config.steps + 1):
                eta = config.step_size / t**0.5
                _, gradient = value_and_gradient(height, pace.lay(z))
                sound &= finite_rows(gradient)
                v = (z + eta * gradient - rows).flatten(1)
                nearer = config.penalty.proximal(v, eta * config.gamma)
                z = box.clip(rows + nearer.view(rows.shape))
            x_adv[each] = torch.where(over(sound, z), z, torch.nan)
    return x_adv
