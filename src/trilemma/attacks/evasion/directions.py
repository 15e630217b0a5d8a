"""Directions in which a decision-based attack probes, the same for every row."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor
from torch.nn import functional as F

from trilemma.attacks.evasion.shrinkage import cosines
from trilemma.core.errors import BadInput
from trilemma.core.generators import draw_seed, seeded
from trilemma.core.types import Rows

Bank: TypeAlias = Float[Tensor, "m d"]
Directions: TypeAlias = Callable[[int, int], Bank]  # (place of the first, how many)
Sample: TypeAlias = Callable[[int, Generator], Bank]
BLOCK = 2**21  # bytes that are drawn at once, about
KEPT = 4  # blocks


def endless(sample: Sample, like: Float[Tensor, "n d"], rng: Generator) -> Directions:
    """Directions without end, the same whoever asks for them, in bounded memory.

    They are drawn in blocks, each from a seed of its own; blocks that were used last are kept.

    Args:
        sample: draws so many.
        like: rows of as many features.
        rng: draws the seed.
    """
    rows = max(16, BLOCK // max(like.shape[1] * like.element_size(), 1))
    seed, device = draw_seed(rng), rng.device

    @lru_cache(maxsize=KEPT)
    def block(index: int) -> Bank:
        return sample(rows, seeded((seed + index) % 2**62, device))

    def directions(start: int, many: int) -> Bank:
        parts = []
        for index in range(start // rows, (start + many - 1) // rows + 1):
            low, high = max(start - index * rows, 0), min(start + many - index * rows, rows)
            parts.append(block(index)[low:high])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    return directions


def after(first: Directions, count: int, then: Directions) -> Directions:
    """`count` of the one, all further ones of the other."""

    def directions(start: int, many: int) -> Bank:
        inside = min(max(count - start, 0), many)
        if inside == many:
            return first(start, many)
        rest = then(start + inside - count, many - inside)
        return rest if inside == 0 else torch.cat([first(start, inside), rest])

    return directions


def white(count: int, like: Float[Tensor, "n d"], rng: Generator) -> Bank:
    """Uniform on the unit sphere."""
    return unit(_normal((count, like.shape[1]), like, rng))


def whole(like: Float[Tensor, "n d"], rng: Generator) -> Directions:
    """Directions of the whole space, without end."""
    return endless(lambda count, rng: white(count, like, rng), like, rng)


def unit(rows: Bank) -> Bank:
    """The same directions, of length 1."""
    return F.normalize(rows, dim=1, eps=torch.finfo(rows.dtype).tiny)


def _normal(shape: tuple[int, ...], like: Tensor, rng: Generator) -> Tensor:
    drawn = torch.randn(shape, generator=rng, device=rng.device, dtype=like.dtype)
    return drawn.to(like.device)


def _image(shape: torch.Size) -> tuple[int, int, int]:
    """Inputs as images; features without rows and columns are one row of pixels."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return 1, 1, math.prod(shape)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Spatial:
    """Smooth directions: small noise images, enlarged bilinearly (QEBA-S).

    Args:
        factor: by which each side is enlarged, at least 1.
    """

    factor: Annotated[int, Field(ge=1)] = 4

    def sampler(self, shape: torch.Size, like: Tensor, reference: Rows | None) -> Sample:
        """Draws directions of length 1; needs no reference rows."""
        c, h, w = _image(shape)
        small = c, math.ceil(h / self.factor), math.ceil(w / self.factor)

        def sample(count: int, rng: Generator) -> Bank:
            noise = _normal((count, *small), like, rng)
            return unit(F.interpolate(noise, size=(h, w), mode="bilinear").flatten(1))

        return sample


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class DCT:
    """Directions of low frequency under the cosine transform (QEBA-F).

    Args:
        factor: of each side's frequencies the lowest 1 / factor are kept, at least 1.
    """

    factor: Annotated[int, Field(ge=1)] = 4

    def sampler(self, shape: torch.Size, like: Tensor, reference: Rows | None) -> Sample:
        """Draws directions of length 1; needs no reference rows."""
        c, h, w = _image(shape)
        low, narrow = math.ceil(h / self.factor), math.ceil(w / self.factor)
        rows, columns = cosines(h, like)[:low], cosines(w, like)[:narrow]

        def sample(count: int, rng: Generator) -> Bank:
            noise = _normal((count, c, low, narrow), like, rng)
            return unit((rows.T @ noise @ columns).flatten(1))

        return sample


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class PCA:
    """Directions in the span of the principal components of reference rows (QEBA-I).

    The paper takes gradients of a model of the attacker's own; images of the kind work too.

    Args:
        components: how many, at most as many as there are reference rows.
    """

    components: Annotated[int, Field(ge=1)] = 64

    def sampler(self, shape: torch.Size, like: Tensor, reference: Rows | None) -> Sample:
        """Draws directions of length 1.

        Raises:
            BadInput: no reference rows, or of another shape.
        """
        if reference is None or reference.shape[1:] != shape or len(reference) < 2:
            got = None if reference is None else tuple(reference.shape)
            raise BadInput(
                "reference",
                f"is {got}; the principal components are those of such rows",
                f"Give at least 2 rows of shape {tuple(shape)}: gradients, or inputs of the kind",
            )
        rows = reference.to(like).flatten(1)
        basis = torch.linalg.svd(rows - rows.mean(0), full_matrices=False).Vh
        basis = basis[: min(self.components, len(rows) - 1)]

        def sample(count: int, rng: Generator) -> Bank:
            return unit(_normal((count, len(basis)), like, rng) @ basis)

        return sample


Subspace: TypeAlias = Spatial | DCT | PCA
