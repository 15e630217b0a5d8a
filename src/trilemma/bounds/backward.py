"""Linear lower bounds, carried from a network's values back to its input.

A combination of values is rewritten step by step as one of earlier values. An affine step loses
nothing; at a ReLU each feature is replaced by one of the two lines between which it lies, as the
sign of its coefficient asks. What is left is linear in the input, and its least value over the
region is known.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from trilemma.bounds.network import Network
from trilemma.bounds.operations import Addition, Contrast, Many, Numbers, Rectifier
from trilemma.bounds.region import Region
from trilemma.core.types import Rows

HELD = {"cpu": 2**19, "cuda": 2**25}  # coefficients of one step at once, about; a CPU's fit a cache
SHARED = 2**25  # of the combinations that all rows have in common


@dataclass(frozen=True, eq=False)
class Relaxation:
    r"""Two lines between which a ReLU lies over its region, feature by feature.

    .. math:: \alpha z \le \max(0, z) \le s z + t

    Args:
        lower: alpha, in [0, 1].
        upper: s, in [0, 1].
        intercept: t, at least 0.
    """

    lower: Rows
    upper: Rows
    intercept: Rows

    def below(self, c: Many) -> tuple[Many, Numbers]:
        r"""A lower bound of <c, max(0, z)>: the coefficients of z, and a constant.

        .. math:: c^+ \alpha + c^- s, \quad \langle c^-, t \rangle

        Args:
            c: as many rows as the relaxation has.
        """
        down = c.clamp(max=0)
        lower, gap = self.lower.unsqueeze(1), (self.upper - self.lower).unsqueeze(1)
        constant = down.flatten(2) @ self.intercept.flatten(1).unsqueeze(2)
        return torch.addcmul(c * lower, down, gap), constant.squeeze(2)


@dataclass(frozen=True, eq=False)
class Form:
    """m combinations of some of a network's values, for each row or one for all rows.

    Args:
        coefficients: from the place of a value to (n or 1, m, *its shape).
        constant: (n or 1, m).
    """

    coefficients: Mapping[int, Tensor]
    constant: Tensor

    def rows(self, n: int) -> "Form":
        """The same for each of n rows."""
        return self._each(lambda c: c.expand(n, *c.shape[1:]))

    def chosen(self, which: Int[Tensor, "n m"]) -> "Form":
        """For each row some of the combinations that all rows have in common."""
        return self._each(lambda c: c[0][which])

    def columns(self, part: slice) -> "Form":
        """Some of the combinations."""
        return self._each(lambda c: c[:, part])

    def mirrored(self) -> "Form":
        """The combinations, and after them their negatives."""
        return self._each(lambda c: torch.cat([c, -c], 1))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Form":
        coefficients = {place: change(c) for place, c in self.coefficients.items()}
        return Form(coefficients, change(self.constant))


def outputs(network: Network, like: Tensor) -> Form:
    """The network's outputs, one combination each."""
    last = network.nodes[-1]
    if isinstance(last.operation, Contrast):  # is read off
        return Form({last.inputs[0]: last.operation.weight}, last.operation.bias)
    every = torch.arange(network.outputs, device=like.device)
    return features(network, len(network.nodes), every, like)


def features(network: Network, place: int, which: Int[Tensor, " m"], like: Tensor) -> Form:
    """Some features of one value, by their numbers in its flattened rows; the same for all rows."""
    shape = network.nodes[place - 1].shape
    one = like.new_zeros(len(which), shape.numel()).scatter_(1, which.unsqueeze(1), 1.0)
    return Form({place: one.view(1, -1, *shape)}, like.new_zeros(1, len(which)))


def carried(network: Network, form: Form, relaxations: Mapping[int, Relaxation]) -> Form:
    """A lower bound of a form by earlier values: the input, and ReLUs that have no relaxation.

    Args:
        network: whose values the form combines.
        form: as many rows as the relaxations have, if there are any.
        relaxations: from the place of a ReLU's value.
    """
    waiting, constant = dict(form.coefficients), form.constant
    reached: dict[int, Tensor] = {}

    def give(place: int, c: Tensor) -> None:
        waiting[place] = waiting[place] + c if place in waiting else c

    for place in range(max(waiting), 0, -1):
        if place not in waiting:
            continue
        c, node = waiting.pop(place), network.nodes[place - 1]
        match node.operation:
            case Rectifier() if place not in relaxations:
                reached[place] = c
            case Rectifier():
                c, more = relaxations[place].below(c)
                constant = constant + more
                give(node.inputs[0], c)
            case Addition(second=sign):
                give(node.inputs[0], c)
                give(node.inputs[1], sign * c)
            case affine:
                constant = constant + affine.constant(c)
                give(node.inputs[0], affine.adjoint(c))
    return Form(waiting | reached, constant)


def lowest(
    network: Network, region: Region, relaxations: Mapping[int, Relaxation], form: Form
) -> Numbers:
    """Lower bounds of a form over the region, a number for each row and combination.

    Args:
        network: whose values the form combines.
        region: of n rows.
        relaxations: of every ReLU that the form depends on.
        form: of n rows, or of one for all.
    """
    form = carried(network, form, {}).rows(len(region.x))
    found = []
    for start in range(0, form.constant.shape[1], step := at_once(network, region, form)):
        part = carried(network, form.columns(slice(start, start + step)), relaxations)
        found.append(region.least(part.coefficients[0]) + part.constant)
    return torch.cat(found, 1)


def at_once(network: Network, region: Region, form: Form, copies: int = 1) -> int:
    """How many combinations are carried back at once for every row."""
    held = HELD.get(region.x.device.type, HELD["cpu"])
    widest = widest_value(network, max(form.coefficients))
    return max(1, held // (copies * len(region.x) * widest))


def widest_value(network: Network, place: int) -> int:
    """The most numbers that a row of a value has, up to a place."""
    shapes = (node.shape for node in network.nodes[:place])
    return max(shape.numel() for shape in (network.shape, *shapes))
