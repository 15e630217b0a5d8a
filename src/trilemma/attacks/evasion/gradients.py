"""What gradient attacks have in common: inputs inside the box, gradients row by row."""

from collections.abc import Callable

import torch
from torch import Tensor

from trilemma.core.box import Box
from trilemma.core.errors import BadInput
from trilemma.core.types import PerRow, Rows

TOLERANCE = 1e-6  # inputs may leave the box by the rounding of a rescaling, and no further

SOME = 1024  # rows at a time where all are gone through


def check_inside(attack: str, x: Rows, box: Box) -> None:
    """Refuse inputs that are no valid inputs.

    Raises:
        BadInput: some input lies outside the box.
    """
    rows = sum(_outside(part, box) for part in x.split(SOME))
    if rows:
        raise BadInput(
            attack,
            f"{rows} of {len(x)} inputs lie outside the box of valid inputs [{box.low}, {box.high}]"
            f" (they span [{x.min():.4g}, {x.max():.4g}])",
            "Rescale the inputs, or give the box they live in",
        )


def _outside(x: Rows, box: Box) -> int:
    return int(((box.clip(x) - x).abs() > TOLERANCE).flatten(1).any(1).sum())


def value_and_gradient(height: Callable[[Rows], PerRow], x: Rows) -> tuple[PerRow, Rows]:
    """Of each row's height in that row, wherever gradients are off; a model's parameters get none.

    Example:
        >>> value, gradient = value_and_gradient(lambda z: z.square().sum(1), torch.ones(1, 2))
        >>> value, gradient
        (tensor([2.]), tensor([[2., 2.]]))
    """
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        value = height(leaf)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


def finite_rows(x: Rows) -> Tensor:
    """(n,) whether a row holds numbers only; in one pass, since a sum keeps what is none."""
    return x.sum(tuple(range(1, x.dim()))).isfinite()


def over(per_row: Tensor, x: Rows) -> Tensor:
    """One number a row, shaped to go with rows like those of `x`."""
    return per_row.view(-1, *[1] * (x.dim() - 1))
