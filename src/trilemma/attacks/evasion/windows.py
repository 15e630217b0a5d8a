"""Windows of an image, and what fills them: the draws of the Square attack."""

import math
from functools import lru_cache
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional as F

Window: TypeAlias = tuple[slice, slice, slice]  # all inputs; of the image's rows; of its columns
EVERYWHERE: Window = (slice(None), slice(None), slice(None))
LEAST = 3  # side of the smallest window for L2


def sides(p: float, h: int, w: int) -> tuple[int, int]:
    """Of a window with the share `p` of an image's pixels; a square, unless the image is flat.

    Example:
        >>> sides(0.8, 28, 28), sides(0.5, 1, 10), sides(1e-9, 28, 28)
        ((25, 25), (1, 5), (1, 1))
    """
    a = min(max(round(math.sqrt(p * h * w)), 1), h)
    return a, min(max(round(p * h * w / a) if a == h < w else a, 1), w)


def odd(side: int, most: int) -> int:
    """Windows for L2 have a middle, where the image has room."""
    side = max(side, LEAST)
    side += 1 - side % 2
    return side if side <= most else most - (1 - most % 2) * (most > 1)


def bumps_of(windows: list[tuple[int, int]], signs: Tensor, rng: Generator) -> list[Tensor]:
    """Of each window and channel; the windows of one size and stand share theirs."""
    turned = torch.rand(len(signs), generator=rng, device=rng.device).lt(0.5).tolist()
    shapes = list(zip(windows, turned, strict=True))
    bumps = {
        (side, turn): pyramids(*side, turned=turn).to(signs).unsqueeze(-1)
        for side, turn in set(shapes)
    }
    return [bumps[shape] * sign for shape, sign in zip(shapes, signs, strict=True)]


def signs_of(shape: tuple[int, ...], like: Tensor, rng: Generator) -> Tensor:
    """+1 and -1 with equal chances, with the type and device of `like`."""
    drawn = torch.randint(0, 2, shape, generator=rng, device=rng.device)
    return (2 * drawn - 1).to(like)


def windows_of(sides: list[tuple[int, int]], h: int, w: int, rng: Generator) -> list[Window]:
    """A window of each size, anywhere in the image with equal chances."""
    u = torch.rand(len(sides), 2, generator=rng, device=rng.device, dtype=torch.float64).tolist()
    corners = [
        (int(p * (h - a + 1)), int(q * (w - b + 1)))
        for (p, q), (a, b) in zip(u, sides, strict=True)
    ]
    return [
        (slice(None), slice(i, i + a), slice(j, j + b))
        for (i, j), (a, b) in zip(corners, sides, strict=True)
    ]


@lru_cache(maxsize=64)
def pyramids(a: int, b: int, *, turned: bool) -> Float[Tensor, "a b"]:
    r"""Two pyramids of opposite sign beside one another, of norm 1 together.

    .. math:: \eta_{r,s} = \sum_{k=m}^{M} (k + 1)^{-2},

    m the distance of pixel (r, s) from the middle in the maximum norm, M the largest of all.

    Args:
        a: rows of the window.
        b: columns.
        turned: the pyramids stand left and right, not one above the other; so they do anyway in a
            window of one row.

    Example:
        >>> pyramids(1, 2, turned=False) * 2**0.5
        tensor([[ 1., -1.]], dtype=torch.float64)

    Source:
        Andriushchenko et al. 2020, section 3.4.
    """
    if a == b == 1:
        return _pyramid(a, b)
    if (turned and b > 1) or a == 1:
        two = torch.cat([_pyramid(a, b // 2), -_pyramid(a, b - b // 2)], dim=1)
    else:
        two = torch.cat([_pyramid(a // 2, b), -_pyramid(a - a // 2, b)])
    return _unit(two)


def _pyramid(a: int, b: int) -> Float[Tensor, "a b"]:
    r, s = (torch.arange(a) - a // 2).abs(), (torch.arange(b) - b // 2).abs()
    far = torch.maximum(r.view(-1, 1), s)
    terms = torch.arange(1, max(a // 2, b // 2) + 2, dtype=torch.float64) ** -2
    eta = terms.flip(0).cumsum(0).flip(0)[far]
    return _unit(eta)


def _unit(bump: Float[Tensor, "a b"]) -> Float[Tensor, "a b"]:
    return F.normalize(bump.flatten(), dim=0).view_as(bump)
