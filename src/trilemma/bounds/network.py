"""A feed-forward network as bounds see it: operations in the order in which they are computed."""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.bounds.operations import (
    Addition,
    Contrast,
    Dense,
    Mapped,
    Operation,
    Rectifier,
    Scaling,
)
from trilemma.core.types import Rows


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    Args:
        operation: what is computed.
        inputs: places of its inputs among the network's values: 0 is the input, i + 1 the i-th
            node's.
        shape: of one row of its value.
    """

    operation: Operation
    inputs: tuple[int, ...]
    shape: torch.Size


@dataclass(frozen=True, eq=False)
class Network:
    """Nodes in an order in which each comes after its inputs; the last one's value is the output.

    Args:
        shape: of one input.
        nodes: at least one.
    """

    shape: torch.Size
    nodes: tuple[Node, ...]

    @property
    def outputs(self) -> int:
        """How many numbers the last value has."""
        return self.nodes[-1].shape.numel()

    def values(self, x: Rows) -> list[Mapped]:
        """Every value for some inputs, the input first."""
        values: list[Mapped] = [x]
        for node in self.nodes:
            first, *others = (values[place] for place in node.inputs)
            match node.operation:
                case Rectifier():
                    values.append(first.relu())
                case Addition(second=sign):
                    values.append(first + sign * others[0])
                case affine:
                    values.append(affine.value(first))
        return values

    def settled(self) -> "Network":
        """The network with its scales as they are now, even if it is computed again later."""

        def settled(operation: Operation) -> Operation:
            if not isinstance(operation, Scaling):
                return operation
            known = operation.terms()
            return Scaling(lambda: known)

        nodes = (
            dataclasses.replace(each, operation=settled(each.operation)) for each in self.nodes
        )
        return dataclasses.replace(self, nodes=tuple(nodes))

    def rows(self, part: slice) -> "Network":
        """Some rows' own, where the last node combines each row's outputs in its own way."""
        *before, last = self.nodes
        if not isinstance(last.operation, Contrast) or len(last.operation.weight) == 1:
            return self
        contrast = Contrast(last.operation.weight[part], last.operation.bias[part])
        last = dataclasses.replace(last, operation=contrast)
        return dataclasses.replace(self, nodes=(*before, last))

    def combined(self, contrast: Float[Tensor, "n m k"]) -> "Network":
        """The network with linear combinations of its outputs in their place.

        A fully connected last layer is merged with them into one map, so that nothing is lost
        between the two (Gowal et al. 2018, section 3); so is what scales its outputs.

        Args:
            contrast: m combinations for each row, or for all rows where n is 1.
        """
        place, bias = len(self.nodes), contrast.new_zeros(contrast.shape[:2])
        while place and isinstance(scaling := self.nodes[place - 1].operation, Scaling):
            factor, shift = scaling.terms()
            contrast, bias = contrast * factor, bias + (contrast * shift).sum(2)
            (place,) = self.nodes[place - 1].inputs
        before = self.nodes[:place]
        if before and isinstance(before[-1].operation, Dense) and len(before[-1].shape) == 1:
            layer, (place,) = before[-1].operation.layer, before[-1].inputs
            if layer.bias is not None:
                bias = bias + contrast @ layer.bias
            contrast, before = contrast @ layer.weight, before[:-1]
        node = Node(Contrast(contrast, bias), (place,), torch.Size([contrast.shape[1]]))
        return dataclasses.replace(self, nodes=(*before, node))
