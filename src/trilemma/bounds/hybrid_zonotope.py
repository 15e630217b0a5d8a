"""Hybrid zonotopes: affine forms whose symbols are the input's alone, and a box."""

from typing import ClassVar, TypeAlias

import torch
from pydantic.dataclasses import dataclass

from trilemma.bounds.affine_forms import BOX, Form, lower_bounds
from trilemma.bounds.generators import Apart
from trilemma.bounds.interval import Ends
from trilemma.bounds.network import Network
from trilemma.bounds.operations import Numbers
from trilemma.bounds.region import Region
from trilemma.core.types import Rows


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Boxed:
    r"""zBox: a ReLU that is not stable keeps nothing but its range :math:`[0, u]`."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Diagonal:
    r"""zDiag: a ReLU that is not stable adds an error in :math:`[0, -l]` to its input."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Switched:
    r"""zSwitch: of zBox and zDiag the one of less area in the plane of input and output.

    The areas are :math:`u (u - l)` and :math:`-l (u - l)`: zBox where :math:`-l > u`.
    """


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Smooth:
    r"""zSmooth: zBox and zDiag mixed, with weights :math:`-l / (u - l)` and :math:`u / (u - l)`."""


Rectification: TypeAlias = Boxed | Diagonal | Switched | Smooth


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class HybridZonotope:
    r"""Hybrid zonotope bounds: noise symbols for the input, a box for what ReLUs add.

    .. math:: \{ c + B \beta + \sum_i \epsilon_i g_i : |B_j|, |\epsilon_i| \le 1 \}, \quad
              z = W x + b: \; (W c + b, \; |W| \beta, \; W g_i)

    With the share t of zBox in the mix of zBox and zDiag, a ReLU whose input reaches from
    :math:`l < 0` to :math:`u > 0` is

    .. math:: (1 - t)(c, \beta, g_i) + (\mu, \mu, 0), \quad
              \mu = \tfrac12 (t u - (1 - t) l)

    There are as many symbols as input features, however deep the network: cheaper than a
    zonotope, and never wider than intervals with zBox (in an L_2 ball that the box cuts, each may
    be the tighter). Without the symbols it is the interval domain.

    Args:
        relu: what becomes of a ReLU that is not stable. The default is what the authors' tool
            takes, and the only one that never goes below 0 there.

    Source:
        Mirman, Gehr, Vechev, "Differentiable abstract interpretation for provably robust neural
        networks", 2018.
    """

    REVISION: ClassVar[int] = 1

    relu: Rectification = Boxed()


def hybrid_zonotope(config: HybridZonotope, network: Network, region: Region) -> Numbers:
    """Lower bounds of the network's outputs, (n, m)."""

    def rectified(form: Form, ends: Ends, place: int) -> Form:
        return _rectified(config.relu, form, ends)

    return lower_bounds(network, region, rectified, growing=False)


def _rectified(how: Rectification, form: Form, ends: Ends) -> Form:
    lower, upper = ends
    crossing = (lower < 0) & (upper > 0)
    share = _share(how, lower, upper, torch.where(crossing, upper - lower, 1))
    slope = torch.where(crossing, 1 - share, (lower >= 0).to(lower))
    shift = torch.where(crossing, (share * upper - (1 - share) * lower) / 2, 0)
    return form.scaled(slope, shift).joined(BOX, Apart(shift))


def _share(how: Rectification, lower: Rows, upper: Rows, width: Rows) -> Rows:
    """Of zBox, where a ReLU is not stable."""
    match how:
        case Boxed():
            return torch.ones_like(lower)
        case Diagonal():
            return torch.zeros_like(lower)
        case Switched():
            return (-lower > upper).to(lower)
        case Smooth():
            return -lower / width
