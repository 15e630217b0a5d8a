"""Boundary attacks that decide: distances of random images, and decisions taken early."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trilemma.attacks.membership import (
    BoundaryDistance,
    EarlyDecisions,
    RandomThreshold,
    decided,
    prepared,
    random_perturbations,
)
from trilemma.core.box import Box
from trilemma.core.generators import seeded
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.parts import chosen
from trilemma.experiments.searching import searched
from trilemma.experiments.stages import UNCOUNTED, Parts, Source, candidates, restore, stream
from trilemma.oracles import Local, Oracle

KEPT = ("score", "certain", "queries", "saved")


@dataclass(frozen=True, kw_only=True)
class RandomImages(Stage):
    """How far random images lie from where a model's label turns."""

    REVISION: ClassVar[int] = 1
    split: Parts
    source: Source
    attack: BoundaryDistance
    choice: RandomThreshold
    box: Box
    seed: int
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"ask {self.name} about random images, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Array `distance` (samples,). Facts: `queries` that they cost together."""
        model = restore(self.source, self.split, bench)
        parts = bench.load(self.split)
        like = torch.empty(0, *parts.arrays["members_x"].shape[1:])
        oracle = Local(model, classes=int(parts.facts["classes"]))
        rng = seeded(stream("random images", self.seed))
        found = random_perturbations(oracle, like, self.attack, self.choice, box=self.box, rng=rng)
        spent = int(found.boundary.queries.sum()) + self.choice.samples  # for their labels
        return Artifact(arrays={"distance": found.scores.numpy()}, facts={"queries": spent})


@dataclass(frozen=True, kw_only=True)
class Decide(Stage):
    """Run the boundary attack with early decisions on members and non-members.

    Args:
        rows: at most so many of the members, and of the non-members.
    """

    REVISION: ClassVar[int] = 1
    split: Parts
    source: Source
    attack: EarlyDecisions
    rows: int
    box: Box
    seed: int
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"attack {self.name} by {type(self.attack).__name__}, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays `row` (where each stands among `candidates`), `member`, `score` (as `Decided`),
        `certain`, `queries` and `saved` (n,).

        Facts: `threshold`, from which on a score is a member's; `bound`, the same for distances;
        `prepared`, queries about random images; `budget` of a row.
        """
        model = restore(self.source, self.split, bench)
        parts = bench.load(self.split)
        x, y, member = candidates(parts)
        row = chosen(member, self.rows, stream("searched", self.seed))
        oracle = Local(model, classes=int(parts.facts["classes"]))
        rng = seeded(stream("random images", self.seed))
        before = prepared(oracle, x[:0], self.attack, box=self.box, rng=rng)

        def search(target: Oracle, x: Tensor, y: Tensor) -> Mapping[str, NDArray[Any]]:
            rng = seeded(stream("attack", self.seed))
            found = decided(target, x, y, self.attack, before, box=self.box, rng=rng)
            return {name: getattr(found, name).numpy() for name in KEPT}

        budget = self.attack.attack.search.max_queries
        arrays = searched(bench, oracle, x[row], y[row], search, most=budget)
        facts = {
            "threshold": float(np.nextafter(before.threshold, np.inf)),  # itself, it is no member
            "bound": before.threshold,
            "prepared": before.queries,
            "budget": budget,
        }
        return Artifact(arrays={"row": row, "member": member[row], **arrays}, facts=facts)
