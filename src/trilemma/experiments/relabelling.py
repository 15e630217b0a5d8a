"""A shadow model that learnt from a target's labels, for the transfer attack."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from trilemma.attacks.membership.transfer import relabelled
from trilemma.core.errors import BadInput
from trilemma.data.stratified import stratified_order
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench
from trilemma.experiments.stages import UNCOUNTED, Parts, Source, Split, restore, stream
from trilemma.oracles import Local, TopLabel


@dataclass(frozen=True, kw_only=True)
class Relabel(Parts):
    """The shadow rows of a split with the labels that a target gives them, one query a row.

    Facts: as of a split, and `queries`.

    Args:
        rows: only so many of them, each label's share kept; None for all.
        seed: of their choice.
    """

    REVISION: ClassVar[int] = 1
    split: Split
    source: Source
    rows: int | None = field(default=None, metadata={"counts": "unless default"})
    seed: int = field(default=0, metadata={"counts": "unless default"})
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"let {self.name} label the shadow rows, {self.split.label()}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays as of a split: the shadow rows as members, and no non-members."""
        parts = bench.load(self.split)
        model = restore(self.source, self.split, bench)
        oracle = TopLabel(Local(model, classes=int(parts.facts["classes"])))
        shadow = parts.arrays["shadow_x"]
        if self.rows is not None:
            labels = np.asarray(parts.arrays["shadow_y"])
            if self.rows > len(labels):
                problem = f"{self.rows} of {len(labels)} shadow rows cannot be taken"
                raise BadInput("copies.rows", problem, f"Give at most {len(labels)}")
            order = stratified_order(labels, np.arange(len(labels)), stream("copy", self.seed))
            shadow = shadow[order[: self.rows]]
        data = relabelled(oracle, torch.from_numpy(np.array(shadow)))
        x, y = data.x.numpy(), data.y.numpy()
        arrays = {"members_x": x, "members_y": y, "nonmembers_x": x[:0], "nonmembers_y": y[:0]}
        arrays |= {k: v for k, v in parts.arrays.items() if k.startswith("validation_")}
        return Artifact(arrays=arrays, facts={**parts.facts, "queries": len(x)})
