"""The costly look at robustness: an attack of thousands of passes a row, on some of the rows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from trilemma.attacks.evasion import Evasion, attack_of
from trilemma.core.box import Box
from trilemma.core.generators import seeded
from trilemma.core.pace import usual
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.parts import chosen
from trilemma.experiments.portions import kept
from trilemma.experiments.stages import UNCOUNTED, Parts, Source, candidates, restore, stream
from trilemma.oracles import log_probabilities

CHUNK = 128  # rows between two checkpoints


@dataclass(frozen=True, kw_only=True)
class Withstand(Stage):
    """Ask a model about some members and non-members after a costly attack on them.

    Args:
        attack: what is done to the inputs.
        rows: at most so many of the members, and of the non-members.
        chunk: rows at a time; a row's result does not depend on the rows beside it, and each
            chunk starts the attack's generator anew, so this changes nothing but the wait between
            two checkpoints.
    """

    REVISION: ClassVar[int] = 1
    split: Parts
    source: Source
    attack: Evasion
    box: Box
    seed: int
    rows: int
    chunk: int = field(default=CHUNK, metadata=UNCOUNTED)
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"query {self.name} under {type(self.attack).__name__}, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays as `responses` describes them, and `row`: where each stands among `candidates`."""
        model = restore(self.source, self.split, bench)
        x, y, member = candidates(bench.load(self.split))
        row = chosen(member, self.rows, stream("thorough", self.seed))
        x, y = x[row], y[row]
        asked, parts = 0, []
        for start in range(0, len(row), self.chunk):
            rows, labels = x[start : start + self.chunk], y[start : start + self.chunk]

            def say(more: int, done: int = start) -> None:
                nonlocal asked
                asked += more
                bench.progress(done, len(row), f"{asked:,} rows asked about")

            with told(model, say):
                path = bench.scratch / f"{start}-{self.chunk}.npy"
                parts.append(kept(path, partial(self._ask, model, rows, labels)))
        bench.progress(len(row), len(row))
        answers = np.concatenate(parts)
        arrays = {"row": row, "member": member[row], "label": y.numpy()}
        return Artifact(arrays={**arrays, "log_probabilities": answers}, facts={})

    def _ask(self, model: nn.Module, x: Tensor, y: Tensor) -> NDArray[np.float64]:
        """The answers to some attacked rows."""
        rng = seeded(stream("attack", self.seed))
        attack, rows = attack_of(self.attack), usual(x).rows  # the same bits on every run
        x = attack(model, x, y, self.attack, box=self.box, rng=rng, batch=rows)
        answers: NDArray[np.float64] = log_probabilities(model, x).numpy()
        return answers


@contextmanager
def told(model: nn.Module, say: Callable[[int], None]) -> Iterator[None]:
    """Tell `say` of each call of the model, with its number of rows."""
    handle = model.register_forward_pre_hook(lambda _, inputs: say(len(inputs[0])))
    try:
        yield
    finally:
        handle.remove()
