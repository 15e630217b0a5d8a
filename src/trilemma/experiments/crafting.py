"""How long a thief takes to make its queries."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import ClassVar

from torch import nn

from trilemma.attacks.extraction import EXTRACTIONS, SEARCHES, Extraction, RoundThief
from trilemma.attacks.extraction.method import Scene, unchanged
from trilemma.core.box import Box
from trilemma.core.generators import seeded
from trilemma.core.types import Rows
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.stages import UNCOUNTED, Parts, stream
from trilemma.experiments.stealing import FINAL, Steal, judged, student_of

TURNS = 3


@dataclass(frozen=True, kw_only=True)
class Craft(Stage):
    """Time the making of one batch of queries with a thief's final student.

    It stands apart from the theft, whose result is the same on every machine.
    """

    REVISION: ClassVar[int] = 1
    split: Parts
    steal: Steal
    box: Box
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"time the queries of a thief of {self.name}, {self.steal.label()}"

    def run(self, bench: Bench) -> Artifact:
        """Facts: `rows` of a batch, and `seconds`, the median of three turns."""
        steal = self.steal
        student = student_of(steal, FINAL, self.split, bench)
        x = judged(bench.load(self.split), steal.thief.batch, steal.seed).x
        self._once(student, x)  # the first one is a slow one
        seconds = median(self._once(student, x) for _ in range(TURNS))
        return Artifact(facts={"rows": len(x), "seconds": seconds})

    def _once(self, student: nn.Module, x: Rows) -> float:
        rng = seeded(stream("craft", self.steal.seed))
        began = time.perf_counter()
        craft(self.steal.thief)(Scene(student, self.box, rng), x)
        return time.perf_counter() - began


def craft(thief: Extraction) -> Callable[[Scene, Rows], Rows]:
    """What a method asks in place of some rows."""
    if isinstance(thief, RoundThief):
        return SEARCHES[type(thief)](thief).craft
    return EXTRACTIONS[type(thief)](thief).craft


def crafts(thief: Extraction) -> bool:
    """Whether it asks about anything but rows as they are."""
    return craft(thief) is not unchanged
