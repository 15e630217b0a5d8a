"""The boundary attack with all that one run of it tells: every norm, every smaller budget."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from numpy.typing import NDArray
from torch import Tensor

from trilemma.attacks.evasion.questions import marks
from trilemma.attacks.membership import BoundaryDistance
from trilemma.attacks.membership.boundary_distance import perturbations
from trilemma.core.box import Box
from trilemma.core.generators import seeded
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.budgets import NORMS
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.parts import chosen
from trilemma.experiments.searching import searched
from trilemma.experiments.stages import UNCOUNTED, Parts, Source, candidates, restore, stream
from trilemma.oracles import Local, Oracle

KEPT = ("l0", "l1", "l2", "linf", "queries", "trace")


@dataclass(frozen=True, kw_only=True)
class Distances(Stage):
    """Run the boundary attack on members and non-members.

    Args:
        rows: at most so many of the members, and of the non-members.
    """

    REVISION: ClassVar[int] = 1
    split: Parts
    source: Source
    attack: BoundaryDistance
    rows: int
    box: Box
    seed: int
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"attack {self.name} by {type(self.attack).__name__}, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays `row` (where each stands among `candidates`), `member` and `score` (n,), larger
        for likelier members; `l0`, `l1`, `l2`, `linf` and `queries` (n,); `trace` (n, t), the
        distance after so many queries.

        Facts: `norm`, the search's own, in which the trace is kept; `budgets`, its numbers of
        queries.
        """
        model = restore(self.source, self.split, bench)
        parts = bench.load(self.split)
        x, y, member = candidates(parts)
        row = chosen(member, self.rows, stream("searched", self.seed))
        oracle = Local(model, classes=int(parts.facts["classes"]))

        def search(target: Oracle, x: Tensor, y: Tensor) -> Mapping[str, NDArray[Any]]:
            rng = seeded(stream("attack", self.seed))
            found = perturbations(target, x, y, self.attack, box=self.box, rng=rng)
            arrays = {name: getattr(found.boundary, name).numpy() for name in KEPT}
            return {"score": found.scores.numpy(), **arrays}

        most = self.attack.search.max_queries
        budgets = list(self.attack.search.budgets or marks(most))
        arrays = searched(bench, oracle, x[row], y[row], search, most=most)
        facts = {"norm": NORMS[self.attack.search.norm], "budgets": budgets}
        return Artifact(arrays={"row": row, "member": member[row], **arrays}, facts=facts)
