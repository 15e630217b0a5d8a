"""From an `nn.Module` to the operations that it computes.

The model's `forward` is followed once with `torch.fx`, and every step that the input reaches must
be one that bounds are known for. What does not depend on the input (a mean that is subtracted) is
computed as the model computes it.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from trilemma.bounds.network import Network, Node
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
from trilemma.core.errors import BadInput
from trilemma.core.modes import evaluating
from trilemma.core.types import Rows

SUPPORTED = (
    "Linear, Conv2d, ReLU, Flatten, ZeroPad2d, AvgPool2d, AdaptiveAvgPool2d, BatchNorm in eval"
    " mode, Dropout, Identity, additions, subtractions, and products with constants"
)
_READ: "WeakKeyDictionary[nn.Module, tuple[object, Network]]" = WeakKeyDictionary()


def read(model: object, x: Rows) -> Network:
    """The network that `model` is, for inputs like `x`.

    A model of modules alone is followed once and remembered.

    Args:
        model: an `nn.Module`, logits out.
        x: at least one row; only its shape, dtype and device count.

    Raises:
        BadInput: it is no `nn.Module`, its `forward` cannot be followed, or a layer is not
            supported (it is named).
    """
    if not isinstance(model, nn.Module):
        raise BadInput(
            "model",
            f"is a {type(model).__name__}",
            "Bounds need an nn.Module, whose layers are read",
        )
    made_of = (tuple(map(id, model.modules())), x.shape[1:], x.dtype, x.device)
    known = _READ.get(model)
    if known is not None and known[0] == made_of:
        return known[1]
    with evaluating(model):
        reading = _Reading(model, torch.cat([x[:1].detach()] * 2))
        network = reading.network()
    children = any(True for _ in model.children())
    if children and not reading.constants:  # which may have changed by the next time
        _READ[model] = made_of, network
    return network


def _traced(model: nn.Module) -> fx.Graph:
    if not any(True for _ in model.children()):  # a layer by itself
        model = nn.Sequential(model)
    try:
        return fx.Tracer().trace(model)
    except Exception as error:  # whatever the model's own code raises when it is followed
        raise BadInput(
            "model",
            f"forward of {type(model).__name__} cannot be followed ({error})",
            "Its steps must not depend on the values of the input",
        ) from error


@dataclass
class _Reading:
    """The steps of a model, carried out on two rows: values, and places in the network."""

    model: nn.Module
    x: Rows
    values: dict[fx.Node, Any] = field(default_factory=dict)
    places: dict[fx.Node, int] = field(default_factory=dict)  # of what depends on the input
    nodes: list[Node] = field(default_factory=list)
    constants: bool = False

    def network(self) -> Network:
        for step in _traced(self.model).nodes:
            if step.op == "output":
                return self._ended(step.args[0])
            if step.op == "placeholder":
                self._begun(step)
                continue
            value = self._carried_out(step)
            self.values[step] = value
            if isinstance(value, Tensor) and any(
                each in self.places for each in step.all_input_nodes
            ):
                self._take(step, value)
        raise BadInput("model", "returns nothing")

    def _begun(self, step: fx.Node) -> None:
        if self.places:
            self.values[step] = step.args[0] if step.args else None  # a default
            return
        self.values[step], self.places[step] = self.x, 0

    def _ended(self, returned: object) -> Network:
        if not isinstance(returned, fx.Node) or returned not in self.places:
            raise BadInput("model", f"returns {returned!r}", "Bounds are those of one tensor")
        place = self.places[returned]
        nodes = self.nodes[:place]  # what comes later does not reach the output
        if not nodes:  # the input itself
            nodes = [Node(Reshaping(self.x.shape[1:], self.x.shape[1:]), (0,), self.x.shape[1:])]
        return Network(self.x.shape[1:], tuple(nodes))

    def _carried_out(self, step: fx.Node) -> Any:
        data = any(each in self.places for each in step.all_input_nodes)
        args: Any = fx.map_arg(step.args, self.values.__getitem__)
        kwargs: Any = fx.map_arg(step.kwargs, self.values.__getitem__)
        with torch.set_grad_enabled(not data and torch.is_grad_enabled()):
            match step.op:
                case "get_attr":
                    self.constants = True
                    return operator.attrgetter(str(step.target))(self.model)
                case "call_module":
                    return self._module(step)(*args, **kwargs)
                case "call_method":
                    return getattr(args[0], str(step.target))(*args[1:], **kwargs)
                case _:
                    return step.target(*args, **kwargs)  # type: ignore[operator]

    def _module(self, step: fx.Node) -> nn.Module:
        if not any(True for _ in self.model.children()):
            return self.model
        return self.model.get_submodule(str(step.target))

    def _take(self, step: fx.Node, value: Tensor) -> None:
        """Write down the operation of a step that the input reaches."""
        if value.dim() == 0 or len(value) != len(self.x):
            raise self._unsupported(step, "it changes the number of rows")
        given = [each for each in step.args if isinstance(each, fx.Node) and each in self.places]
        places = tuple(self.places[each] for each in given)
        operation = self._operation(step, self.values[given[0]].shape[1:], value) if given else None
        if operation is None:
            raise self._unsupported(step)
        if operation is SAME:
            self.places[step] = places[0]
            return
        self.nodes.append(Node(operation, places, value.shape[1:]))
        self.places[step] = len(self.nodes)

    def _operation(self, step: fx.Node, shape: torch.Size, value: Tensor) -> Any:
        if step.op == "call_module":
            layer = self._module(step)
            rule = MODULES.get(type(layer))
            return rule(layer, shape, value.shape[1:]) if rule else None
        if step.target in RESHAPES:
            return Reshaping(shape, value.shape[1:])
        if step.target in RECTIFIERS:
            return Rectifier()
        if step.target in SAMES:
            return SAME
        if step.target in POOLS and step.op == "call_function":
            pool, rest, named = step.target, step.args[1:], step.kwargs
            return Pooling(lambda x: pool(x, *rest, **named), shape)
        combine = ARITHMETIC.get(step.target)
        if combine is None or len(step.args) != 2 or step.kwargs:
            return None
        first, second = step.args
        return combine(self._operand(first, value), self._operand(second, value))

    def _operand(self, given: Any, value: Tensor) -> Tensor | None:
        """A constant, without a row axis; None is a value that depends on the input."""
        if isinstance(given, fx.Node):
            if given in self.places:
                return None if self.values[given].shape == value.shape else value.new_zeros(0)
            given = self.values[given]
        constant = torch.as_tensor(given, dtype=value.dtype, device=value.device)
        if constant.dim() == value.dim():
            constant = constant[0] if len(constant) == 1 else value.new_zeros(0)
        return constant

    def _unsupported(self, step: fx.Node, why: str = "no bounds are known for it") -> BadInput:
        if step.op == "call_module":
            name = f"{step.target} ({type(self._module(step)).__name__})"
        else:
            name = f"{step.name} ({getattr(step.target, '__name__', step.target)})"
        return BadInput("model", f"layer {name}: {why}", f"Supported: {SUPPORTED}")


SAME = object()  # hands its input on
Rule = Callable[[Any, torch.Size, torch.Size], Any]


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
        assert layer.running_mean is not None and layer.running_var is not None  # noqa: S101, PT018
        factor = (layer.running_var + layer.eps).rsqrt()
        factor = factor if layer.weight is None else factor * layer.weight
        shift = -layer.running_mean * factor
        shift = shift if layer.bias is None else shift + layer.bias
        return factor.view(along), shift.view(along)

    return Scaling(terms)


MODULES: Mapping[type[nn.Module], Rule] = {
    nn.Linear: lambda layer, shape, after: Dense(layer),
    nn.Conv2d: _convolution,
    nn.ReLU: lambda layer, shape, after: Rectifier(),
    nn.Flatten: lambda layer, shape, after: Reshaping(shape, after),
    nn.Unflatten: lambda layer, shape, after: Reshaping(shape, after),
    nn.ZeroPad2d: lambda layer, shape, after: Padding(layer.padding),
    nn.AvgPool2d: lambda layer, shape, after: Pooling(layer, shape),
    nn.AdaptiveAvgPool2d: lambda layer, shape, after: Pooling(layer, shape),
    nn.BatchNorm1d: _norm,
    nn.BatchNorm2d: _norm,
    nn.Dropout: lambda layer, shape, after: SAME,
    nn.Dropout2d: lambda layer, shape, after: SAME,
    nn.Identity: lambda layer, shape, after: SAME,
}
RESHAPES = {torch.flatten, torch.reshape, "flatten", "view", "reshape"}
RECTIFIERS = {torch.relu, F.relu, "relu"}
SAMES = {F.dropout, F.dropout2d, "contiguous"}
POOLS = {F.avg_pool2d, F.adaptive_avg_pool2d}

Operand = (
    Tensor | None
)  # None: a value that depends on the input; empty: of a shape that does not fit


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
