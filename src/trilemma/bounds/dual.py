"""Wong & Kolter's dual bounds, with exact norms or with estimates by random projections."""

import math
from functools import partial
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from pydantic.dataclasses import dataclass
from torch.utils.checkpoint import checkpoint

from trilemma.bounds.convolution import laid
from trilemma.bounds.held import Moves
from trilemma.bounds.interval import Ends
from trilemma.bounds.network import Network
from trilemma.bounds.operations import Addition, Numbers, Rectifier
from trilemma.bounds.projections import Banks, Projections, estimates
from trilemma.bounds.region import Region
from trilemma.bounds.sources import MEMORY, Moving, Relaxed, Source, advanced, reaches
from trilemma.core.balls import L2
from trilemma.core.generators import seeded
from trilemma.core.types import Rows

TOGETHER = {"cpu": 2**23}  # numbers of a source's vectors, about: more are slower, and fewer
HELD = 2**30  # numbers that may wait for the gradient, about


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Dual:
    r"""Dual bounds of the convex relaxation in which a crossing ReLU becomes a triangle.

    With :math:`l, u` the bounds before a ReLU, it acts on a dual vector as the factor
    :math:`d = 1` where :math:`l \ge 0`, 0 where :math:`u \le 0` and :math:`u / (u - l)` where it
    crosses 0 (:math:`I`), and

    .. math:: \min_{z} \langle c, \hat z_k \rangle \ge -\sum_i \langle \nu_{i+1}, b_i \rangle
        - \langle x, \hat\nu_1 \rangle - \epsilon \|\hat\nu_1\|_*
        + \sum_i \sum_{j \in I_i} l_{i,j} [\nu_{i,j}]_+,
        \quad \nu_k = -c, \; \hat\nu_i = W_i^T \nu_{i+1}, \; \nu_i = d_i \hat\nu_i

    (ICML 2018, theorem 1; :math:`\|.\|_*` is the 1-norm in an L_inf ball, the 2-norm in an L_2
    one). The bounds :math:`l, u` are found in the same way, layer by layer. With
    :math:`[\nu]_+ = (\nu + |\nu|) / 2` all but norms of linear maps is the value of one vector
    that goes through the layers, and a value's bounds are it plus and minus the norms.

    Args:
        projections: None computes the norms exactly: sound bounds. A number r estimates, for
            training, those norms of hidden layers that would take more than r vectors: 1-norms
            as the median of r Cauchy projections, 2-norms from r normal ones (NeurIPS 2018,
            section 3.2). **An estimate is no sound bound**, and neither is what the last layer
            makes of it, whose own norms are exact.
        seed: of the projections; all rows share them.

    Source:
        Wong & Kolter, "Provable defenses against adversarial examples via the convex outer
        adversarial polytope", ICML 2018, theorem 1 and algorithm 1; Wong et al., "Scaling provable
        adversarial defenses", NeurIPS 2018, sections 3.1 (residual connections) and 3.2.
    """

    REVISION: ClassVar[int] = 1

    projections: Annotated[int, Ge(1)] | None = None
    seed: int = 0


def dual(config: Dual, network: Network, region: Region) -> Numbers:
    """Lower bounds of the network's outputs, (n, m); with projections, estimates of them."""
    if config.projections is None:
        return _dual(network, region, None)
    banks = Banks(config.projections, seeded(config.seed, region.x.device))
    return _in_parts(network.settled(), region, banks)


def _in_parts(network: Network, region: Region, banks: Banks) -> Numbers:
    """A few rows at a time; what would hold too much until the gradient is computed twice."""
    shapes = [network.shape, *(node.shape for node in network.nodes)]
    widest = banks.many * max(shape.numel() for shape in shapes)
    most = max(1, TOGETHER.get(region.x.device.type, MEMORY) // widest)
    n, sources, held = len(region.x), 1, 0
    for node in network.nodes:
        if isinstance(node.operation, Rectifier):
            sources += 1
        else:
            held += (sources * banks.many + network.outputs) * node.shape.numel()
    found: list[Numbers] = []
    at_once = math.ceil(n / math.ceil(n / most))
    for part in (slice(i, i + at_once) for i in range(0, n, at_once)):
        bounds = partial(_estimated, network.rows(part), region.rows(part), banks)
        if torch.is_grad_enabled() and held * part.stop > HELD:
            found.append(checkpoint(bounds, use_reentrant=False, preserve_rng_state=False))
        else:
            found.append(bounds())
    return torch.cat(found)


def _estimated(network: Network, region: Region, banks: Banks) -> Numbers:
    return _dual(network, region, Projections(banks))


def _dual(network: Network, region: Region, projections: Projections | None) -> Numbers:
    relaxed = Relaxed(network, sources=_inputs(region))
    sphere = isinstance(region.ball, L2)
    values = [laid(region.x if sphere else region.centre)]
    # An L_2 ball that the box cuts lies in a box of another centre, too
    aside: dict[int, Moving] = {}
    if sphere and region.cut:
        aside[0] = (region.centre - region.x).unsqueeze(1)

    def ends(place: int) -> Ends:
        if projections is None or place == len(network.nodes):
            found = reaches(relaxed, place)
        else:
            found = estimates(relaxed, place, projections)
        shift = advanced(relaxed, aside, place).squeeze(1) if aside else None
        return _ends(values[place], found, shift)

    for place, node in enumerate(network.nodes, start=1):
        first, *others = (values[each] for each in node.inputs)
        match node.operation:
            case Rectifier():
                d, half = _slopes(*ends(node.inputs[0]))
                relaxed.slopes[place] = d
                relaxed.sources.append(Source(place, half))
                values.append(d * first + half)
            case Addition(second=sign):
                values.append(first + sign * others[0])
            case affine:
                values.append(affine.value(first))
    return ends(len(network.nodes))[0]


def _inputs(region: Region) -> list[Source]:
    """The box that holds the region, the L_2 ball, or both where neither holds the other."""
    like = region.x[:1] if region.radius.dim() == 0 else region.x
    box = Source(0, laid(region.radius.expand_as(like)))
    if not isinstance(region.ball, L2):
        return [box]
    ball = Source(0, torch.full_like(region.x[:1], region.ball.radius), norm=2)
    return [ball, box] if region.cut else [ball]


def _ends(value: Rows, found: list[Moves], shift: Rows | None) -> Ends:
    """The value plus and minus what moves it; where two hold the input, the nearer ends of both."""
    if shift is None:
        reach = sum(found[1:], found[0])
        return value - reach, value + reach
    ball, box, *others = found
    rest = sum(others, torch.zeros_like(value))
    return (
        value + (-ball).maximum(shift - box) - rest,
        value + ball.minimum(shift + box) + rest,
    )


def _slopes(lower: Rows, upper: Rows) -> tuple[Rows, Rows]:
    """d, and -d l / 2 of crossing units: by how much they may move up or down around the slope."""
    crossing = (lower < 0) & (upper > 0)
    d = upper / (upper - lower).masked_fill(~crossing, 1)
    d = d.where(crossing, (lower >= 0).to(d))
    return d, (d * lower / -2).where(crossing, d.new_zeros(()))
