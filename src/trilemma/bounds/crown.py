"""Linear relaxations of every ReLU, and bounds by carrying them back to the input.

Three published methods that differ in the lower line of an unstable ReLU, and in where the bounds
of the hidden values come from.
"""

from collections.abc import Callable
from typing import ClassVar, TypeAlias

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from trilemma.bounds.backward import (
    SHARED,
    Relaxation,
    at_once,
    carried,
    features,
    lowest,
    outputs,
    widest_value,
)
from trilemma.bounds.interval import image, intervals
from trilemma.bounds.network import Network
from trilemma.bounds.operations import (
    Addition,
    Numbers,
    Padding,
    Pooling,
    Rectifier,
    Reshaping,
    Scaling,
)
from trilemma.bounds.region import Region
from trilemma.core.balls import L2
from trilemma.core.types import Rows

Ends: TypeAlias = tuple[Tensor, Tensor]  # lower and upper
Lines: TypeAlias = Callable[[Rows, Rows], Relaxation]


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Crown:
    r"""CROWN, all hidden bounds by CROWN itself.

    A ReLU whose input lies in [l, u], l < 0 < u, lies between two lines, of which the lower one
    is that with less area between them:

    .. math:: \alpha z \le \max(0, z) \le \frac{u}{u - l} (z - l),
              \quad \alpha = 1 \text{ if } u > -l, \text{ else } 0

    Its numbers are those of the published method, every l and u from a pass of its own. On
    networks that were trained for interval bounds they may be looser than these.

    Args:
        intersect: take the better of these and interval bounds, for each hidden value and at the
            end: sound, never worse than interval bounds, and no longer the published numbers.
            Better hidden bounds may choose other lower lines, and those may be worse in the end.

    Source:
        Zhang et al., "Efficient neural network robustness certification with general activation
        functions", NeurIPS 2018, section 3.2 and table 3 (CROWN-Ada).
    """

    REVISION: ClassVar[int] = 1

    intersect: bool = False


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class CrownIBP:
    r"""CROWN-IBP: hidden bounds by intervals, the outputs' by CROWN.

    The lines are those of `Crown`, with l and u from interval bound propagation: one pass
    forward and one back, which is cheap enough to train with.

    Args:
        intersect: take the better of these and interval bounds of the outputs: sound, never
            worse than either, and no longer the published numbers.

    Source:
        Zhang et al., "Towards stable and efficient training of verifiably robust neural
        networks", ICLR 2020, section 3.
    """

    REVISION: ClassVar[int] = 1

    intersect: bool = False


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class FastLin:
    r"""Fast-Lin: parallel lines, all hidden bounds by Fast-Lin itself.

    .. math:: \frac{u}{u - l} z \le \max(0, z) \le \frac{u}{u - l} (z - l)

    Wong and Kolter's dual with exact norms, and the zonotopes of DeepZ, come to the same numbers.

    Args:
        intersect: as `Crown`'s.

    Source:
        Weng et al., "Towards fast computation of certified robustness for ReLU networks", ICML
        2018, section 3.3.
    """

    REVISION: ClassVar[int] = 1

    intersect: bool = False


def crown(config: Crown, network: Network, region: Region) -> Numbers:
    """Lower bounds of the network's outputs, (n, m)."""
    return _relaxed(network, region, adaptive, config.intersect)


def fast_lin(config: FastLin, network: Network, region: Region) -> Numbers:
    """Lower bounds of the network's outputs, (n, m)."""
    return _relaxed(network, region, parallel, config.intersect)


def crown_ibp(config: CrownIBP, network: Network, region: Region) -> Numbers:
    """Lower bounds of the network's outputs, (n, m)."""
    ends = intervals(network, region)
    relaxations = {
        place: adaptive(*ends[node.inputs[0]])
        for place, node in enumerate(network.nodes, start=1)
        if isinstance(node.operation, Rectifier)
    }
    found = lowest(network, region, relaxations, outputs(network, region.x))
    return found.maximum(ends[-1][0]) if config.intersect else found


def adaptive(lower: Rows, upper: Rows) -> Relaxation:
    """Of the lower lines through 0 with slope 0 and 1 the one closer to the ReLU."""
    slope, intercept = _upper_line(lower, upper)
    steep = (lower >= 0) | (upper > -lower)
    return Relaxation(steep.to(slope), slope, intercept)


def parallel(lower: Rows, upper: Rows) -> Relaxation:
    """The lower line has the upper one's slope."""
    slope, intercept = _upper_line(lower, upper)
    return Relaxation(slope, slope, intercept)


def _upper_line(lower: Rows, upper: Rows) -> Ends:
    """Through (l, 0) and (u, u): slope u / (u - l); 1 for an active ReLU, 0 for a dead one."""
    unstable = (lower < 0) & (upper > 0)
    slope = upper / torch.where(unstable, upper - lower, 1)  # a width of 0 has no gradient
    slope = torch.where(unstable, slope, (lower >= 0).to(slope))
    return slope, torch.where(unstable, -slope * lower, 0)


def _relaxed(network: Network, region: Region, lines: Lines, intersect: bool) -> Numbers:
    """Bounds by lines through bounds that were found in the same way, layer after layer."""
    ends: list[Ends] = [region.hull]
    relaxations: dict[int, Relaxation] = {}
    known, direct, exact = intervals(network, region), *_affine_in_the_input(network, region)
    for place, node in enumerate(network.nodes, start=1):
        if isinstance(node.operation, Rectifier):
            before = node.inputs[0]
            if before not in exact:
                ends[before] = _passed(
                    network, region, relaxations, before, ends[before], intersect
                )
                exact.add(before)
            relaxations[place] = lines(*ends[before])
            ends.append(
                image(node, ends) if intersect else _between(relaxations[place], ends[before])
            )
        else:
            ends.append(known[place] if place in direct else image(node, ends))
    found = lowest(network, region, relaxations, outputs(network, region.x))
    return found.maximum(ends[-1][0]) if intersect else found


def _between(relaxation: Relaxation, ends: Ends) -> Ends:
    r"""The least and the largest value of a ReLU's lines.

    No narrower than what these lines come to when they are carried back: with them L(c), the
    lower bound of <c, z>, is superadditive in c, so that :math:`L(c) \ge \sum_i L(c_i e_i)`. (In
    an L_2 ball that is cut it need not be; there these may also be narrower.)
    """
    lower, upper = ends
    return relaxation.lower * lower, upper.relu()


def _passed(
    network: Network,
    region: Region,
    relaxations: dict[int, Relaxation],
    place: int,
    ends: Ends,
    intersect: bool,
) -> Ends:
    """Bounds of a value by carrying back those features that `ends` leave unstable, row by row.

    The others would turn out stable, too, and of a stable ReLU no more is asked.
    """
    lower, upper = (end.flatten(1) for end in ends)
    unstable = (lower < 0) & (upper > 0)
    some = unstable.any(0).nonzero().squeeze(1)
    if len(some) == 0:
        return ends
    at, found = [], []
    for part in some.split(max(1, SHARED // widest_value(network, place))):
        form = carried(network, features(network, place, part, lower), {})
        wanted = unstable[:, part]
        order = wanted.int().argsort(dim=1, descending=True, stable=True)
        most = order[:, : int(wanted.sum(1).max())]  # what a row does not want is discarded
        for which in most.split(at_once(network, region, form, copies=2), dim=1):
            both = form.chosen(which).mirrored()
            found.append(torch.stack(lowest(network, region, relaxations, both).chunk(2, 1)))
            at.append(part[which])
    places, (low, high) = torch.cat(at, 1), torch.cat(found, 2)
    low, high = lower.scatter(1, places, low), upper.scatter(1, places, -high)
    if intersect:
        low, high = low.maximum(lower), high.minimum(upper)
    low, high = torch.where(unstable, low, lower), torch.where(unstable, high, upper)
    return low.view_as(ends[0]), high.view_as(ends[1])


def _affine_in_the_input(network: Network, region: Region) -> tuple[set[int], set[int]]:
    """The places of such values, and of those whose interval bounds are exact.

    These are reached by one layer that mixes features, before and after it by what acts on each
    feature alone. In an L_2 ball the interval bounds of an average pool are not exact.
    """
    alone, direct, exact = {0}, {0}, {0}
    for place, node in enumerate(network.nodes, start=1):
        before = node.inputs[0]
        if isinstance(node.operation, Rectifier) or not direct.issuperset(node.inputs):
            continue
        direct.add(place)
        if isinstance(node.operation, Reshaping | Padding | Scaling):
            alone |= {place} if before in alone else set()
            exact |= {place} if before in exact else set()
        elif not isinstance(node.operation, Addition):
            loose = isinstance(node.operation, Pooling) and isinstance(region.ball, L2)
            exact |= {place} if before in alone and not loose else set()
    return direct, exact
