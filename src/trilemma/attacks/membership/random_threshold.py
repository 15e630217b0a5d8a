"""A threshold for the boundary attack, from random images (Li & Zhang 2021, algorithm 3)."""

import math
from typing import Annotated, TypeAlias

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor

from trilemma.attacks.membership.boundary_distance import (
    BoundaryDistance,
    Perturbations,
    perturbations,
)
from trilemma.attacks.membership.labels import asked
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.types import Classifier, PerRow, Rows
from trilemma.oracles import Oracle

SOME = 256  # rows a call


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class UniformPixels:
    """Each feature uniform between the ends of the box, as in the paper's section 4.4."""

    def draw(self, like: Rows, box: Box, rng: Generator) -> Rows:
        """Random inputs in the shape of `like`.

        Raises:
            BadInput: the box has no end.
        """
        low, high = (torch.as_tensor(end).to(like).expand(like.shape[1:]) for end in _ends(box))
        if not bool((high - low).isfinite().all()):
            raise BadInput(
                "box",
                f"[{box.low}, {box.high}] has no end, and nothing is uniform in it",
                "Give the box that the inputs live in, or draw GaussianPixels",
            )
        share = torch.rand(like.shape, generator=rng, device=rng.device, dtype=like.dtype)
        return box.clip(low + share.to(like.device) * (high - low))


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class GaussianPixels:
    """Each feature normal and cut to the box, as in the paper's algorithm 3: N(epsilon, beta).

    The paper gives no values; these are ours, for inputs in [0, 1].

    Args:
        mean: epsilon, in the inputs' unit.
        deviation: the root of beta, in the inputs' unit, above 0.
    """

    mean: Annotated[float, Field(allow_inf_nan=False)] = 0.5
    deviation: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.25

    def draw(self, like: Rows, box: Box, rng: Generator) -> Rows:
        """Random inputs in the shape of `like`."""
        normal = torch.randn(like.shape, generator=rng, device=rng.device, dtype=like.dtype)
        return box.clip(self.mean + self.deviation * normal.to(like.device))


def _ends(box: Box) -> tuple[float | Tensor, float | Tensor]:
    return box.low, box.high


Draw: TypeAlias = UniformPixels | GaussianPixels


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class RandomThreshold:
    """A threshold on the distance to the boundary, without any data.

    Random images are taken for non-members; the threshold is an entry of the queue of their
    distances.

    Source: Li & Zhang 2021, section 4.4 and algorithm 3.

    Args:
        samples: random images, at least 1; the paper draws 100.
        percentile: t, in percent, from the top: the queue is in descending order, so that 0 is
            the largest distance (few rows are called members), 100 the smallest (many are). The
            paper's figure 11 finds 30 to 80 about equally good.
        draw: how an image is drawn.
    """

    samples: Annotated[int, Field(ge=1)] = 100
    percentile: Annotated[float, Field(ge=0, le=100)] = 50.0
    draw: Draw = Field(default_factory=UniformPixels)


def random_threshold(
    target: Classifier | Oracle,
    like: Rows,
    config: BoundaryDistance,
    choice: RandomThreshold,
    *,
    box: Box = UNIT,
    rng: Generator,
) -> float:
    """The threshold that random images suggest: the top t percentile of their distances.

    A row is called a member when its distance is larger (algorithm 2, line 10: at the threshold
    itself it is not). Of the random images fewer than t percent are.

    Args:
        target: an oracle or a model, asked for labels alone: once about each random image to
            see what its label is, then as the search wants.
        like: (n, *x) inputs of whose shape, type and device the images are; their values and
            their number do not count, there may be none: `torch.empty(0, 3, 32, 32)`.
        config: search and norm, the same as for the rows to be judged.
        choice: how many images, of which kind, and which of their distances.
        box: the valid inputs.
        rng: draws the images, then the search's randomness.

    Returns:
        The threshold, in the norm and unit of `boundary_distance`.

    Raises:
        BadInput: no random image's label could be turned; uniform images in a box without ends.

    Example:
        >>> from trilemma.attacks.evasion import HopSkipJump
        >>> from trilemma.core.generators import seeded
        >>> from trilemma.oracles import Local
        >>> oracle, like = Local(torch.nn.Identity(), classes=2), torch.empty(0, 2)
        >>> config = BoundaryDistance(search=HopSkipJump(max_queries=200))
        >>> t = random_threshold(oracle, like, config, RandomThreshold(), rng=seeded(0))
        >>> 0.1 < t < 0.3  # half of the unit square lies within 0.207 of its diagonal
        True

    Source:
        Li & Zhang, "Membership leakage in label-only exposures", CCS 2021, algorithm 3.
    """
    found = random_perturbations(target, like, config, choice, box=box, rng=rng)
    return top_percentile(found.scores, choice.percentile)


def random_perturbations(
    target: Classifier | Oracle,
    like: Rows,
    config: BoundaryDistance,
    choice: RandomThreshold,
    *,
    box: Box = UNIT,
    rng: Generator,
) -> Perturbations:
    """How far random images lie from where their label turns, the label that the target gives.

    For thresholds at several percentiles (the paper's figure 11), and to learn from how distances
    shrink with queries (`early_decisions`). Arguments as of `random_threshold`.
    """
    images = like.new_empty(choice.samples, *like.shape[1:])
    images = choice.draw.draw(images, box, rng)
    oracle = asked(target, images)
    y = torch.cat([oracle(some).argmax(1) for some in images.split(SOME)])
    return perturbations(oracle, images, y, config, box=box, rng=rng)


def top_percentile(distances: PerRow, percentile: int | float) -> float:
    """The distance at the top t percent of the queue: fewer than t percent are larger.

    Args:
        distances: (n,) of random images; those that are infinite, where the label could not be
            turned, never enter the queue (algorithm 3, lines 8 and 9).
        percentile: t, in percent, from the largest (0) to the smallest (100).

    Raises:
        BadInput: none is finite.

    Example:
        >>> top_percentile(torch.tensor([1.0, 4.0, 3.0, 2.0]), 50)
        3.0
    """
    queue = distances[distances.isfinite()].sort(descending=True).values
    if len(queue) == 0:
        raise BadInput(
            "random samples",
            f"the label of none of {len(distances)} could be turned",
            "Allow the search more queries, draw other images, or give a threshold",
        )
    place = max(1, math.ceil(percentile * len(queue) / 100))
    return float(queue[place - 1])
