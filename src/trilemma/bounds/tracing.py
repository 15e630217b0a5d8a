"""From an `nn.Module` to the operations that it computes.

The model's `forward` is followed once with `torch.fx`, and every step that the input reaches must
be one that bounds are known for (`rules`). What does not depend on the input (a mean that is
subtracted) is computed as the model computes it. What was read is held against the model itself on
two inputs, so that nothing that the reading cannot see goes unnoticed.
"""

import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import is_parametrized

from trilemma.bounds import rules
from trilemma.bounds.network import Network, Node
from trilemma.bounds.operations import Rectifier, Reshaping, Scaling
from trilemma.core.errors import BadInput
from trilemma.core.modes import evaluating
from trilemma.core.types import Rows

_READ: "WeakKeyDictionary[nn.Module, _Known]" = WeakKeyDictionary()


@dataclass(frozen=True)
class _Known:
    """A reading, and what it was made of."""

    modules: tuple["ref[nn.Module]", ...]
    inputs: tuple[object, ...]
    network: Network

    def is_of(self, model: nn.Module, x: Rows) -> bool:
        """Whether the model still consists of the same modules."""
        now = list(model.modules())
        same = len(now) == len(self.modules) and all(
            known() is module for known, module in zip(self.modules, now, strict=True)
        )
        return same and self.inputs == _kind(x)


def read(model: object, x: Rows) -> Network:
    """The network that `model` is, for inputs like `x`.

    A model of known layers in `nn.Sequential`s is followed once and remembered: these read their
    weights at use. Where some module has a `forward` of its own, with or without layers in it, the
    model is followed each time, since that may depend on what is no layer (a mean, a flag).

    Args:
        model: an `nn.Module`, logits out.
        x: at least one row; its shape, dtype and device count, and its numbers for the check that
            the network answers as the model does.

    Raises:
        BadInput: it is no `nn.Module`, its `forward` cannot be followed, a layer is not supported
            (it is named) or has a hook, `x` does not go through it, or it answers otherwise than
            the network that was read.
    """
    if not isinstance(model, nn.Module):
        raise BadInput(
            "model",
            f"is a {type(model).__name__}",
            "Bounds need an nn.Module, whose layers are read",
        )
    inner = getattr(model, "_orig_mod", None)  # of what torch.compile made faster
    return _read(inner if isinstance(inner, nn.Module) else model, x)


def _read(model: nn.Module, x: Rows) -> Network:
    _refuse_hooks(model)
    known = _READ.get(model)
    if known is not None and known.is_of(model, x):
        return known.network
    with evaluating(model), torch.inference_mode(mode=False):
        rows = _two_rows(x)
        network = _Reading(model, rows).network()
        _compare(network, model, rows)
    if _of_known_layers(model):
        modules = tuple(ref(module) for module in model.modules())
        _READ[model] = _Known(modules, _kind(x), network)
    return network


def _kind(x: Rows) -> tuple[object, ...]:
    return x.shape[1:], x.dtype, x.device


def _two_rows(x: Rows) -> Float[Tensor, "2 *x"]:
    """The first row, and one that differs from it in every feature."""
    first = x[:1].detach()
    wave = torch.arange(first.numel(), dtype=x.dtype, device=x.device).sin().view_as(first)
    return torch.cat([first, first + wave / 4])


def _of_known_layers(model: nn.Module) -> bool:
    """Whether it is `nn.Sequential`s of layers whose operations are read at use, and no others.

    Into any other module, be it one without children, the reading goes itself, and what it finds
    there (a mean, a scale) is what it is at that moment.
    """
    return type(model) is nn.Sequential and all(
        type(module) is nn.Sequential or type(module) in rules.MODULES for module in model.modules()
    )


def _refuse_hooks(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            raise BadInput(
                "model",
                f"layer {name or 'itself'} ({type(module).__name__}) has a forward hook, which may"
                " change what it computes",
                "Remove it; of weight norm and the like take torch.nn.utils.parametrizations",
            )


def _compare(network: Network, model: nn.Module, x: Rows) -> None:
    """Refuse a model that does not compute what was read."""
    with torch.no_grad():
        expected, values = model(x.clone()), network.values(x)
        apart = float((expected - values[-1]).abs().max())
        scale = max(float(value.abs().max()) for value in values)
    if not apart <= torch.finfo(x.dtype).eps ** 0.5 * scale:  # nor where it is no number
        raise BadInput(
            "model",
            "answers otherwise than the layers that were read from it, or no finite numbers",
            "Its forward must be steps on tensors that torch.fx can follow; its weights finite",
        )


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

    def network(self) -> Network:
        for step in _traced(self.model).nodes:
            if step.op == "output":
                return self._ended(step.args[0])
            if step.op == "placeholder":
                self._begun(step)
                continue
            before = {each: self.values[each]._version for each in self.places}
            value = self.values[step] = self._carried_out(step)
            self._refuse_changed(step, before)
            if self._reached(step):
                self._take(step, value)
        raise BadInput("model", "returns nothing")

    def _begun(self, step: fx.Node) -> None:
        if self.places:
            self.values[step] = step.args[0] if step.args else None  # a default
            return
        self.values[step], self.places[step] = self.x.clone(), 0

    def _ended(self, returned: object) -> Network:
        if not isinstance(returned, fx.Node) or returned not in self.places:
            raise BadInput("model", f"returns {returned!r}", "Bounds are those of one tensor")
        place = self.places[returned]
        nodes = self.nodes[:place]  # what comes later does not reach the output
        if not nodes:  # the input itself
            nodes = [Node(Reshaping(self.x.shape[1:], self.x.shape[1:]), (0,), self.x.shape[1:])]
        return Network(self.x.shape[1:], tuple(nodes))

    def _reached(self, step: fx.Node) -> bool:
        """Whether the numbers of the input, not its shape alone, reach the step."""
        return any(each in self.places for each in step.all_input_nodes) and not _tells_shape(step)

    def _carried_out(self, step: fx.Node) -> Any:
        args: Any = fx.map_arg(step.args, self.values.__getitem__)
        kwargs: Any = fx.map_arg(step.kwargs, self.values.__getitem__)
        with torch.set_grad_enabled(not self._reached(step) and torch.is_grad_enabled()):
            if step.op == "get_attr":
                return operator.attrgetter(str(step.target))(self.model)
            try:
                if step.op == "call_module":
                    return self._module(step)(*args, **kwargs)
                if step.op == "call_method":
                    return getattr(args[0], str(step.target))(*args[1:], **kwargs)
                # a function: the other kinds of step, whose target is a name, are done above
                return step.target(*args, **kwargs)  # type: ignore[operator]
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                kind = f"{self.x.dtype}, rows of shape {tuple(self.x.shape[1:])}"
                raise BadInput(
                    "x", f"does not go through {self._name(step)} ({error})", f"It is {kind}"
                ) from error

    def _module(self, step: fx.Node) -> nn.Module:
        if not any(True for _ in self.model.children()):
            return self.model
        return self.model.get_submodule(str(step.target))

    def _refuse_changed(self, step: fx.Node, before: dict[fx.Node, int]) -> None:
        """A step in place is one like another, unless what it wrote over is used again."""
        for each, version in before.items():
            if self.values[each]._version != version and any(
                user not in self.values for user in each.users
            ):
                raise self._unsupported(step, "it changes a value in place that is used again")

    def _take(self, step: fx.Node, value: Any) -> None:
        """Write down the operation of a step that the input reaches."""
        if not isinstance(value, Tensor):
            raise self._unsupported(step)
        if value.dim() == 0 or len(value) != len(self.x):
            raise self._unsupported(step, "it changes the number of rows")
        given = [each for each in step.args if isinstance(each, fx.Node) and each in self.places]
        places = tuple(self.places[each] for each in given)
        operation = self._operation(step, self.values[given[0]].shape[1:], value) if given else None
        if operation is None:
            raise self._unsupported(step)
        if operation is rules.SAME:
            self.places[step] = places[0]
            return
        self.nodes.append(Node(operation, places, value.shape[1:]))
        self.places[step] = len(self.nodes)

    def _operation(self, step: fx.Node, shape: torch.Size, value: Tensor) -> Any:
        if step.op == "call_module":
            layer = self._module(step)
            kind = type(layer).__mro__[1] if is_parametrized(layer) else type(layer)
            rule = rules.MODULES.get(kind)
            return rule(layer, shape, value.shape[1:]) if rule else None
        if step.target in rules.RESHAPES:
            return Reshaping(shape, value.shape[1:])
        if step.target in rules.RECTIFIERS:
            return Rectifier()
        if step.target in rules.SAMES:
            return rules.SAME
        if step.target in rules.NEGATIVES:
            one = value.new_ones(())
            return Scaling(lambda: (-one, 0 * one))
        if step.target in rules.DROPOUTS | rules.POOLS | rules.MEANS:
            return self._function(step, shape)
        combine = rules.ARITHMETIC.get(step.target)
        if combine is None or len(step.args) != 2 or step.kwargs:
            return None
        first, second = step.args
        return combine(self._operand(first, value), self._operand(second, value))

    def _function(self, step: fx.Node, shape: torch.Size) -> Any:
        """A dropout, a pool or a mean, with its further arguments."""
        rest: Any = fx.map_arg(step.args[1:], self.values.__getitem__)
        named: Any = fx.map_arg(step.kwargs, self.values.__getitem__)
        if step.target in rules.DROPOUTS:
            training = named.get("training", rest[1] if len(rest) > 1 else True)
            return None if training else rules.SAME
        if step.target in rules.MEANS and not _over_features(rest, named, len(shape) + 1):
            return None
        call: Any = torch.mean if step.target == "mean" else step.target
        return rules.pooled(lambda x: call(x, *rest, **named), shape)

    def _operand(self, given: Any, value: Tensor) -> rules.Operand:
        """A constant, without a row axis; None is a value that depends on the input."""
        if isinstance(given, fx.Node):
            if given in self.places:
                return None if self.values[given].shape == value.shape else value.new_zeros(0)
            given = self.values[given]
        constant = torch.as_tensor(given, dtype=value.dtype, device=value.device)
        if constant.dim() == value.dim():
            constant = constant[0] if len(constant) == 1 else value.new_zeros(0)
        return constant

    def _name(self, step: fx.Node) -> str:
        if step.op == "call_module":
            return f"layer {step.target} ({type(self._module(step)).__name__})"
        return f"layer {step.name} ({getattr(step.target, '__name__', step.target)})"

    def _unsupported(self, step: fx.Node, why: str = "no bounds are known for it") -> BadInput:
        return BadInput("model", f"{self._name(step)}: {why}", f"Supported: {rules.SUPPORTED}")


def _tells_shape(step: fx.Node) -> bool:
    """Whether a step asks a value for its shape or kind, which its numbers do not change."""
    if step.op == "call_method":
        return step.target in rules.SHAPE_METHODS
    return step.target is getattr and step.args[1] in rules.SHAPE_ATTRIBUTES


def _over_features(rest: tuple[Any, ...], named: dict[str, Any], axes: int) -> bool:
    """Whether a mean is one of each row: over named axes, that of the rows not among them."""
    along = named.get("dim", rest[0] if rest else None)
    named_axes = _numbers(along)
    return along is not None and all(axis % axes for axis in named_axes)


def _numbers(along: Any) -> Iterator[int]:
    return iter((along,) if isinstance(along, int) else along or ())
