"""Interval bound propagation: each value lies between two numbers."""

import torch
from pydantic.dataclasses import dataclass

from trilemma.bounds.network import Network
from trilemma.bounds.operations import (
    Addition,
    Numbers,
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


def interval(config: Interval, network: Network, region: Region) -> Numbers:
    """Lower bounds of the network's outputs, (n, m)."""
    return intervals(network, region)[-1][0]


def intervals(network: Network, region: Region) -> list[Ends]:
    """Lower and upper bounds of every value of the network, the input's first."""
    ends: list[Ends] = [region.hull]
    squares = _squares(network, region) if isinstance(region.ball, L2) else {}
    for place, node in enumerate(network.nodes, start=1):
        lower, upper = ends[node.inputs[0]]
        if isinstance(node.operation, Rectifier):
            ends.append((lower.relu(), upper.relu()))
        elif isinstance(node.operation, Addition):
            ends.append(_added(node.operation, ends[node.inputs[0]], ends[node.inputs[1]]))
        else:
            if node.inputs[0] == 0:  # as they were given, not rounded twice
                centre, radius = region.centre, region.radius.expand_as(region.centre)
            else:
                centre, radius = (upper + lower) / 2, (upper - lower) / 2
            centre = node.operation.value(centre)
            radius = node.operation.absolute(radius)
            ends.append((centre - radius, centre + radius))
            if place in squares:
                ends[-1] = _within(ends[-1], squares[place])
    return ends


def _added(addition: Addition, first: Ends, second: Ends) -> Ends:
    if addition.second == 1:
        return first[0] + second[0], first[1] + second[1]
    return first[0] - second[1], first[1] - second[0]


def _within(first: Ends, second: Ends) -> Ends:
    return first[0].maximum(second[0]), first[1].minimum(second[1])


def _squares(network: Network, region: Region) -> dict[int, Ends]:
    """Bounds of the values that are affine in the input by one layer: exact in an L_2 ball.

    The ball stays an ellipsoid along the axes under reshapes and factors; the image of one under
    a layer W reaches as far as sqrt((W * W) s) along each axis, s the squared half axes.
    """
    spheres = {0: (region.x, torch.full_like(region.x, region.ball.radius**2))}
    bounds: dict[int, Ends] = {}
    for place, node in enumerate(network.nodes, start=1):
        if node.inputs[0] not in spheres or isinstance(node.operation, Rectifier | Addition):
            continue
        centre, square = spheres[node.inputs[0]]
        centre, square = node.operation.value(centre), node.operation.squared(square)
        bounds[place] = centre - square.sqrt(), centre + square.sqrt()
        if isinstance(node.operation, Reshaping | Scaling):
            spheres[place] = centre, square
    return bounds
