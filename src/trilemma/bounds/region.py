"""The inputs that bounds are about: those in a ball around each row, and in the box."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.bounds.operations import Many, Numbers
from trilemma.core.balls import L2, Ball
from trilemma.core.box import Box
from trilemma.core.errors import BadInput
from trilemma.core.types import Rows


@dataclass(frozen=True)
class Region:
    """{x' : |x' - x| <= radius, low <= x' <= high}, one for each row.

    Args:
        x: (n, *s) the rows.
        ball: the norm and the radius.
        centre: (n, *s) of the least box that holds the region.
        radius: (n, *s) of that box, feature by feature; or one number.
        cut: whether some row's ball may reach beyond the valid inputs.
    """

    x: Rows
    ball: Ball
    centre: Rows
    radius: Tensor
    cut: bool

    @property
    def hull(self) -> tuple[Rows, Rows]:
        """The least box that holds the region: its lower and its upper ends."""
        return self.centre - self.radius, self.centre + self.radius

    def rows(self, part: slice) -> "Region":
        """Some of the rows."""
        radius = self.radius if self.radius.dim() == 0 else self.radius[part]
        return Region(self.x[part], self.ball, self.centre[part], radius, self.cut)

    def least(self, c: Many) -> Numbers:
        r"""min <c, x'> over the region, or, for an L_2 ball that is cut, a lower bound of it.

        For L_inf :math:`\langle c, centre \rangle - \langle |c|, radius \rangle`; for L_2
        :math:`\langle c, x \rangle - \epsilon \|c\|_2`, or that of the box around it where that
        is larger.
        """
        flat = c.flatten(2)
        if isinstance(self.ball, L2):
            length: Tensor = torch.linalg.vector_norm(flat, dim=2)
            sphere = _dot(flat, self.x) - self.ball.radius * length
            return sphere.maximum(self._least_of_the_hull(flat)) if self.cut else sphere
        return self._least_of_the_hull(flat)

    def _least_of_the_hull(self, flat: Float[Tensor, "n m d"]) -> Numbers:
        reach = (
            flat.abs().sum(2) * self.radius
            if self.radius.dim() == 0
            else _dot(flat.abs(), self.radius)
        )
        return _dot(flat, self.centre) - reach


def _dot(c: Float[Tensor, "n m d"], x: Rows) -> Numbers:
    return (c @ x.flatten(1).unsqueeze(2)).squeeze(2)


def region_of(x: Rows, ball: Ball, box: Box | None) -> Region:
    """The region around each row.

    Args:
        x: (n, *s) inputs.
        ball: of any radius from 0.
        box: the valid inputs, beyond which nothing is asked of the model; None for all.

    Raises:
        BadInput: a row is not in the box, or not of finite numbers.
    """
    lowest, highest = (end.item() for end in x.detach().aminmax())
    if not math.isfinite(lowest + highest):
        raise BadInput("x", "holds values that are no finite numbers")
    radius = torch.as_tensor(ball.radius, dtype=x.dtype, device=x.device)
    if box is None:
        return Region(x, ball, x, radius, cut=False)
    if not _inside(x, box, lowest, highest):
        raise BadInput(
            "x",
            f"lies outside the box: values from {lowest:g} to {highest:g}",
            "Give inputs inside it, or the box that they lie in",
        )
    if not _tensors(box) and _inside(x, box, lowest - ball.radius, highest + ball.radius):
        return Region(x, ball, x, radius, cut=False)
    low, high = box.clip(x - radius), box.clip(x + radius)
    return Region(x, ball, (low + high) / 2, (high - low) / 2, cut=True)


def _inside(x: Rows, box: Box, lowest: float, highest: float) -> bool:
    if _tensors(box):
        return bool((box.clip(x) == x).all())
    return bool(box.low <= lowest and highest <= box.high)


def _tensors(box: Box) -> bool:
    return isinstance(box.low, Tensor) or isinstance(box.high, Tensor)
