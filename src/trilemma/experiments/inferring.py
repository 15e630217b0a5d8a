"""Membership from inference networks: the stage that teaches and asks them."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from trilemma.attacks.membership import LEARNED, Known, ModelInference
from trilemma.core.box import Box
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.core.types import Classifier
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.fitting import fitting_rows
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.stages import UNCOUNTED, Parts, Source, candidates, restore, stream
from trilemma.training.objectives import Natural
from trilemma.training.recipes import MLP
from trilemma.training.train import as_fit


def networks(attack: ModelInference) -> MLP:
    """The recipe of its inference networks."""
    return MLP(hidden=attack.hidden, epochs=attack.epochs)


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A model whose members an attacker knows, with the rows it was trained on and others."""

    split: Parts
    source: Source


@dataclass(frozen=True, kw_only=True)
class Infer(Stage):
    """Teach inference networks with some rows, and judge others by them.

    They learn from at most half of each label's rarer kind. With a teacher all of the target's
    rows are judged, and by the very networks that judge the teacher's other rows where the teacher
    is the target: a threshold that was chosen on those scores is one on these.

    Args:
        recipe: of the networks.
        teacher: whose rows and answers they learn from; None: the target's own, which are not
            judged then.
    """

    REVISION: ClassVar[int] = 2
    split: Parts
    source: Source
    attack: ModelInference
    recipe: MLP
    box: Box
    seed: int
    teacher: Teacher | None = None
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        examples = type(self.attack.examples).__name__
        by = ", taught by its shadow" if self.teacher else ""
        return f"infer members of {self.name} ({examples}), seed {self.seed}{by}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays `row` (among `candidates`), `member`, `score`. Facts: `threshold`, `fitted`.

        Raises:
            BadInput: no label has rows enough to learn from.
        """
        teacher = self.teacher or Teacher(split=self.split, source=self.source)
        x, y, member = candidates(bench.load(teacher.split))
        chosen = fitting_rows(member, y.numpy(), self.attack.fitting, self.seed)
        fitted = _fitted(member[chosen], y.numpy()[chosen])
        known = Known(
            model=restore(teacher.source, teacher.split, bench),
            data=Dataset(x[torch.from_numpy(chosen)], y[torch.from_numpy(chosen)]),
            member=torch.from_numpy(member[chosen]),
        )
        judged = ~chosen
        if self.teacher:
            x, y, member = candidates(bench.load(self.split))
            judged = np.ones(len(x), dtype=bool)
        row = np.flatnonzero(judged)
        scores = LEARNED[type(self.attack)](
            restore(self.source, self.split, bench),
            x[row],
            y[row],
            known,
            self.attack,
            fit=self._fit(bench, len(fitted)),
            box=self.box,
            rng=seeded(stream("attack", self.seed)),
        )
        arrays = {"row": row, "member": member[row], "score": scores.numpy()}
        return Artifact(arrays=arrays, facts={"threshold": 0.0, "fitted": fitted})

    def _fit(self, bench: Bench, labels: int) -> Any:
        """Trains a network, and says how many are done."""
        fit, done = as_fit(self.recipe, Natural(), classes=2), 0

        def counted(data: Dataset, rng: Generator) -> Classifier:
            nonlocal done
            network, done = fit(data, rng), done + 1
            bench.progress(done, labels, f"{done} of {labels} networks")
            return network

        return counted


def _fitted(member: NDArray[np.bool_], label: NDArray[np.int64]) -> dict[str, int]:
    """Label -> how many members, and as many non-members, its network learns from."""
    found = {str(each): int((member & (label == each)).sum()) for each in np.unique(label)}
    if not found:
        raise BadInput(
            "attack",
            "no label has rows enough to learn from and to judge",
            "A label needs 2 members and 2 non-members at least",
        )
    return found
