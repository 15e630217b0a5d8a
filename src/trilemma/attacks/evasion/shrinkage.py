"""Less noise in an estimated gradient: shrinkage towards 0 per frequency band (James & Stein)."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trilemma.core.types import PerRow


@dataclass(frozen=True)
class Bands:
    """The frequencies of a (c, h, w) image under the cosine transform, in rings of like frequency.

    Args:
        rows: (h, h) orthonormal cosine transform along the height.
        columns: (w, w) along the width.
        ring: (h w,) the ring of each frequency, that of radius r holding r - 1/2 to r + 1/2.
        sizes: frequencies in each ring.
        channels: c.
    """

    rows: Float[Tensor, "h h"]
    columns: Float[Tensor, "w w"]
    ring: Int[Tensor, " hw"]
    sizes: Float[Tensor, " r"]
    channels: int


def bands_of(shape: torch.Size, like: Tensor) -> Bands | None:
    """For images; None for other inputs, whose features have no neighbourhood."""
    if len(shape) != 3 or min(shape[1:]) < 2:
        return None
    channels, h, w = shape
    i, j = torch.arange(h).view(-1, 1) / h, torch.arange(w).view(1, -1) / w
    ring = (max(h, w) * (i.square() + j.square()).sqrt()).round().long().flatten()
    sizes = torch.bincount(ring).to(like)
    return Bands(cosines(h, like), cosines(w, like), ring.to(like.device), sizes, channels)


def cosines(n: int, like: Tensor) -> Float[Tensor, "n n"]:
    """The orthonormal cosine transform (DCT-II); row k has frequency k.

    Example:
        >>> m = cosines(4, torch.zeros(1, dtype=torch.float64))
        >>> torch.allclose(m @ m.T, torch.eye(4, dtype=torch.float64))
        True
    """
    k = torch.arange(n, dtype=torch.float64)
    table = torch.cos(math.pi * (k + 0.5) * k.view(-1, 1) / n) * math.sqrt(2 / n)
    table[0] /= math.sqrt(2)
    return table.to(like)


def shrink(estimate: Float[Tensor, "n d"], variance: PerRow, bands: Bands) -> Float[Tensor, "n d"]:
    r"""Each band of an estimate, scaled by the share of its energy that noise does not explain.

    .. math:: \hat g_b = \max(0, 1 - \sigma^2 n_b / \|v_b\|^2)\, v_b,

    the positive-part shrinkage of a mean of n_b coordinates with noise of variance sigma^2 each.
    Where a gradient's energy lies in few bands, as it does for images, most of the noise goes;
    where it is spread evenly, all bands shrink alike and the direction stays.

    Args:
        estimate: the gradient plus white noise.
        variance: of the noise in one coordinate of each row.
        bands: of the inputs' shape.

    Returns:
        The shrunk estimate; a row that noise explains altogether comes back as it was.
    """
    h, w = len(bands.rows), len(bands.columns)
    waves = bands.rows @ estimate.view(-1, bands.channels, h, w) @ bands.columns.T
    energy = estimate.new_zeros(len(estimate), len(bands.sizes)).index_add_(
        1, bands.ring, waves.square().sum(1).flatten(1)
    )
    noise = variance.view(-1, 1) * bands.channels * bands.sizes
    kept = (1 - noise / energy.clamp(min=torch.finfo(energy.dtype).tiny)).clamp(min=0)
    waves = waves * kept[:, bands.ring].view(-1, 1, h, w)
    quiet = (bands.rows.T @ waves @ bands.columns).reshape(estimate.shape)
    return torch.where(kept.amax(1, keepdim=True) > 0, quiet, estimate)


__all__ = ["Bands", "bands_of", "cosines", "shrink"]
