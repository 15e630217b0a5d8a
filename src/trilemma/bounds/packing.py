"""Unit vectors of a source, packed: those travel together of which no unit at the end sees two.

A unit behind convolutions sees a window of the source. Features in the same channel whose distance
is a multiple of the window's size are never in one window, so that the image of their sum holds
the image of each, and nothing is added up. A window that covers the source leaves one feature a
vector.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trilemma.bounds.convolution import sides
from trilemma.bounds.network import Network
from trilemma.bounds.operations import (
    Addition,
    Convolution,
    Operation,
    Padding,
    Rectifier,
    Scaling,
)

Window = tuple[int, int, int]  # unit i sees i * stride - before, ..., as many as width says


def packed(network: Network, start: int, route: list[int]) -> Int[Tensor, " *s"]:
    """For each feature of the value at `start` the number of the vector in which it travels."""
    shape = network.nodes[start - 1].shape if start else network.shape
    spans = [_span(network, start, route, axis) for axis in (0, 1)] if len(shape) == 3 else [None]
    if None in spans:
        return torch.arange(shape.numel()).view(shape)
    channels, *sizes = shape
    numbers = torch.arange(channels).view(-1, 1, 1)
    for axis, (span, size) in enumerate(zip(spans, sizes, strict=True)):
        period = min(span or size, size)
        along = [1, 1, 1]
        along[1 + axis] = -1
        numbers = numbers * period + (torch.arange(size) % period).view(along)
    return numbers


def unit_vectors(
    size: Float[Tensor, "r *s"], numbers: Int[Tensor, " *s"], most: int, at_once: int
) -> Iterator[Float[Tensor, "_ _ *s"]]:
    """The vectors, each feature with its size; a few at a time.

    Args:
        size: (n or 1, *s), nonnegative.
        numbers: as `packed` says.
        most: features of a row whose size is not 0, at most. Where they are fewer than the
            vectors, each row sends its own, one a vector.
        at_once: how many at a time.
    """
    many = int(numbers.max()) + 1
    if most >= many:
        numbers = numbers.to(size.device)
        for part in torch.arange(many, device=size.device).split(at_once):
            members = numbers == part.view(-1, *[1] * numbers.dim())
            yield members * size.unsqueeze(1)
        return
    values, features = size.flatten(1).topk(most)
    for part in torch.arange(most, device=size.device).split(at_once):
        zeros = size.new_zeros(len(size), len(part), size[0].numel())
        own = zeros.scatter(2, features[:, part].unsqueeze(2), values[:, part].unsqueeze(2))
        yield own.unflatten(2, size.shape[1:])


def _span(network: Network, start: int, route: list[int], axis: int) -> int | None:
    """How wide the window at `start` is that a unit at the route's end sees; None: everything."""
    if not route:
        return 1
    windows: dict[int, Window] = {route[-1]: (1, 0, 1)}
    for place in reversed(route):
        node = network.nodes[place - 1]
        seen = _before(node.operation, windows[place], axis)
        if seen is None:
            return None
        for before in node.inputs:
            if before != start and before not in route:
                continue
            both = _union(windows.get(before, seen), seen)
            if both is None:
                return None
            windows[before] = both
    return windows[start][2]


def _before(operation: Operation, window: Window, axis: int) -> Window | None:
    match operation:
        case Rectifier() | Addition() | Scaling():
            return window
        case Padding(sides=(left, _, above, _)):
            stride, before, width = window
            return stride, before + (above, left)[axis], width
        case Convolution(layer=layer):
            stride, before, width = window
            step = layer.stride[axis]
            reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            return stride * step, before * step + sides(layer, axis), (width - 1) * step + reach + 1
        case _:
            return None


def _union(first: Window, second: Window) -> Window | None:
    if first[0] != second[0]:
        return None
    before = max(first[1], second[1])
    after = max(first[2] - first[1], second[2] - second[1])
    return first[0], before, before + after
