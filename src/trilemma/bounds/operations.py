"""What a network is made of, as bounds need it: affine maps with their adjoints, ReLU, addition.

An affine map z = W x + b is known by five actions, so that W is never written out. Rows come in
two shapes: (n, *s) one vector a row, and (n, m, *s) m vectors for each of n rows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from trilemma.bounds.convolution import convolved, gradient, transposed
from trilemma.core.types import Rows

Many: TypeAlias = Float[Tensor, "n m *x"]  # m vectors for each of n rows
Mapped: TypeAlias = Float[Tensor, "n *z"]  # rows of another shape
ManyMapped: TypeAlias = Float[Tensor, "n m *z"]
Numbers: TypeAlias = Float[Tensor, "n m"]


@runtime_checkable
class Affine(Protocol):
    """z = W x + b."""

    def value(self, x: Rows) -> Mapped:
        """W x + b."""

    def matrix(self, x: Many) -> ManyMapped:
        """W x."""

    def absolute(self, x: Rows) -> Mapped:
        """|W| x: of a radius, the radius of the image."""

    def squared(self, x: Rows) -> Mapped:
        """(W * W) x, elementwise squares: of squared lengths along the axes, those of the image."""

    def adjoint(self, c: ManyMapped) -> Many:
        """W^T c."""

    def constant(self, c: ManyMapped) -> Numbers:
        """<c, b>."""


@dataclass(frozen=True, eq=False)
class Dense:
    """A fully connected layer, on the last axis."""

    layer: nn.Linear

    def value(self, x: Rows) -> Mapped:
        """W x + b."""
        return F.linear(x, self.layer.weight, self.layer.bias)

    def matrix(self, x: Many) -> ManyMapped:
        """W x."""
        return F.linear(x, self.layer.weight)

    def absolute(self, x: Rows) -> Mapped:
        """|W| x."""
        return F.linear(x, self.layer.weight.abs())

    def squared(self, x: Rows) -> Mapped:
        """(W * W) x."""
        return F.linear(x, self.layer.weight.square())

    def adjoint(self, c: ManyMapped) -> Many:
        """W^T c."""
        return c @ self.layer.weight

    def constant(self, c: ManyMapped) -> Numbers:
        """<c, b>."""
        if self.layer.bias is None:
            return _nothing(c)
        return (c * self.layer.bias).flatten(2).sum(2)


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution with zero padding.

    Args:
        layer: its weights, stride, padding, dilation and groups.
        shape: (channels, height, width) of its input.
    """

    layer: nn.Conv2d
    shape: torch.Size

    def value(self, x: Rows) -> Mapped:
        """W x + b."""
        return convolved(self.layer, x, self.layer.weight, self.layer.bias)

    def matrix(self, x: Many, weight: Tensor | None = None) -> ManyMapped:
        """W x; with other weights than the layer's, if any are given."""
        weight = self.layer.weight if weight is None else weight
        return _one_by_one(lambda rows: convolved(self.layer, rows, weight), x)

    def absolute(self, x: Rows) -> Mapped:
        """|W| x."""
        return convolved(self.layer, x, self.layer.weight.abs())

    def squared(self, x: Rows) -> Mapped:
        """(W * W) x."""
        return convolved(self.layer, x, self.layer.weight.square())

    def adjoint(self, c: ManyMapped, weight: Tensor | None = None) -> Many:
        """W^T c; with other weights than the layer's, if any are given."""
        weight = self.layer.weight if weight is None else weight
        _, height, width = self.shape
        return _one_by_one(lambda rows: transposed(self.layer, rows, weight, (height, width)), c)

    def gradient(self, x: Many, c: ManyMapped) -> Tensor:
        """Of <c, W x> in the weights."""
        return gradient(self.layer, x.flatten(0, 1), c.flatten(0, 1))

    def constant(self, c: ManyMapped) -> Numbers:
        """<c, b>."""
        if self.layer.bias is None:
            return _nothing(c)
        return c.flatten(3).sum(3) @ self.layer.bias


@dataclass(frozen=True, eq=False)
class Pooling:
    """An average pool, or whatever else is linear without weights and of no negative entry.

    Args:
        layer: the map.
        shape: of its input.
    """

    layer: Callable[[Tensor], Tensor]
    shape: torch.Size

    def value(self, x: Rows) -> Mapped:
        """W x."""
        return self.layer(x)

    def matrix(self, x: Many) -> ManyMapped:
        """W x."""
        return _one_by_one(self.layer, x)

    def absolute(self, x: Rows) -> Mapped:
        """|W| x, which is W x."""
        return self.layer(x)

    def squared(self, x: Rows) -> Mapped:
        """(W * W) x <= (max W) W x; used for no more than a bound, and 1 is the largest entry."""
        return self.layer(x)

    def adjoint(self, c: ManyMapped) -> Many:
        """W^T c, the map's own backward pass."""
        deeper = torch.is_grad_enabled()
        with torch.inference_mode(mode=False), torch.enable_grad():
            c = c.clone() if c.is_inference() else c
            x = c.new_zeros(math.prod(c.shape[:2]), *self.shape, requires_grad=True)
            (back,) = torch.autograd.grad(self.layer(x), x, c.flatten(0, 1), create_graph=deeper)
        return back.view(*c.shape[:2], *self.shape)

    def constant(self, c: ManyMapped) -> Numbers:
        """0."""
        return _nothing(c)


@dataclass(frozen=True, eq=False)
class Reshaping:
    """The same numbers in another shape.

    Args:
        before: shape of a row.
        after: its new shape.
    """

    before: torch.Size
    after: torch.Size

    def value(self, x: Rows) -> Mapped:
        """The row in its new shape."""
        return x.reshape(len(x), *self.after)

    def matrix(self, x: Many) -> ManyMapped:
        """Each vector in its new shape."""
        return x.reshape(*x.shape[:2], *self.after)

    absolute = squared = value

    def adjoint(self, c: ManyMapped) -> Many:
        """Back to the old shape."""
        return c.reshape(*c.shape[:2], *self.before)

    def constant(self, c: ManyMapped) -> Numbers:
        """0."""
        return _nothing(c)


@dataclass(frozen=True, eq=False)
class Padding:
    """Zeros around each image.

    Args:
        sides: how many left, right, above and below; fewer than none cut off.
    """

    sides: tuple[int, int, int, int]

    def value(self, x: Rows) -> Mapped:
        """W x."""
        return F.pad(x, self.sides)

    def matrix(self, x: Many) -> ManyMapped:
        """W x."""
        return F.pad(x, self.sides)

    absolute = squared = value

    def adjoint(self, c: ManyMapped) -> Many:
        """W^T c: the image without what was put around it."""
        return F.pad(c, [-side for side in self.sides])

    def constant(self, c: ManyMapped) -> Numbers:
        """0."""
        return _nothing(c)


@dataclass(frozen=True, eq=False)
class Scaling:
    """Feature by feature a factor and a shift: batch norm in eval mode, normalisation.

    Args:
        terms: the factor and the shift, each broadcasting over a row; asked for at every use, so
            that gradients reach what they are computed from.
    """

    terms: Callable[[], tuple[Tensor, Tensor]]

    def value(self, x: Rows) -> Mapped:
        """W x + b."""
        factor, shift = self.terms()
        return x * factor + shift

    def matrix(self, x: Many) -> ManyMapped:
        """W x."""
        return x * self.terms()[0]

    def absolute(self, x: Rows) -> Mapped:
        """|W| x."""
        return x * self.terms()[0].abs()

    def squared(self, x: Rows) -> Mapped:
        """(W * W) x."""
        return x * self.terms()[0].square()

    adjoint = matrix

    def constant(self, c: ManyMapped) -> Numbers:
        """<c, b>."""
        return (c * self.terms()[1]).flatten(2).sum(2)


@dataclass(frozen=True, eq=False)
class Contrast:
    """Linear combinations of the last layer's outputs, each row its own.

    Args:
        weight: (n or 1, m, h).
        bias: (n or 1, m).
    """

    weight: Float[Tensor, "n m h"]
    bias: Float[Tensor, "n m"]

    def value(self, x: Rows) -> Mapped:
        """W x + b."""
        return _by_row(self.weight, x) + self.bias

    def matrix(self, x: Many) -> ManyMapped:
        """W x."""
        return x @ self.weight.mT

    def absolute(self, x: Rows) -> Mapped:
        """|W| x."""
        return _by_row(self.weight.abs(), x)

    def squared(self, x: Rows) -> Mapped:
        """(W * W) x."""
        return _by_row(self.weight.square(), x)

    def adjoint(self, c: ManyMapped) -> Many:
        """W^T c."""
        return c @ self.weight

    def constant(self, c: ManyMapped) -> Numbers:
        """<c, b>."""
        return (c * self.bias.unsqueeze(1)).sum(2)


def _by_row(weight: Float[Tensor, "n m h"], x: Float[Tensor, "r h"]) -> Float[Tensor, "r m"]:
    if len(weight) == 1:
        return F.linear(x, weight[0])
    return (weight @ x.unsqueeze(2)).squeeze(2)


@dataclass(frozen=True)
class Rectifier:
    """max(0, x), feature by feature."""


@dataclass(frozen=True)
class Addition:
    """The sum of two values.

    Args:
        second: factor of the second one, 1 or -1.
    """

    second: int = 1


Operation: TypeAlias = (
    Dense | Convolution | Pooling | Reshaping | Padding | Scaling | Contrast | Rectifier | Addition
)


def _one_by_one(layer: Callable[[Tensor], Tensor], x: Many) -> ManyMapped:
    """A layer on each of many vectors."""
    done = layer(x.flatten(0, 1))
    return done.view(*x.shape[:2], *done.shape[1:])


def _nothing(c: ManyMapped) -> Numbers:
    return c.new_zeros(c.shape[:2])
