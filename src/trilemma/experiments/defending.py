"""Answers behind defences: what a guarded oracle would have said instead."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.core.keys import digest
from trilemma.core.types import Probs, Rows
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.parts import part
from trilemma.experiments.stages import UNCOUNTED, Parts, Source, restore, stream
from trilemma.oracles import Oracle, log_probabilities
from trilemma.oracles.defences import Defence, Means, MemGuard, defended, membership_rows
from trilemma.training.objectives import Natural
from trilemma.training.recipes import MLP, build
from trilemma.training.train import train

GUARD = MLP(hidden=(256, 128, 64), epochs=100)  # Jia et al. 2019, section 5.1


@dataclass(frozen=True)
class Told:
    """An oracle whose answers are known: it is asked with them.

    What a defence draws at random comes from its input's content, here the answer's: equal inputs
    have equal answers.
    """

    classes: int

    def __call__(self, x: Rows) -> Probs:
        """The rows themselves."""
        return x


@dataclass(frozen=True, kw_only=True)
class Guard(Stage):
    """Train the defender's own attack, on the members and on the owner's validation rows.

    Args:
        recipe: of its network, which looks at ranked answers.
    """

    REVISION: ClassVar[int] = 1
    split: Parts
    source: Source
    recipe: MLP
    seed: int
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"train the guard of {self.name}, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays: the network's state dict."""
        parts = bench.load(self.split)
        model = restore(self.source, self.split, bench)
        members, others = (
            log_probabilities(model, part(parts, name).x).exp()
            for name in ("members", "validation")
        )
        rows = membership_rows(members, others)
        rows = Dataset(rows.x.float(), rows.y)
        done = train(self.recipe, Natural(), rows, stream("guard", self.seed), classes=2)
        state = {k: v.detach().cpu().numpy() for k, v in done.model.state_dict().items()}
        return Artifact(arrays=state, facts={})


@dataclass(frozen=True, kw_only=True)
class Defend(Stage):
    """What a model's answers become behind its defences; no label changes.

    Args:
        answers: responses with `log_probabilities`.
        defences: from the model outwards.
        guard: the defender's own attack, where a defence needs one.
    """

    REVISION: ClassVar[int] = 1
    answers: Stage
    defences: tuple[Defence, ...]
    guard: Guard | None
    seed: int
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        kinds = ", ".join(type(each).__name__ for each in self.defences)
        return f"defend {self.name} by {kinds}, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays `member`, `label`, `probabilities` (see `responses`).

        Raises:
            BadInput: a defence changed labels: attacks from labels, which ask the bare model, would
                then be of another one.
        """
        arrays = dict(bench.load(self.answers).arrays)
        answers = torch.from_numpy(np.exp(arrays.pop("log_probabilities")))
        means = Means(
            classifier=self._classifier(bench, answers.shape[1]),
            secret=digest(["secret", self.seed]).encode(),
        )
        oracle: Oracle = Told(answers.shape[1])
        for each in self.defences:
            oracle = defended(oracle, each, means)
        told = oracle(answers)
        changed = int((told.argmax(1) != answers.argmax(1)).sum())
        if changed:
            raise BadInput(
                f"models.{self.name}.defences",
                f"change the label of {changed} of {len(answers)} rows",
                "Take defences that keep it",
            )
        return Artifact(arrays={**arrays, "probabilities": told.numpy()}, facts={})

    def _classifier(self, bench: Bench, classes: int) -> nn.Module | None:
        if self.guard is None:
            return None
        network = build(self.guard.recipe, (classes,), 2, seeded(0))
        state = bench.load(self.guard).arrays
        network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
        return network.eval()


def guarded(defences: tuple[Defence, ...]) -> bool:
    """Whether some defence needs a guard."""
    return any(isinstance(each, MemGuard) for each in defences)
