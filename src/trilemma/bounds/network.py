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

    def combined(self, contrast: Float[Tensor, "n m k"]) -> "Network":
        """The network with linear combinations of its outputs in their place.

        A fully connected last layer is merged with them into one map, so that nothing is lost
        between the two (Gowal et al. 2018, section 3).

        Args:
            contrast: m combinations for each row, or for all rows where n is 1.
        """
        last = self.nodes[-1]
        merged = isinstance(last.operation, Dense) and len(last.shape) == 1
        if merged and isinstance(last.operation, Dense):
            layer = last.operation.layer
            weight, bias = contrast @ layer.weight, contrast.new_zeros(contrast.shape[:2])
            if layer.bias is not None:
                bias = contrast @ layer.bias
        else:
            weight, bias = contrast, contrast.new_zeros(contrast.shape[:2])
        node = Node(
            Contrast(weight, bias),
            last.inputs if merged else (len(self.nodes),),
            torch.Size([contrast.shape[1]]),
        )
        before = self.nodes[:-1] if merged else self.nodes
        return dataclasses.replace(self, nodes=(*before, node))
