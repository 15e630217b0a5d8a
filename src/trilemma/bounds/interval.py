"""Interval bound propagation: each value lies between two numbers."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from trilemma.bounds.network import Network, Node
from trilemma.bounds.operations import (
    Addition,
    Mapped,
    Numbers,
    Operation,
    Padding,
    Rectifier,
    Reshaping,
    Scaling,
)
from trilemma.bounds.region import Region
from trilemma.core.balls import L2
from trilemma.core.types import Rows

Ends = tuple[Rows, Rows]  # lower and upper


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Interval:
    r"""Interval bounds, layer by layer; the last layer merged with what is bounded.

    .. math:: c' = W c + b, \quad r' = |W| r, \quad [\max(0, c' - r'), \max(0, c' + r')]

    The cheapest, and loose on networks that were not trained for it. In an L_2 ball the first
    layer's bounds are exact: :math:`r' = \epsilon \|w\|_2` for each row w of W.

    Source:
        Gowal et al., "On the effectiveness of interval bound propagation for training verifiably
        robust models", 2018, section 3.
    """

    REVISION: ClassVar[int] = 1


class Span:
    """A value's bounds, by their ends or by centre and radius; the other pair when asked for.

    Affine layers take and leave the one pair, ReLUs the other: what nobody asks for, as between
    two affine layers, is never computed.
    """

    def __init__(self, *, ends: Ends | None = None, middle: Ends | None = None) -> None:
        self._ends, self._middle = ends, middle

    @property
    def ends(self) -> Ends:
        """Lower and upper."""
        if self._ends is None:
            assert self._middle is not None  # noqa: S101 - one of the two is given
            centre, radius = self._middle
            self._ends = centre - radius, centre + radius
        return self._ends

    @property
    def middle(self) -> Ends:
        """Centre and radius."""
        if self._middle is None:
            lower, upper = self.ends
            self._middle = (upper + lower) / 2, (upper - lower) / 2
        return self._middle


def interval(config: Interval, network: Network, region: Region) -> Numbers:
    """Lower bounds of the network's outputs, (n, m)."""
    return _spans(network, region)[-1].ends[0]


def intervals(network: Network, region: Region) -> list[Ends]:
    """Lower and upper bounds of every value of the network, the input's first."""
    return [span.ends for span in _spans(network, region)]


def image(node: Node, ends: Sequence[tuple[Tensor, Tensor]]) -> tuple[Mapped, Mapped]:
    """Bounds of one more value, from those of the values before it."""
    return _image(node.operation, [Span(ends=ends[place]) for place in node.inputs]).ends


def _spans(network: Network, region: Region) -> list[Span]:
    spans = [Span(middle=(region.centre, region.radius.expand_as(region.centre)))]
    squares = _squares(network, region) if isinstance(region.ball, L2) else {}
    for place, node in enumerate(network.nodes, start=1):
        found = _image(node.operation, [spans[each] for each in node.inputs])
        if place in squares:
            found = Span(ends=_within(found.ends, squares[place]))
        spans.append(found)
    return spans


def _image(operation: Operation, spans: Sequence[Span]) -> Span:
    match operation:
        case Rectifier():
            lower, upper = spans[0].ends
            return Span(ends=(lower.relu(), upper.relu()))
        case Addition():
            return Span(ends=_added(operation, spans[0].ends, spans[1].ends))
        case affine:
            centre, radius = spans[0].middle
            return Span(middle=(affine.value(centre), affine.absolute(radius)))


def _added(addition: Addition, first: Ends, second: Ends) -> Ends:
    if addition.second == 1:
        return first[0] + second[0], first[1] + second[1]
    return first[0] - second[1], first[1] - second[0]


def _within(first: Ends, second: Ends) -> Ends:
    return first[0].maximum(second[0]), first[1].minimum(second[1])


def _squares(network: Network, region: Region) -> dict[int, Ends]:
    """Bounds of the values that are affine in the input by one layer: exact in an L_2 ball.

    The ball stays an ellipsoid along the axes under reshapes, zeros around and factors; the image
    of one under a layer W reaches as far as sqrt((W * W) s) along each axis, s the squared half
    axes.
    """
    spheres = {0: (region.x, torch.full_like(region.x, region.ball.radius**2))}
    bounds: dict[int, Ends] = {}
    for place, node in enumerate(network.nodes, start=1):
        if node.inputs[0] not in spheres or isinstance(node.operation, Rectifier | Addition):
            continue
        centre, square = spheres[node.inputs[0]]
        centre, square = node.operation.value(centre), node.operation.squared(square)
        reach = square.clamp(min=torch.finfo(square.dtype).tiny).sqrt()  # at 0 without gradient
        bounds[place] = centre - reach, centre + reach
        if isinstance(node.operation, Reshaping | Padding | Scaling):
            spheres[place] = centre, square
    return bounds
