"""A shadow model's rows, and what its threshold finds on the target."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from trilemma.core.errors import BadInput
from trilemma.data import Data, Files
from trilemma.data.stratified import stratified_order
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench
from trilemma.experiments.stages import Parts, Split, stream


@dataclass(frozen=True, kw_only=True)
class ShadowSplit(Parts):
    """The shadow part of a split as members and non-members of a shadow model, half and half."""

    REVISION: ClassVar[int] = 1
    split: Split
    seed: int
    name: str = field(default="", metadata={"counts": False})

    def label(self) -> str:
        """For progress and failures."""
        return f"halve the shadow rows, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays and facts as of a split, whose members and non-members are the halves.

        Its validation rows, if it has any, are the split's.

        Raises:
            BadInput: there are too few shadow rows, or too few labels among them.
        """
        parts = bench.load(self.split)
        x, y = (parts.arrays.get(f"shadow_{of}", np.zeros(0, dtype=np.int64)) for of in "xy")
        order = stratified_order(y, np.arange(len(y)), stream("shadow", self.seed))
        halves = {"members": order[: len(y) // 2], "nonmembers": order[len(y) // 2 :]}
        if len(np.unique(y[halves["members"]])) < 2:
            raise BadInput(
                "data.shadow",
                f"{len(y)} rows are too few for a shadow model and its non-members",
                "Give two labels in each half at least",
            )
        arrays = {}
        for part, index in halves.items():
            arrays[f"{part}_x"], arrays[f"{part}_y"] = x[index], y[index]
        arrays |= {k: v for k, v in parts.arrays.items() if k.startswith("validation_")}
        return Artifact(arrays=arrays, facts=dict(parts.facts))


def has_shadow(data: Data) -> bool:
    """Whether rows for shadow models are declared."""
    if isinstance(data, Files):
        return data.shadow is not None
    preset = data.published()
    if preset is None:
        return data.shadow > 0
    return preset.per_class is None and preset.sizes.shadow > 0
