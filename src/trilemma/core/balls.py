"""Norm balls: convex sets of perturbations around 0, applied row by row."""

import math
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import torch
from annotated_types import Ge
from torch import Generator, Tensor

from trilemma.core.errors import BadInput
from trilemma.core.types import Rows


def _check(radius: float) -> None:
    if not (math.isfinite(radius) and radius >= 0):
        raise BadInput("radius", f"must be a finite number >= 0; got {radius!r}")


@dataclass(frozen=True)
class Linf:
    """max_i |delta_i| <= radius, in the inputs' own unit."""

    radius: Annotated[float, Ge(0)]

    def __post_init__(self) -> None:
        _check(self.radius)

    def project(self, delta: Rows) -> Rows:
        """Nearest point of the set."""
        return delta.clamp(-self.radius, self.radius)

    def steepest(self, gradient: Rows) -> Rows:
        """Step d of norm 1 that maximises <gradient, d>."""
        return gradient.sign()

    def sample(self, like: Rows, rng: Generator) -> Rows:
        """Uniform draw from the set, with the shape, type and device of `like`."""
        return torch.empty_like(like).uniform_(-self.radius, self.radius, generator=rng)


@dataclass(frozen=True)
class L2:
    """sqrt(sum_i delta_i^2) <= radius."""

    radius: Annotated[float, Ge(0)]

    def __post_init__(self) -> None:
        _check(self.radius)

    def project(self, delta: Rows) -> Rows:
        """Nearest point of the set."""
        return delta * (self.radius / _divisors(delta)).clamp(max=1.0)

    def steepest(self, gradient: Rows) -> Rows:
        """Step d of norm 1 (0 where the gradient is 0) that maximises <gradient, d>."""
        return gradient / _divisors(gradient)

    def sample(self, like: Rows, rng: Generator) -> Rows:
        """Uniform draw from the set: a uniform direction, a radius u^(1/d)."""
        direction = self.steepest(torch.empty_like(like).normal_(generator=rng))
        u = torch.empty_like(like[:, :1].flatten(1)[:, :1]).uniform_(generator=rng)
        size = self.radius * u.pow(1 / like[0].numel()) if len(like) else u
        return direction * size.view(-1, *[1] * (like.dim() - 1))


Ball: TypeAlias = Linf | L2


def _divisors(rows: Rows) -> Tensor:
    """The norms, shaped to go with the rows; 1 for a row of zeros, in any floating type."""
    norms: Tensor = rows.flatten(1).norm(dim=1)
    return norms.masked_fill(norms == 0, 1).view(-1, *[1] * (rows.dim() - 1))
