"""Zonotopes: affine forms with a new noise symbol for every ReLU that is not stable."""

from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass

from trilemma.bounds.affine_forms import Form, lower_bounds
from trilemma.bounds.generators import Spikes
from trilemma.bounds.interval import Ends
from trilemma.bounds.network import Network
from trilemma.bounds.operations import Numbers
from trilemma.bounds.region import Region


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Zonotope:
    r"""Zonotope bounds (DeepZ).

    .. math:: \{ c + \sum_i \epsilon_i g_i : |\epsilon_i| \le 1 \}

    Affine layers and sums of branches are exact. A ReLU whose input reaches from :math:`l < 0`
    to :math:`u > 0` lies in the parallelogram of least area, with a symbol of its own:

    .. math:: \lambda z + \mu + \mu \epsilon, \quad \lambda = \frac{u}{u - l}, \quad
              \mu = -\frac{\lambda l}{2}

    In an L_2 ball the input's symbols lie together in the unit ball. The bounds are those of
    Wong & Kolter's dual and of Fast-Lin, which compute them backwards.

    Source:
        Singh et al., "Fast and effective robustness certification", 2018.
    """

    REVISION: ClassVar[int] = 1


def zonotope(config: Zonotope, network: Network, region: Region) -> Numbers:
    """Lower bounds of the network's outputs, (n, m)."""
    return lower_bounds(network, region, _rectified, growing=True)


def _rectified(form: Form, ends: Ends, place: int) -> Form:
    lower, upper = ends
    crossing = (lower < 0) & (upper > 0)
    width = torch.where(crossing, upper - lower, 1)
    slope = torch.where(crossing, upper / width, (lower >= 0).to(lower))
    shift = torch.where(crossing, -slope * lower / 2, 0)
    index = crossing.flatten(1).any(0).nonzero().squeeze(1)
    after = form.scaled(slope, shift)
    return after.joined(place, Spikes(index, shift)) if len(index) else after
