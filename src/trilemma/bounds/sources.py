"""How far a value of a relaxed network can move: norms of linear maps, each by its cheapest way.

Once every ReLU before it is a slope, a value is affine in what is uncertain: the input, and in each
crossing ReLU the place between its two lines. Each of these is a source. A source's share of the
value's movement is the norm of a row of the linear map that leads from it to the value, and there
are three ways to it:

- where the map is one layer and factors, the layer with absolute (or squared) weights: one vector;
- forward: the source's unit vectors through the layers. Those whose images do not overlap travel
  together, so that convolutions take as many as a unit sees of the source, not as it has features;
- backward: the value's unit vectors through the layers' adjoints, for all sources at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import dropwhile
from typing import TypeAlias

import torch
from torch import Tensor

from trilemma.bounds.convolution import laid
from trilemma.bounds.held import Moves, Vectors, convolved, transposed, weighed
from trilemma.bounds.network import Network, Node
from trilemma.bounds.operations import (
    Addition,
    Contrast,
    Convolution,
    Dense,
    Numbers,
    Operation,
    Pooling,
    Rectifier,
)
from trilemma.bounds.packing import packed, unit_vectors

ALIVE = {"cpu": 2**21}  # numbers held at once, about: what its caches like
MEMORY = 2**26  # where nothing is said
WRITING = 8  # multiplications that take as long as writing down a number, about
ADJOINT = 3  # times as long as a convolution a transposed one takes, about


@dataclass(frozen=True, eq=False)
class Source:
    """Numbers that move around 0.

    Args:
        place: among the network's values, to which they are added.
        size: (n or 1, *s) by how much each moves.
        norm: 1: each moves on its own; 2: together, in a ball.
    """

    place: int
    size: Moves
    norm: int = 1

    @cached_property
    def moving(self) -> int:
        """How many move, in the row with most."""
        return int((self.size != 0).flatten(1).sum(1).max())


@dataclass(frozen=True, eq=False)
class Sloped:
    """Vectors times slopes, which are multiplied when they are asked for."""

    vectors: Vectors
    slope: Moves

    @property
    def whole(self) -> Vectors:
        """The products."""
        return self.vectors * self.slope.unsqueeze(1)


Moving: TypeAlias = Vectors | Sloped


@dataclass(frozen=True, eq=False)
class Relaxed:
    """A network in which ReLUs are slopes, as far as they are known.

    Args:
        network: the network.
        sources: what moves its values, in the order of their places.
        slopes: (n, *s) of each ReLU, by its place.
    """

    network: Network
    sources: list[Source]
    slopes: dict[int, Moves] = field(default_factory=dict)

    def shape(self, place: int) -> torch.Size:
        """Of one row of a value."""
        return self.network.nodes[place - 1].shape if place else self.network.shape

    def steps(self, route: list[int]) -> list[tuple[int, Node]]:
        """Places with their nodes."""
        return [(place, self.network.nodes[place - 1]) for place in route]

    def route(self, start: int, end: int) -> list[int] | None:
        """Places after `start` on any way from there to `end`; None where there is no way."""
        ahead, behind = {start}, {end}
        for place, node in self.steps(list(range(start + 1, end + 1))):
            if ahead.intersection(node.inputs):
                ahead.add(place)
        for place, node in self.steps(list(range(end, start, -1))):
            if place in behind:
                behind.update(node.inputs)
        return sorted(ahead & behind - {start}) if start in behind else None


def reaches(relaxed: Relaxed, end: int) -> list[Moves]:
    """How far each source moves the value at a place; left out are those that do not reach it."""
    routes = {
        source: route
        for source in relaxed.sources
        if (route := relaxed.route(source.place, end)) is not None
    }
    found = {source: by_one_layer(relaxed, source, route) for source, route in routes.items()}
    hard = [source for source, reach in found.items() if reach is None]
    if hard and _backward_is_cheaper(relaxed, hard, end):
        found |= backward(relaxed, hard, end)
    elif hard:
        found |= {source: by_columns(relaxed, source, routes[source]) for source in hard}
    return [reach for reach in found.values() if reach is not None]


def _backward_is_cheaper(relaxed: Relaxed, sources: list[Source], end: int) -> bool:
    """By the multiplications for each row, about; vectors that all rows share cost nothing."""
    forward = 0
    for source in sources:
        route = relaxed.route(source.place, end) or []
        vectors = int(packed(relaxed.network, source.place, route).max()) + 1
        steps = [node for _, node in relaxed.steps(route)]
        own = steps if len(source.size) > 1 else list(dropwhile(_is_affine, steps))
        forward += min(vectors, source.moving) * sum(map(_work, own))
    steps = [node for _, node in relaxed.steps(relaxed.route(0, end) or [])]
    own = list(dropwhile(_is_affine, reversed(steps)))
    adjoints = [node for node in own if isinstance(node.operation, Convolution)]
    each = sum(map(_work, own)) + (ADJOINT - 1) * sum(map(_work, adjoints))
    return relaxed.shape(end).numel() * each < forward


def _is_affine(node: Node) -> bool:
    return not isinstance(node.operation, Rectifier)


def _work(node: Node) -> int:
    """Multiplications for one vector, and what it takes to write down its image."""
    written = WRITING * node.shape.numel()
    match node.operation:
        case Dense(layer=layer):
            return written + node.shape.numel() * layer.in_features
        case Convolution(layer=layer):
            return written + node.shape.numel() * layer.weight[0].numel()
        case Contrast(weight=weight):
            return written + weight[0].numel()
    return written


def _at_once(relaxed: Relaxed, places: list[int]) -> int:
    """How many vectors a row may send, so that about as many numbers are held as is good."""
    size = relaxed.sources[0].size
    rows = max(len(each) for each in [size, *relaxed.slopes.values()])
    widest = max(relaxed.shape(place).numel() for place in places)
    return max(1, ALIVE.get(size.device.type, MEMORY) // (rows * widest))


def by_one_layer(relaxed: Relaxed, source: Source, route: list[int]) -> Moves | None:
    """The reach where one layer at most mixes features on a route without branches."""
    mixed, last = False, source.place
    for place, node in relaxed.steps(route):
        if [each for each in node.inputs if each == source.place or each in route] != [last]:
            return None
        if isinstance(node.operation, Dense | Convolution | Pooling | Contrast):
            if mixed or (source.norm == 2 and isinstance(node.operation, Pooling)):
                return None
            mixed = True
        last = place
    reach = source.size**source.norm
    for place, node in relaxed.steps(route):
        match node.operation:
            case Rectifier():
                reach = reach * relaxed.slopes[place] ** source.norm
            case Addition():
                pass
            case affine:
                reach = _for_its_rows(affine, reach)
                reach = affine.absolute(reach) if source.norm == 1 else affine.squared(reach)
    return root(reach, source.norm)


def powers(x: Tensor, norm: int) -> Tensor:
    """|x| or its square: torch's own norm along an axis may take 20 times as long as their sum."""
    return x.abs() if norm == 1 else x.square()


def root(x: Tensor, norm: int) -> Tensor:
    """The norm, of the sum of its powers."""
    if norm == 1:
        return x
    return x.clamp(min=torch.finfo(x.dtype).tiny).sqrt()  # whose slope at 0 is infinite


def by_columns(relaxed: Relaxed, source: Source, route: list[int]) -> Moves:
    """The reach by the source's unit vectors, those that no unit sees two of taken together."""
    parts: list[Tensor] = []
    numbers = packed(relaxed.network, source.place, route)
    at_once = _at_once(relaxed, [source.place, *route])
    for columns in unit_vectors(source.size, numbers, source.moving, at_once):
        image = advanced(relaxed, {source.place: laid(columns)}, route[-1])
        parts.append(powers(image, source.norm).sum(1))
    return root(sum(parts[1:], parts[0]), source.norm)


def advanced(relaxed: Relaxed, columns: dict[int, Moving], end: int) -> Vectors:
    """Vectors at some places carried on to `end`: the linear part of what the network does.

    `columns` gains the places on the way, and loses those that nothing ahead asks for, so that it
    can be carried on from there.
    """
    for place in range(max(columns) + 1, end + 1):
        node = relaxed.network.nodes[place - 1]
        given = [columns.get(each) for each in node.inputs]
        if any(each is not None for each in given):
            columns[place] = _step(node.operation, given, relaxed.slopes.get(place))
    image = columns[end] = _whole(columns[end])
    asked = {i for node in relaxed.network.nodes[end:] for i in node.inputs}
    for place in set(columns) - asked - {max(columns)}:
        del columns[place]
    return image


def _step(operation: Operation, given: list[Moving | None], slope: Moves | None) -> Moving:
    """The linear part of a step; of its inputs an addition may lack one."""
    if isinstance(operation, Addition):
        first, second = (None if each is None else _whole(each) for each in given)
        if second is not None and operation.second == -1:
            second = -second
        known = [each for each in (first, second) if each is not None]
        return known[0] if len(known) == 1 else known[0] + known[1]
    (moving,) = (each for each in given if each is not None)
    if isinstance(operation, Rectifier):
        assert slope is not None  # noqa: S101 those before the end are known
        return Sloped(_whole(moving), slope)
    if isinstance(operation, Convolution) and isinstance(moving, Sloped):
        return convolved(operation, moving.vectors, moving.slope)
    return operation.matrix(_for_its_rows(operation, _whole(moving)))


def _whole(moving: Moving) -> Vectors:
    return moving.whole if isinstance(moving, Sloped) else moving


def backward(relaxed: Relaxed, sources: list[Source], end: int) -> dict[Source, Moves]:
    """The reaches by the value's unit vectors, for all sources at once."""
    shape, like = relaxed.shape(end), sources[0].size
    at_once = _at_once(relaxed, [0, *(relaxed.route(0, end) or [])])
    parts: dict[Source, list[Tensor]] = {source: [] for source in sources}
    units = torch.arange(shape.numel(), device=like.device)
    for part in units.split(at_once):
        c = like.new_zeros(len(part), len(units)).scatter_(1, part.unsqueeze(1), 1)
        for source, numbers in _backward(relaxed, sources, end, c.view(1, -1, *shape)).items():
            parts[source].append(numbers)
    return {source: torch.cat(each, 1).unflatten(1, shape) for source, each in parts.items()}


def _backward(
    relaxed: Relaxed, sources: list[Source], end: int, c: Vectors
) -> dict[Source, Numbers]:
    waiting: dict[int, Moving] = {end: c}
    found: dict[Source, Numbers] = {}
    for place in range(end, -1, -1):
        nu = waiting.pop(place, None)
        if nu is None:
            continue
        for source in sources:
            if source.place == place:
                found[source], nu = _norm(_whole(nu), source)
        for before, each in _steps_back(relaxed, place, nu):
            there = waiting.get(before)
            waiting[before] = each if there is None else _whole(there) + _whole(each)
    return found


def _norm(nu: Vectors, source: Source) -> tuple[Numbers, Vectors]:
    """Of each vector, its numbers times the sizes; and the vectors, to be carried on."""
    if source.norm == 2:
        squares = (nu * source.size.unsqueeze(1)).square()
        return root(squares.sum(tuple(range(2, nu.dim()))), 2), nu
    return weighed(nu, source.size)


def _steps_back(relaxed: Relaxed, place: int, nu: Moving) -> Iterator[tuple[int, Moving]]:
    if place == 0:
        return
    node = relaxed.network.nodes[place - 1]
    match node.operation:
        case Rectifier():
            yield node.inputs[0], Sloped(_whole(nu), relaxed.slopes[place])
        case Addition(second=sign):
            yield node.inputs[0], _whole(nu)
            yield node.inputs[1], _whole(nu) if sign == 1 else -_whole(nu)
        case Convolution() as convolution if isinstance(nu, Sloped):
            yield node.inputs[0], transposed(convolution, nu.vectors, nu.slope)
        case affine:
            yield node.inputs[0], laid(affine.adjoint(_for_its_rows(affine, _whole(nu))))


def _for_its_rows(operation: Operation, x: Tensor) -> Tensor:
    """What is the same for all rows, said for each where the operation differs by row."""
    if isinstance(operation, Contrast) and len(x) < len(operation.weight):
        return x.expand(len(operation.weight), *x.shape[1:])
    return x
