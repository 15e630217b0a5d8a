"""Bounds of a network's answers over all inputs in a ball: the public functions and the table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.bounds.crown import Crown, CrownIBP, FastLin, crown, crown_ibp, fast_lin
from trilemma.bounds.dual import Dual, dual
from trilemma.bounds.hybrid_zonotope import HybridZonotope, hybrid_zonotope
from trilemma.bounds.interval import Interval, interval
from trilemma.bounds.network import Network
from trilemma.bounds.operations import Numbers
from trilemma.bounds.region import Region, region_of
from trilemma.bounds.tracing import read
from trilemma.bounds.zonotope import Zonotope, zonotope
from trilemma.core.balls import L2, Ball, Linf
from trilemma.core.box import Box
from trilemma.core.errors import BadInput
from trilemma.core.modes import evaluating
from trilemma.core.pace import Pace, usual
from trilemma.core.types import Labels, Logits, Rows

Domain: TypeAlias = Interval | Zonotope | HybridZonotope | CrownIBP | Crown | FastLin | Dual
INTERVAL = Interval()

# Lower bounds of a network's outputs over a region
BOUNDS: Mapping[type[Domain], Callable[[Any, Network, Region], Numbers]] = {
    Interval: interval,
    Zonotope: zonotope,
    HybridZonotope: hybrid_zonotope,
    CrownIBP: crown_ibp,
    Crown: crown,
    FastLin: fast_lin,
    Dual: dual,
}


@dataclass(frozen=True)
class Bounds:
    """lower <= logits <= upper for every input of the region.

    Args:
        lower: (n, k).
        upper: (n, k).
    """

    lower: Logits
    upper: Logits


def output_bounds(
    model: object,
    x: Rows,
    ball: Ball,
    domain: Domain = INTERVAL,
    box: Box | None = None,
    *,
    batch: int | None = None,
) -> Bounds:
    """Bounds of every logit over all inputs in a ball around each row, and in the box.

    Differentiable in the model's weights. The model is taken in eval mode.

    Args:
        model: an `nn.Module` of the layers that `trilemma.bounds.tracing` names, logits out.
        x: (n, *s) inputs.
        ball: norm and radius.
        domain: how the bounds are found.
        box: the valid inputs; None for all.
        batch: rows at a time; None takes what is usual for the device.

    Raises:
        BadInput: a layer is not supported; a row is outside the box.

    Example:
        >>> from trilemma.core.balls import Linf
        >>> layer = torch.nn.Linear(2, 1)
        >>> _ = layer.weight.data.copy_(torch.tensor([[1.0, -2.0]])), layer.bias.data.zero_()
        >>> bounds = output_bounds(layer, torch.zeros(1, 2), Linf(0.5))
        >>> [round(end.item(), 3) for end in (bounds.lower, bounds.upper)]
        [-1.5, 1.5]
    """
    _check(ball, domain, box)
    network, parts = _begun(model, x, ball, box, batch)
    k = network.outputs
    identity = torch.eye(k, dtype=x.dtype, device=x.device)
    both = network.combined(torch.cat([identity, -identity]).unsqueeze(0))
    with evaluating(model):
        found = _widened(torch.cat([_bounds(domain)(domain, both, each) for each in parts]))
    return Bounds(found[:, :k], -found[:, k:])


def margins(
    model: object,
    x: Rows,
    y: Labels,
    ball: Ball,
    domain: Domain = INTERVAL,
    box: Box | None = None,
    *,
    batch: int | None = None,
) -> Logits:
    """Lower bounds of logit_y - logit_j over all inputs in a ball around each row; 0 at j = y.

    A row whose margins are all positive but its own keeps its label whatever is done to it
    within the ball. Tighter than the difference of `output_bounds`.

    Args:
        model: as `output_bounds`.
        x: (n, *s) inputs.
        y: (n,) labels.
        ball: norm and radius.
        domain: how the bounds are found.
        box: the valid inputs; None for all.
        batch: rows at a time; None takes what is usual for the device.

    Returns:
        (n, k), in the logits' unit.

    Raises:
        BadInput: a layer is not supported; a row is outside the box; a label is not one of the k.
    """
    _check(ball, domain, box)
    network, parts = _begun(model, x, ball, box, batch)
    k = network.outputs
    if y.shape != x.shape[:1] or (len(y) and not 0 <= int(y.min()) <= int(y.max()) < k):
        raise BadInput("y", f"has shape {tuple(y.shape)} or labels that are none of {k} classes")
    contrast = _contrast(y, k, x)  # in the place of y's own margin, which is 0, and beyond: logits
    with evaluating(model):
        rows = contrast.split([len(each.x) for each in parts])
        found = torch.cat(
            [
                _bounds(domain)(domain, network.combined(part), each)
                for each, part in zip(parts, rows, strict=True)
            ]
        )
    return _widened(found)[:, :k].scatter(1, y.view(-1, 1), 0.0)


def _begun(
    model: object, x: Rows, ball: Ball, box: Box | None, batch: int | None
) -> tuple[Network, list[Region]]:
    if len(x) == 0:
        raise BadInput("x", "has no rows", "Give at least one")
    network = read(model, x)
    if len(network.nodes[-1].shape) != 1:
        shape = tuple(network.nodes[-1].shape)
        raise BadInput("model", f"answers each row with shape {shape}", "Logits are a vector")
    region = region_of(x, ball, box)
    pace = usual(x) if batch is None else Pace(batch)
    return network, [region.rows(part) for part in pace.slices(len(x))]


def _bounds(domain: Domain) -> Callable[[Any, Network, Region], Numbers]:
    return BOUNDS[type(domain)]


def _check(ball: object, domain: object, box: object) -> None:
    """Refuse what is of another kind, as a class in place of its instance."""
    if type(domain) not in BOUNDS:
        known = ", ".join(f"{kind.__name__}()" for kind in BOUNDS)
        raise BadInput("domain", f"is {domain!r}", f"Give one of {known}")
    if not isinstance(ball, Linf | L2):
        raise BadInput("ball", f"is {ball!r}", "Give Linf(radius) or L2(radius)")
    if box is not None and not isinstance(box, Box):
        raise BadInput("box", f"is {box!r}", "Give Box(low, high), or None for all inputs")


def _contrast(y: Labels, k: int, like: Tensor) -> Float[Tensor, "n m k"]:
    """Row j of each: logit_y - logit_j; but row y: logit_y, and one more, k: -logit_y.

    These two tell how large the numbers are whose difference a margin is, since its rounding is
    theirs: 10.01 - 10 is 0.01 give or take the rounding of 10.
    """
    identity = torch.eye(k, dtype=like.dtype, device=like.device)
    own = identity[y].unsqueeze(1)
    compared = own - identity * (1 - own.mT)  # in row y nothing is subtracted
    return torch.cat([compared, -own], dim=1)


ULPS = 64  # by which bounds give way to rounding, of the row's largest; 17 were seen


def _widened(lower: Numbers) -> Numbers:
    """Below what rounding may have added in the last layers."""
    largest = lower.detach().abs().amax(1, keepdim=True)
    return lower - ULPS * torch.finfo(lower.dtype).eps * largest
