"""Noise symbols and what each adds to a value: single features, whole columns, or a box.

A symbol stands for the same unknown number in [-1, 1] wherever it occurs (the input's symbols
together in the unit ball of an L_2 region), so that what two branches have in common is added, or
taken away, exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trilemma.bounds.operations import Affine, Contrast, Many, Reshaping, Scaling
from trilemma.core.types import Rows

UNITS = 2**24  # numbers of unit vectors held at once


@dataclass(frozen=True, eq=False)
class Spikes:
    """A group whose symbols each move one feature: a diagonal that is not written out.

    Args:
        index: the feature, counted flat, that each symbol moves.
        sizes: by how much, at every feature; 0 at those without a symbol; r is n, or 1 where all
            rows agree.
    """

    index: Int[Tensor, " m"]
    sizes: Float[Tensor, "r *s"]

    def mapped(self, operation: Affine) -> "Symbols":
        """Of the image under an affine map."""
        if isinstance(operation, Reshaping | Scaling):
            return Spikes(self.index, operation.matrix(self.sizes.unsqueeze(1)).squeeze(1))
        return self._spread(lambda units: _image(operation, units))

    def times(self, factor: Rows) -> "Spikes":
        """Feature by feature."""
        return Spikes(self.index, self.sizes * factor)

    def plus(self, other: "Symbols", sign: int) -> "Symbols":
        """The sum with the same group of another value."""
        if isinstance(other, Spikes):
            return Spikes(self.index, self.sizes + sign * other.sizes)
        return self.written_out().plus(other, sign)

    def negative(self) -> "Spikes":
        """The other direction."""
        return Spikes(self.index, -self.sizes)

    def weighted(self, weights: Rows) -> "Spikes":
        """Each symbol times its feature's number."""
        return self.times(weights.reshape(-1, *self.sizes.shape[1:]))

    def total(self) -> Rows:
        """The sum over symbols."""
        return self.sizes

    def reach(self, norm: int = 1) -> Rows:
        """Norm over symbols: how far they move a feature at most, together."""
        return self.sizes.abs()

    def written_out(self) -> "Columns":
        """As columns."""
        return self._spread(lambda units: units)

    def _spread(self, image: Callable[[Many], Tensor]) -> "Columns":
        """The images of the unit vectors are the same for all rows; the sizes are not."""
        shape = self.sizes.shape[1:]
        units = []
        for each in self.index.split(max(1, UNITS // max(1, shape.numel()))):
            zeros = self.sizes.new_zeros(len(each), shape.numel())
            units.append(image(zeros.scatter(1, each.unsqueeze(1), 1).view(1, len(each), *shape)))
        columns = torch.cat(units, 1)
        sizes = self.sizes.flatten(1)[:, self.index]
        return Columns(self.index, columns * sizes.view(*sizes.shape, *[1] * (columns.dim() - 2)))


@dataclass(frozen=True, eq=False)
class Columns:
    """A group whose symbols move every feature.

    Args:
        index: the feature, counted flat, that each symbol moved where it was made.
        columns: by how much each symbol moves each feature; r is n, or 1 where all rows agree.
    """

    index: Int[Tensor, " m"]
    columns: Float[Tensor, "r m *s"]

    def mapped(self, operation: Affine) -> "Columns":
        """Of the image under an affine map."""
        return Columns(self.index, _image(operation, self.columns))

    def times(self, factor: Rows) -> "Columns":
        """Feature by feature."""
        return Columns(self.index, self.columns * factor.unsqueeze(1))

    def plus(self, other: "Symbols", sign: int) -> "Columns":
        """The sum with the same group of another value."""
        others = other.written_out() if isinstance(other, Spikes) else other
        assert isinstance(others, Columns)  # noqa: S101 a group is of one make
        return Columns(self.index, self.columns + sign * others.columns)

    def negative(self) -> "Columns":
        """The other direction."""
        return Columns(self.index, -self.columns)

    def weighted(self, weights: Rows) -> "Columns":
        """Each symbol times the number of the feature that it moved where it was made."""
        by_symbol = weights.flatten(1)[:, self.index]
        along = [1] * (self.columns.dim() - 2)
        return Columns(self.index, self.columns * by_symbol.view(*by_symbol.shape, *along))

    def total(self) -> Rows:
        """The sum over symbols."""
        return self.columns.sum(1)

    def reach(self, norm: int = 1) -> Rows:
        """Norm over symbols: how far they move a feature at most, together."""
        reach: Rows = torch.linalg.vector_norm(self.columns, norm, dim=1)
        return reach


@dataclass(frozen=True, eq=False)
class Apart:
    """One symbol a feature, that no other feature and no other value knows of.

    Args:
        radius: how far it moves the feature.
    """

    radius: Rows

    def mapped(self, operation: Affine) -> "Apart":
        """Of the image under an affine map: what features had in common is lost."""
        return Apart(operation.absolute(self.radius))

    def times(self, factor: Rows) -> "Apart":
        """Feature by feature."""
        return Apart(self.radius * factor.abs())

    def plus(self, other: "Symbols", sign: int) -> "Apart":
        """Errors that know nothing of each other add up, whatever the sign."""
        return Apart(self.radius + other.reach())

    def negative(self) -> "Apart":
        """The same."""
        return self

    def reach(self, norm: int = 1) -> Rows:
        """How far the symbols move a feature."""
        return self.radius


Symbols: TypeAlias = Spikes | Columns | Apart


def _image(operation: Affine, x: Float[Tensor, "r m *s"]) -> Float[Tensor, "n m *z"]:
    if isinstance(operation, Contrast) and len(x) == 1:  # its rows differ though x's do not
        x = x.expand(len(operation.weight), *x.shape[1:])
    return operation.matrix(x)
