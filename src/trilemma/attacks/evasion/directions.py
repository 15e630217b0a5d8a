"""Directions in which a decision-based attack probes: one bank, shared by all rows."""

import math
from typing import Annotated, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor
from torch.nn import functional as F

from trilemma.attacks.evasion.shrinkage import cosines
from trilemma.core.errors import BadInput
from trilemma.core.types import Rows

Bank: TypeAlias = Float[Tensor, "m d"]
LARGEST = 4096  # directions of a bank
MEMORY = 2**28  # bytes that it may take
SMALLEST = 512  # directions, whatever they take


def bank_size(like: Float[Tensor, "n d"], max_queries: int) -> int:
    """As many as one row can use, within bounds; then they come again."""
    size = like.shape[1] * like.element_size()
    return min(max_queries, LARGEST, max(SMALLEST, MEMORY // max(size, 1)))


def white(count: int, like: Float[Tensor, "n d"], rng: Generator) -> Bank:
    """Uniform on the unit sphere."""
    return unit(_normal((count, like.shape[1]), like, rng))


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

    def sample(self, count: int, shape: torch.Size, like: Tensor, rng: Generator) -> Bank:
        """(count, d) directions of length 1."""
        c, h, w = _image(shape)
        small = (count, c, math.ceil(h / self.factor), math.ceil(w / self.factor))
        noise = _normal(small, like, rng)
        return unit(F.interpolate(noise, size=(h, w), mode="bilinear").flatten(1))


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class DCT:
    """Directions of low frequency under the cosine transform (QEBA-F).

    Args:
        factor: of each side's frequencies the lowest 1 / factor are kept, at least 1.
    """

    factor: Annotated[int, Field(ge=1)] = 4

    def sample(self, count: int, shape: torch.Size, like: Tensor, rng: Generator) -> Bank:
        """(count, d) directions of length 1."""
        c, h, w = _image(shape)
        low, narrow = math.ceil(h / self.factor), math.ceil(w / self.factor)
        noise = _normal((count, c, low, narrow), like, rng)
        rows, columns = cosines(h, like)[:low], cosines(w, like)[:narrow]
        return unit((rows.T @ noise @ columns).flatten(1))


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class PCA:
    """Directions in the span of the principal components of reference rows (QEBA-I).

    The paper takes gradients of a model of the attacker's own; images of the kind work too.

    Args:
        components: how many, at most as many as there are reference rows.
    """

    components: Annotated[int, Field(ge=1)] = 64

    def sample(
        self, count: int, shape: torch.Size, like: Tensor, rng: Generator, reference: Rows | None
    ) -> Bank:
        """(count, d) directions of length 1.

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
        return unit(_normal((count, len(basis)), like, rng) @ basis)


Subspace: TypeAlias = Spatial | DCT | PCA
