"""The table of what bounds are known for: from a layer or a function to its operation."""

import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trilemma.bounds.operations import (
    Addition,
    Convolution,
    Dense,
    Operation,
    Padding,
    Pooling,
    Rectifier,
    Reshaping,
    Scaling,
)

SUPPORTED = (
    "Linear, Conv2d, ReLU, Flatten, ZeroPad2d, AvgPool2d, AdaptiveAvgPool2d, BatchNorm in eval"
    " mode, Dropout, Identity, means over features, additions, subtractions, and products with"
    " constants"
)
SAME = object()  # hands its input on
Rule: TypeAlias = Callable[[Any, torch.Size, torch.Size], Any]


def _convolution(layer: nn.Conv2d, shape: torch.Size, after: torch.Size) -> Convolution | None:
    odd = layer.padding == "same" and any(
        d * (k - 1) % 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)
    )
    return None if odd or layer.padding_mode != "zeros" else Convolution(layer, shape)


def _norm(
    layer: nn.BatchNorm1d | nn.BatchNorm2d, shape: torch.Size, after: torch.Size
) -> Scaling | None:
    """In eval mode: (x - mean) / sqrt(variance + eps) * weight + bias, by channel."""
    if layer.running_mean is None or layer.running_var is None:
        return None  # it takes the batch's own mean: rows are not independent
    along = (-1, *[1] * (len(shape) - 1))

    def terms() -> tuple[Tensor, Tensor]:
        # checked above; the type checker does not know that they stay
        assert layer.running_mean is not None and layer.running_var is not None  # noqa: S101, PT018
        factor = (layer.running_var + layer.eps).rsqrt()
        factor = factor if layer.weight is None else factor * layer.weight
        shift = -layer.running_mean * factor
        shift = shift if layer.bias is None else shift + layer.bias
        return factor.view(along), shift.view(along)

    return Scaling(terms)


def pooled(layer: Callable[[Tensor], Tensor], shape: torch.Size) -> Pooling | None:
    """A mean over places; none whose divisor makes entries negative."""
    positive = bool((layer(torch.ones(1, *shape)) >= 0).all())
    return Pooling(layer, shape) if positive else None


MODULES: Mapping[type[nn.Module], Rule] = {
    nn.Linear: lambda layer, shape, after: Dense(layer),
    nn.Conv2d: _convolution,
    nn.ReLU: lambda layer, shape, after: Rectifier(),
    nn.Flatten: lambda layer, shape, after: Reshaping(shape, after),
    nn.Unflatten: lambda layer, shape, after: Reshaping(shape, after),
    nn.ZeroPad2d: lambda layer, shape, after: Padding(layer.padding),
    nn.AvgPool2d: lambda layer, shape, after: pooled(layer, shape),
    nn.AdaptiveAvgPool2d: lambda layer, shape, after: pooled(layer, shape),
    nn.BatchNorm1d: _norm,
    nn.BatchNorm2d: _norm,
    nn.Dropout: lambda layer, shape, after: SAME,
    nn.Dropout2d: lambda layer, shape, after: SAME,
    nn.Identity: lambda layer, shape, after: SAME,
}
RESHAPES = {
    *(torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze),
    *("flatten", "view", "reshape", "squeeze", "unsqueeze"),
}
RECTIFIERS = {torch.relu, torch.relu_, F.relu, "relu", "relu_"}
SAMES = {"contiguous"}
DROPOUTS = {F.dropout, F.dropout2d}
POOLS = {F.avg_pool2d, F.adaptive_avg_pool2d}
MEANS = {torch.mean, "mean"}
NEGATIVES = {operator.neg, torch.neg, "neg"}
# what tells the shape of a value, not its numbers
SHAPE_METHODS = {"size", "dim", "numel", "ndimension", "__len__"}
SHAPE_ATTRIBUTES = {"shape", "dtype", "device", "ndim", "is_cuda", "layout"}

# None is a value that depends on the input; an empty tensor has a shape that does not fit
Operand: TypeAlias = Tensor | None


def _scaled(factor: Tensor, shift: Tensor) -> Scaling | None:
    return None if factor.numel() == 0 or shift.numel() == 0 else Scaling(lambda: (factor, shift))


def _added(first: Operand, second: Operand) -> Operation | None:
    if first is None and second is None:
        return Addition()
    constant = first if first is not None else second
    return None if constant is None else _scaled(torch.ones_like(constant), constant)


def _subtracted(first: Operand, second: Operand) -> Operation | None:
    if first is None and second is None:
        return Addition(second=-1)
    if second is None:
        return None if first is None else _scaled(-torch.ones_like(first), first)
    return _scaled(torch.ones_like(second), -second)


def _multiplied(first: Operand, second: Operand) -> Operation | None:
    constant = first if first is not None else second
    if constant is None or (first is not None and second is not None):
        return None
    return _scaled(constant, torch.zeros_like(constant))


def _divided(first: Operand, second: Operand) -> Operation | None:
    if first is not None or second is None:
        return None
    return _scaled(1 / second, torch.zeros_like(second))


ARITHMETIC: Mapping[Any, Callable[[Operand, Operand], Operation | None]] = {
    operator.add: _added,
    torch.add: _added,
    operator.iadd: _added,
    "add": _added,
    operator.sub: _subtracted,
    torch.sub: _subtracted,
    "sub": _subtracted,
    operator.mul: _multiplied,
    torch.mul: _multiplied,
    "mul": _multiplied,
    operator.truediv: _divided,
    torch.div: _divided,
    "div": _divided,
}
