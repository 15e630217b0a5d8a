"""The stages that compare students with their victim and with each other."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from trilemma import metrics
from trilemma.attacks.evasion import Evasion
from trilemma.core.box import Box
from trilemma.core.dataset import Dataset
from trilemma.core.generators import seeded
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.looks import labels, under
from trilemma.experiments.stages import UNCOUNTED, Parts, Source, restore, stream
from trilemma.experiments.stealing import BEST, FINAL, Steal, judged, student_of

VICTIM = "victim"


@dataclass(frozen=True, kw_only=True)
class Struck(Stage):
    """Adversarial examples of the non-members that students are compared by, made on the victim.

    Args:
        rows: at most so many of the non-members.
    """

    REVISION: ClassVar[int] = 1
    split: Parts
    source: Source
    attack: Evasion
    rows: int
    box: Box
    seed: int
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"attack {self.name} by {type(self.attack).__name__}, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Array `x`: (n, *x)."""
        test = judged(bench.load(self.split), self.rows, self.seed)
        victim = restore(self.source, self.split, bench)
        rng = seeded(stream("attack", self.seed))
        return Artifact(arrays={"x": under(victim, test, self.attack, self.box, rng).numpy()})


@dataclass(frozen=True, kw_only=True)
class Liken(Stage):
    """Compare a stolen student with its victim on the non-members, as they are or attacked.

    Args:
        steal: whose student.
        struck: the victim's adversarial examples; None compares on benign rows.
        rows: at most so many of the non-members.
    """

    REVISION: ClassVar[int] = 2
    split: Parts
    source: Source
    steal: Steal
    struck: Struck | None
    rows: int
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        how = type(self.struck.attack).__name__ if self.struck else "benign inputs"
        return f"compare a student with {self.name} under {how}, {self.steal.label()}"

    def run(self, bench: Bench) -> Artifact:
        """Facts: `rows`; `victim`, its accuracy; `final` and `best`, each with `accuracy`,
        `fidelity` and `of_accuracy` (`metrics.likeness`), the victim attacked by itself and the
        student by itself; `overfitting`, by how much the best student's accuracy is above that of
        the final one. Under attack also `steady`, how often the student's label stays what it was
        (Li et al. 2023, appendix B.4); `agreement` with the victim on the student's adversarial
        examples; `to_victim` and `from_victim`, accuracy on the other's adversarial examples.
        """
        test = judged(bench.load(self.split), self.rows, self.steal.seed)
        victim = restore(self.source, self.split, bench)
        own = test.x if self.struck is None else examples(self.struck, bench)
        told, y = labels(victim, own), test.y
        facts: dict[str, Any] = {
            "rows": len(test),
            VICTIM: metrics.accuracy((told == y).numpy()).to_json(),
        }
        right = {}
        for which in (FINAL, BEST):
            student = student_of(self.steal, which, self.split, bench)
            hard = self._attacked(student, test)
            given = labels(student, hard)
            right[which] = (given == y).numpy()
            found = self._likeness(given, told, y)
            if self.struck is not None:
                there = labels(victim, hard)
                found["steady"] = metrics.accuracy((given == labels(student, test.x)).numpy())
                found["agreement"] = metrics.accuracy((given == there).numpy())
                found["to_victim"] = metrics.accuracy((there == y).numpy())
                found["from_victim"] = metrics.accuracy((labels(student, own) == y).numpy())
            facts[which] = {name: each.to_json() for name, each in found.items()}
        gap = metrics.gap(right[BEST], right[FINAL], rng=self._rng())
        return Artifact(facts={**facts, "overfitting": gap.to_json()})

    def _likeness(self, given: Tensor, told: Tensor, y: Tensor) -> dict[str, metrics.Metric]:
        found = metrics.likeness(given.numpy(), told.numpy(), y.numpy(), rng=self._rng())
        return {
            "accuracy": found.accuracy,
            "fidelity": found.fidelity,
            "of_accuracy": found.of_accuracy,
        }

    def _attacked(self, model: nn.Module, rows: Dataset) -> Tensor:
        if self.struck is None:
            return rows.x
        rng = seeded(stream("attack", self.steal.seed))
        return under(model, rows, self.struck.attack, self.steal.box, rng)

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(stream("ratio", self.steal.seed))


@dataclass(frozen=True, kw_only=True)
class Exchange(Stage):
    """Try each model's adversarial examples on all others: the victim and the final students.

    Args:
        struck: the victim's examples.
        steals: whose students.
        names: of the thieves, in that order.

    Source: Li et al. 2023, appendix C.10, figure 5.
    """

    REVISION: ClassVar[int] = 1
    split: Parts
    source: Source
    struck: Struck
    steals: tuple[Steal, ...]
    names: tuple[str, ...]
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"try adversarial examples of {self.name} and its students on each other"

    def run(self, bench: Bench) -> Artifact:
        """Facts: `rows`; `accuracy`, by who makes the examples, by who is tried."""
        struck, seed = self.struck, self.struck.seed
        test = judged(bench.load(self.split), struck.rows, seed)
        models = {VICTIM: restore(self.source, self.split, bench)}
        models |= {
            name: student_of(steal, FINAL, self.split, bench)
            for name, steal in zip(self.names, self.steals, strict=True)
        }
        found: dict[str, Any] = {}
        for done, (maker, model) in enumerate(models.items()):
            bench.progress(done, len(models), f"examples of {maker}")
            hard = (
                examples(struck, bench)
                if maker == VICTIM
                else under(model, test, struck.attack, struck.box, seeded(stream("attack", seed)))
            )
            found[maker] = {
                tried: metrics.accuracy((labels(other, hard) == test.y).numpy()).to_json()
                for tried, other in models.items()
            }
        return Artifact(facts={"rows": len(test), "accuracy": found})


def examples(struck: Struck, bench: Bench) -> Tensor:
    """(n, *x) the adversarial examples of a finished stage."""
    return torch.from_numpy(np.array(bench.load(struck).arrays["x"]))
