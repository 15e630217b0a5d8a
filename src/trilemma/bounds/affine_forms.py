"""Affine forms: values as a centre and what noise symbols add to it, carried through a network.

Symbols come in groups, by the place where they were made.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from typing import TypeAlias

import torch

from trilemma.bounds.generators import Apart, Spikes, Symbols
from trilemma.bounds.interval import Ends
from trilemma.bounds.network import Network
from trilemma.bounds.operations import (
    Addition,
    Affine,
    Contrast,
    Numbers,
    Rectifier,
    Reshaping,
    Scaling,
)
from trilemma.bounds.region import Region
from trilemma.core.balls import L2
from trilemma.core.pace import Pace
from trilemma.core.types import Rows

ALIVE = 2**24  # numbers of generators held at once, about; more only wait for memory
INPUT = 0  # the group of the input's symbols
BOX = -1  # and of those that nothing else knows: each feature's own error


@dataclass(frozen=True, eq=False)
class Form:
    """Values centre + sum_i (size of symbol i) * (symbol i), the symbols in groups.

    Args:
        centre: where every symbol is 0.
        groups: by the place of the ReLU that made them, or `INPUT`, or `BOX`.
    """

    centre: Rows
    groups: Mapping[int, Symbols]

    def mapped(self, operation: Affine) -> "Form":
        """The image under an affine map: exact."""
        groups = {place: each.mapped(operation) for place, each in self.groups.items()}
        return Form(operation.value(self.centre), groups)

    def plus(self, other: "Form", sign: int) -> "Form":
        """The sum, or the difference: exact but for what lies in the box."""
        groups = dict(self.groups)
        for place, each in other.groups.items():
            if place in groups:
                groups[place] = groups[place].plus(each, sign)
            else:
                groups[place] = each if sign == 1 else each.negative()
        return Form(self.centre + sign * other.centre, groups)

    def scaled(self, slope: Rows, shift: Rows) -> "Form":
        """Feature by feature slope * value + shift."""
        groups = {place: each.times(slope) for place, each in self.groups.items()}
        return Form(slope * self.centre + shift, groups)

    def joined(self, place: int, symbols: Symbols) -> "Form":
        """With more symbols."""
        known = self.groups.get(place)
        merged = symbols if known is None else known.plus(symbols, 1)
        return Form(self.centre, {**self.groups, place: merged})

    def ends(self, region: Region) -> Ends:
        """The least and the largest value of each feature.

        In an L_2 ball that is cut, the tighter of what the ball and the box around the region say.
        """
        steps = self.groups[INPUT]
        others = [each.reach() for place, each in self.groups.items() if place != INPUT]
        rest = reduce(torch.add, others, torch.zeros_like(self.centre))
        sphere = isinstance(region.ball, L2)
        reach = steps.reach(2 if sphere else 1) + rest
        lower, upper = self.centre - reach, self.centre + reach
        if sphere and region.cut and not isinstance(steps, Apart):
            eps = region.ball.radius
            centre = self.centre + steps.weighted((region.centre - region.x) / eps).total()
            reach = steps.weighted(region.radius / eps).reach() + rest
            lower, upper = lower.maximum(centre - reach), upper.minimum(centre + reach)
        return lower, upper


def entered(region: Region) -> Form:
    """The region: one symbol for every feature that some row can change."""
    moving = region.radius.expand_as(region.x[:1] if region.radius.dim() == 0 else region.x) > 0
    moving = moving.any(0, keepdim=True)
    if isinstance(region.ball, L2):
        centre, sizes = region.x, moving * torch.full_like(region.x[:1], region.ball.radius)
    else:
        centre, sizes = region.centre, moving * region.radius
    return Form(centre, {INPUT: Spikes(moving.flatten().nonzero().squeeze(1), sizes)})


Rectified: TypeAlias = Callable[[Form, Ends, int], Form]  # of a value, its ends, the ReLU's place


def lower_bounds(
    network: Network, region: Region, rectified: Rectified, *, growing: bool
) -> Numbers:
    """Lower bounds of the network's outputs, some rows at a time.

    Args:
        network: ending in linear combinations of its outputs.
        region: the inputs.
        rectified: what a ReLU makes of a form.
        growing: whether it may make a group of symbols of its own.
    """
    rows = max(1, ALIVE // alive(network, growing=growing))
    return torch.cat(
        [
            _carried(_rows(network, part), region.rows(part), rectified)
            for part in Pace(rows).slices(len(region.x))
        ]
    )


def _carried(network: Network, region: Region, rectified: Rectified) -> Numbers:
    forms = {0: entered(region)}
    last = _last_uses(network)
    for place, node in enumerate(network.nodes, start=1):
        if place not in last:
            continue
        first, *others = (forms[each] for each in node.inputs)
        match node.operation:
            case Rectifier():
                forms[place] = rectified(first, first.ends(region), place)
            case Addition(second=sign):
                forms[place] = first.plus(others[0], sign)
            case affine:
                forms[place] = first.mapped(affine)
        for each in node.inputs:
            if last[each] == place:
                forms.pop(each, None)
    return forms[len(network.nodes)].ends(region)[0]


def _last_uses(network: Network) -> dict[int, int]:
    """Of every value that is used: the last step that uses it, or the last that there is."""
    last = {len(network.nodes): len(network.nodes)}
    for place, node in reversed(list(enumerate(network.nodes, start=1))):
        if place in last:
            last.update({each: place for each in node.inputs if each not in last})
    return last


def _rows(network: Network, part: slice) -> Network:
    """The last layer may differ from row to row."""
    last = network.nodes[-1]
    if not isinstance(last.operation, Contrast) or len(last.operation.weight) == 1:
        return network
    contrast = Contrast(last.operation.weight[part], last.operation.bias[part])
    node = dataclasses.replace(last, operation=contrast)
    return dataclasses.replace(network, nodes=(*network.nodes[:-1], node))


def alive(network: Network, *, growing: bool) -> int:
    """Numbers that one row holds at most at once, where no ReLU is stable."""
    sizes = [network.shape.numel(), *(node.shape.numel() for node in network.nodes)]
    columns: list[dict[int, int]] = [{}]  # of each value: how many symbols a group has,
    spikes: list[dict[int, int]] = [{INPUT: sizes[0]}]  # and those that are not written out yet
    for place, node in enumerate(network.nodes, start=1):
        columns.append({k: v for each in node.inputs for k, v in columns[each].items()})
        spikes.append({k: v for each in node.inputs for k, v in spikes[each].items()})
        if not isinstance(node.operation, Rectifier | Reshaping | Scaling | Addition):
            columns[place] |= spikes[place]
            spikes[place] = {}
        if growing and isinstance(node.operation, Rectifier):
            spikes[place][place] = sizes[place]
    held = [
        size * (1 + len(few) + sum(many.values()))
        for size, few, many in zip(sizes, spikes, columns, strict=True)
    ]
    change = [0] * (len(sizes) + 1)
    for place, until in _last_uses(network).items():  # from the step that makes it to the last
        change[place] += held[place]
        change[until + 1] -= held[place]
    return max(accumulate(change))
