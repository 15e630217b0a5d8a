"""The path on which a boundary attack finds its nearest point (Li & Zhang 2021, figure 12d)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trilemma.attacks.evasion import BOUNDARY_ATTACKS, QEBA, HopSkipJump
from trilemma.core.box import Box
from trilemma.core.generators import seeded
from trilemma.core.pace import usual
from trilemma.core.types import Labels, Probs, Rows
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.budgets import NORMS, thinned
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.parts import part
from trilemma.experiments.planes import Frame, regions
from trilemma.experiments.stages import UNCOUNTED, Parts, Source, restore, stream
from trilemma.oracles import Local, Oracle

Points: TypeAlias = NDArray[np.float64]
Walker: TypeAlias = HopSkipJump | QEBA
STEPS = 60  # of a path, at most
WORTH = 0.01  # a point is a step if it is nearer by this share
MARGIN = 0.25  # around the path, as a share of its length


@dataclass
class Watched:
    """An oracle that remembers the points by which an attack on one row came nearer.

    The attack is not touched: what it asks, and in which order, is all that is looked at.

    Args:
        inner: what answers.
        x: (*x) the row.
        label: its label.
        norm: of the distance, 2 or infinity.

    Attributes:
        asked: rows so far.
        found: (query, distance, point) of each point of another label that was nearer to the row
            than all before it.
    """

    inner: Oracle
    x: Tensor
    label: int
    norm: float
    asked: int = field(default=0, init=False)
    found: list[tuple[int, float, Tensor]] = field(default_factory=list, init=False)

    @property
    def classes(self) -> int:
        """How many classes an answer covers."""
        return self.inner.classes

    def __call__(self, x: Rows) -> Probs:
        """(n, classes) probabilities, as `inner` answers."""
        answers = self.inner(x)
        away = torch.linalg.vector_norm((x - self.x).flatten(1), ord=self.norm, dim=1)
        away = away.where(answers.argmax(1) != self.label, math.inf).double()
        least = torch.tensor([self.found[-1][1] if self.found else math.inf], dtype=away.dtype)
        before = torch.cat([least, away]).cummin(0).values[:-1]
        for place in (away < before).nonzero().flatten().tolist():
            self.found.append((self.asked + place + 1, float(away[place]), x[place].clone()))
        self.asked += len(x)
        return answers


@dataclass(frozen=True, kw_only=True)
class Trace(Stage):
    """The points by which HopSkipJump and QEBA come nearer to some members, in a plane.

    A plane goes through the member and the last point, and along the direction at right angles
    to both in which the points before it lie apart most. The model is asked about a grid of it,
    also where that leaves the valid inputs.

    Args:
        searches: the attacks.
        rows: members, drawn by the seed among those that the model is right about.
    """

    REVISION: ClassVar[int] = 1
    split: Parts
    source: Source
    searches: tuple[Walker, ...]
    rows: int
    box: Box
    seed: int
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"follow searches on {self.name}, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Facts: `paths`, of each `row` (among the members) and `search` as `_path` has it."""
        model = restore(self.source, self.split, bench)
        parts = bench.load(self.split)
        members = part(parts, "members")
        oracle = Local(model, classes=int(parts.facts["classes"]))
        right = (oracle(members.x).argmax(1) == members.y).numpy()
        order = np.random.default_rng(stream("trace", self.seed)).permutation(len(right))
        chosen = order[right[order]][: self.rows].tolist()
        if not chosen:
            return Artifact(
                facts={"paths": [], "not_evaluable": "the model is right about no member"}
            )
        asked = [(row, search) for row in chosen for search in self.searches]
        paths = []
        for done, (row, search) in enumerate(asked):
            bench.progress(done, len(asked))
            found = self._path(oracle, members.x[row : row + 1], members.y[row : row + 1], search)
            paths.append({"row": row, "label": int(members.y[row]), **found})
        return Artifact(facts={"paths": paths})

    def _path(self, oracle: Local, x: Rows, y: Labels, search: Walker) -> dict[str, Any]:
        """`search`, `norm`, `spent` (queries) and either `not_evaluable` or the path: `queries`,
        `distance`, coordinates `along` and `across`, distance `aside` from the plane, `plane`.
        """
        rng = seeded(stream("attack", self.seed))
        watched = Watched(oracle, x[0], int(y), search.norm)
        attack = BOUNDARY_ATTACKS[type(search)]
        attack(watched, x, y, search, box=self.box, rng=rng, batch=usual(x).rows)
        about: dict[str, Any] = {"search": type(search).__name__, "norm": NORMS[search.norm]}
        about["spent"] = watched.asked
        if not watched.found:
            return {**about, "not_evaluable": "no point with another label was found"}
        steps = list(_steps(watched.found))
        points = torch.stack([point for _, _, point in steps]).flatten(1).double().numpy()
        plane = Plane.through(x.flatten().double().numpy(), points, self.seed)
        place, aside = plane.of(points)
        frame = _around(place)

        def label_of(asked: Points) -> NDArray[np.int64]:
            rows = torch.from_numpy(plane.back(asked)).to(x).view(-1, *x.shape[1:])
            return oracle(rows).argmax(1).numpy()

        return {
            **about,
            "queries": [query for query, _, _ in steps],
            "distance": [_short(distance) for _, distance, _ in steps],
            "along": [_short(each) for each in place[:, 0]],
            "across": [_short(each) for each in place[:, 1]],
            "aside": [_short(each) for each in aside],
            "plane": regions(frame, label_of),
        }


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane in the space of inputs.

    Args:
        origin: (d,).
        axes: (2, d) of length 1, at right angles.
    """

    origin: Points
    axes: Points

    @classmethod
    def through(cls, origin: Points, points: Points, seed: int) -> "Plane":
        """The plane of `Trace`: through `origin` and the last point, and near the others.

        Args:
            origin: (d,).
            points: (m, d), the last one another than `origin`.
            seed: of the second direction, where all points lie on a line.
        """
        moved = points - origin
        along = moved[-1] / np.linalg.norm(moved[-1])
        aside = moved - np.outer(moved @ along, along)
        if np.linalg.norm(aside) <= 1e-9 * np.linalg.norm(moved):
            drawn = np.random.default_rng(seed).normal(size=len(origin))
            aside = (drawn - (drawn @ along) * along)[None]
        across = np.linalg.svd(aside, full_matrices=False)[2][0]
        across -= (across @ along) * along
        across /= np.linalg.norm(across)
        sign = 1.0 if aside[0] @ across >= 0 else -1.0
        return cls(origin, np.stack([along, sign * across]))

    def of(self, points: Points) -> tuple[Points, Points]:
        """(m, 2) coordinates of points, and (m,) how far they are from the plane."""
        moved = points - self.origin
        place = moved @ self.axes.T
        return place, np.linalg.norm(moved - place @ self.axes, axis=1)

    def back(self, place: Points) -> Points:
        """(m, d) points of the plane, from coordinates."""
        found: Points = self.origin + place @ self.axes
        return found


def _steps(found: list[tuple[int, float, Tensor]]) -> Iterator[tuple[int, float, Tensor]]:
    """The first point, those that are nearer by a share that can be seen, and the last."""
    kept = [found[0]]
    for each in found[1:]:
        if each[1] <= (1 - WORTH) * kept[-1][1]:
            kept.append(each)
    kept = [kept[index] for index in thinned(len(kept), STEPS)]
    yield from kept if kept[-1] is found[-1] else [*kept, found[-1]]


def _around(place: Points) -> Frame:
    """A square around the path and its origin."""
    both = np.concatenate([np.zeros((1, 2)), place])
    low, high = both.min(0), both.max(0)
    reach = (high - low).max() * (0.5 + MARGIN)
    (x, y) = (low + high) / 2
    return Frame(x=(x - reach, x + reach), y=(y - reach, y + reach))


def _short(value: float) -> float:
    return float(f"{value:.5g}")
