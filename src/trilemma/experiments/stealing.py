"""The stage of a theft: a student learns from a model's answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trilemma.attacks.evasion import Evasion
from trilemma.attacks.extraction import Extraction, Pass, RoundThief, Stolen, extract
from trilemma.core.box import Box
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.core.keys import digest
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.guarding import Watched, guarded
from trilemma.experiments.guards import Guard
from trilemma.experiments.looks import CHOSEN, JUDGED, Looks
from trilemma.experiments.parts import part
from trilemma.experiments.pools import held
from trilemma.experiments.stages import UNCOUNTED, Parts, Source, Split, Train, restore, stream
from trilemma.experiments.theft import Pool
from trilemma.oracles import Ledger, Local, Oracle
from trilemma.oracles.defences import Defence, LabelOnly, defended
from trilemma.training.checkpoints import Checkpoint
from trilemma.training.recipes import Recipe, build
from trilemma.training.student import Kept, Student

FINAL, BEST = "final", "best"
LABELS: tuple[Defence, ...] = (LabelOnly(),)  # all that a thief is told unless said otherwise


@dataclass(frozen=True, kw_only=True)
class Steal(Stage):
    """Let a thief teach a student by what a model answers about a pool.

    Args:
        source: the victim.
        thief: the method and its budgets.
        student: the recipe of its model; the thief's epochs are those of its course.
        start: a model trained on other data, whose weights the student begins with.
        pool: how many rows of which part of the split the thief holds, without their labels.
        others: splits of other data sets, whose members it holds, too; `Adaptive` looks at the
            labels of these.
        tells: what stands before the victim's answers.
        guard: what watches the thief's accounts. What these were asked lies in memory alone, so
            that a theft that was killed begins anew, with a new ledger.
        once: an input that was asked about before is answered from memory and counts once.
        attack: under which the student's robustness is looked at on the way; None looks at
            accuracy alone.
        every: passes between two looks.
        rows: at most so many of the validation rows, and of the non-members, are looked at.
    """

    REVISION: ClassVar[int] = 2
    split: Parts
    source: Source
    thief: Extraction
    student: Recipe
    start: Train | None = None
    pool: Pool = field(default_factory=Pool)
    others: tuple[Split, ...] = ()
    tells: tuple[Defence, ...] = LABELS
    guard: Guard | None = None
    once: bool = False
    attack: Evasion | None = None
    every: int = 10
    rows: int = 512
    box: Box
    seed: int
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"steal {self.name} by {type(self.thief).__name__}, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays: the weights `final.*` and `best.*`, the latter of the look at which the student
        was most robust (or, without an attack, most accurate) on the validation rows.

        Facts: `pool`, rows; `limit` and `spent`, rows; `looks`, as `Looks` describes them; `best`,
        which of them; `published`, which is best on the rows that it is judged on; `judged`, how
        many these are. With a guard also `stopped`, why the victim refused to go on, and `guard`,
        what `Watched.told` tells.

        Raises:
            BadInput: the split has no validation rows, or fewer others than are wanted; rows of
                another shape; a start of another architecture; a limit of no queries.
        """
        parts = bench.load(self.split)
        pool = held(self.pool, parts, [bench.load(each) for each in self.others], self.seed)
        limit = self.thief.limit(len(pool))
        if limit == 0:
            raise BadInput("queries", "is 0", "Let the thief ask at least once")
        bench.scratch.mkdir(parents=True, exist_ok=True)
        victim = restore(self.source, self.split, bench)
        student = self._student(parts, bench)
        looks = self._looks(student.model, victim, parts, bench)
        asked = Local(victim, classes=int(parts.facts["classes"]))
        watched = self._watched(asked, parts)
        stolen = self._stolen(watched or asked, limit, pool, student, looks, bench)
        looks.at_the_end(stolen)
        facts: dict[str, Any] = {"pool": len(pool), "limit": limit, "spent": stolen.spent}
        if watched:
            facts |= {"stopped": stolen.stopped, "guard": watched.told()}
        return _artifact(student, looks, facts)

    def _stolen(
        self,
        oracle: Oracle,
        limit: int,
        pool: Dataset,
        student: Student,
        looks: Looks,
        bench: Bench,
    ) -> Stolen:
        """What the thief ends with, through the account of its queries."""
        rng = seeded(stream("steal", self.seed))
        identity = digest([self.thief, self.student, self.seed, limit])
        checkpoint = Checkpoint(bench.scratch, replaces=True)
        file = None if self.guard else bench.scratch / "queries.sqlite"
        ledger = Ledger(_behind(self.tells, oracle), limit, file, once=self.once)
        try:
            return extract(
                ledger,
                pool,
                student,
                self.thief,
                box=self.box,
                rng=rng,
                keeper=None if self.guard else Kept(checkpoint, identity, student, rng),
                watch=lambda number, each: self._watch(looks, number, each, bench),
            )
        finally:
            ledger.close()

    def _watched(self, victim: Oracle, parts: Artifact) -> Watched | None:
        """The victim behind its guard; the validation rows are what normal users send."""
        if self.guard is None:
            return None
        return guarded(
            self.guard,
            victim,
            part(parts, CHOSEN).x,
            own=part(parts, "members").x,
            box=self.box,
            seed=stream("guard", self.seed),
        )

    def _watch(self, looks: Looks, number: int, each: Pass, bench: Bench) -> None:
        """Look, unless it is not time to."""
        rounds = self.thief.rounds if isinstance(self.thief, RoundThief) else 1
        passes = rounds * self.thief.epochs
        if (number + 1) % self.every == 0 or number + 1 == passes:
            looks.look(number, each)
        bench.progress(number + 1, passes, f"{each.spent:,} queries")

    def _student(self, parts: Artifact, bench: Bench) -> Student:
        return Student(
            replace(self.student, epochs=self.thief.epochs),
            tuple(parts.arrays["members_x"].shape[1:]),
            int(parts.facts["classes"]),
            stream("student", self.seed),
            start=None if self.start is None else _weights(bench.load(self.start)),
            box=self.box,
        )

    def _looks(self, student: nn.Module, victim: nn.Module, parts: Artifact, bench: Bench) -> Looks:
        if f"{CHOSEN}_x" not in parts.arrays:
            problem = "has no rows, and a thief chooses its best student by them"
            raise BadInput(f"data.{CHOSEN}", problem, "Let the split have some")
        rows = {
            CHOSEN: drawn(part(parts, CHOSEN), self.rows, stream("looked at", self.seed)),
            JUDGED: judged(parts, self.rows, self.seed),
        }
        return Looks(
            student,
            victim,
            rows,
            self.attack,
            box=self.box,
            seed=self.seed,
            folder=bench.scratch,
        )


def judged(parts: Artifact, rows: int, seed: int) -> Dataset:
    """The non-members on which students are compared with their victim."""
    return drawn(part(parts, "nonmembers"), rows, stream("compared", seed))


def drawn(rows: Dataset, count: int, seed: int) -> Dataset:
    """At most so many of the rows, in their order."""
    chosen = torch.randperm(len(rows), generator=seeded(seed))
    return rows[chosen[:count].sort().values]


def student_of(steal: Steal, which: str, split: Parts, bench: Bench) -> nn.Module:
    """The student of a finished theft, in eval mode: `final`, or `best` on the validation rows."""
    parts, weights = bench.load(split), bench.load(steal).arrays
    shape = tuple(parts.arrays["members_x"].shape[1:])
    model = build(steal.student, shape, int(parts.facts["classes"]), seeded(0))
    start = f"{which}."
    own = {name.removeprefix(start): w for name, w in weights.items() if name.startswith(start)}
    model.load_state_dict(_tensors(own))
    return model.eval()


def _artifact(student: Student, looks: Looks, facts: Mapping[str, Any]) -> Artifact:
    state = student.model.state_dict()
    arrays = {f"{FINAL}.{name}": w.detach().cpu().numpy() for name, w in state.items()}
    arrays |= {f"{BEST}.{name}": w.numpy() for name, w in looks.best_weights().items()}
    seen = {"looks": looks.seen, "best": looks.best, "published": looks.published}
    seen["judged"] = len(looks.rows[JUDGED])
    return Artifact(arrays=arrays, facts={**facts, **seen})


def _behind(tells: tuple[Defence, ...], oracle: Oracle) -> Oracle:
    for each in tells:
        oracle = defended(oracle, each)
    return oracle


def _weights(trained: Artifact) -> dict[str, Tensor]:
    return _tensors(trained.arrays)


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(each)) for name, each in arrays.items()}
