"""A shadow model that learnt from a target's labels, for the transfer attack."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from trilemma.attacks.membership.transfer import relabelled
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench
from trilemma.experiments.stages import UNCOUNTED, Parts, Source, Split, restore
from trilemma.oracles import Local, TopLabel


@dataclass(frozen=True, kw_only=True)
class Relabel(Parts):
    """The shadow rows of a split with the labels that a target gives them, one query a row.

    Facts: as of a split, and `queries`.
    """

    REVISION: ClassVar[int] = 1
    split: Split
    source: Source
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"let {self.name} label the shadow rows, {self.split.label()}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays as of a split: the shadow rows as members, and no non-members."""
        parts = bench.load(self.split)
        model = restore(self.source, self.split, bench)
        oracle = TopLabel(Local(model, classes=int(parts.facts["classes"])))
        data = relabelled(oracle, torch.from_numpy(np.array(parts.arrays["shadow_x"])))
        x, y = data.x.numpy(), data.y.numpy()
        arrays = {"members_x": x, "members_y": y, "nonmembers_x": x[:0], "nonmembers_y": y[:0]}
        arrays |= {k: v for k, v in parts.arrays.items() if k.startswith("validation_")}
        return Artifact(arrays=arrays, facts={**parts.facts, "queries": len(x)})
