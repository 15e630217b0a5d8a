"""What is proven about members and non-members: lower bounds over every input of a ball."""

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trilemma.attacks.membership import VerifiedConfidence, worst_case, worst_log_odds
from trilemma.bounds import margins
from trilemma.core.box import Box
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.portions import kept
from trilemma.experiments.stages import UNCOUNTED, Parts, Source, candidates, restore

CHUNK = 256  # rows between two checkpoints


@dataclass(frozen=True, kw_only=True)
class Verify(Stage):
    """Bound what a model answers about members and non-members over a ball around each.

    Args:
        attack: the ball, and how the bounds are found.
        chunk: rows at a time; a row's bounds do not depend on the rows beside it.
    """

    REVISION: ClassVar[int] = 2
    split: Parts
    source: Source
    attack: VerifiedConfidence
    box: Box
    chunk: int = field(default=CHUNK, metadata=UNCOUNTED)
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"verify {self.name} by {type(self.attack.domain).__name__}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays `member`, `label`, and of the worst case `confidence`, `log_odds` and `proven`.

        Raises:
            BadInput: bounds are not known for one of the model's layers, by name.
        """
        model = restore(self.source, self.split, bench)
        x, y, member = candidates(bench.load(self.split))
        parts = []
        for start in range(0, len(x), self.chunk):
            bench.progress(start, len(x), f"{start:,} rows bounded")
            part = slice(start, start + self.chunk)
            path = bench.scratch / f"{start}-{self.chunk}.npy"
            parts.append(kept(path, partial(self._least, model, x[part], y[part])))
        bench.progress(len(x), len(x))
        least = torch.from_numpy(np.concatenate(parts))
        others = least.scatter(1, y.view(-1, 1), torch.inf)
        return Artifact(
            arrays={
                "member": member,
                "label": y.numpy(),
                "confidence": worst_case(least).numpy(),
                "log_odds": worst_log_odds(least, y).numpy(),
                "proven": (others > 0).all(1).numpy(),
            },
            facts={},
        )

    def _least(self, model: nn.Module, x: Tensor, y: Tensor) -> NDArray[np.float64]:
        """Lower bounds of the margins; a rescaling may have left the box by its rounding."""
        attack = self.attack
        with torch.no_grad():
            least = margins(model, self.box.clip(x), y, attack.ball, attack.domain, self.box)
        found: NDArray[np.float64] = least.double().numpy()
        return found
