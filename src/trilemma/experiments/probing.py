"""The self-tests of an audit: does the split leak, does the model expect these inputs?"""

from dataclasses import dataclass, field
from typing import ClassVar

from trilemma.core.box import Box
from trilemma.experiments import selftests
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.parts import part
from trilemma.experiments.stages import UNCOUNTED, Parts, Source, restore


@dataclass(frozen=True, kw_only=True)
class ProbeData(Stage):
    """Does the split leak by itself? A blind classifier, and duplicates. Facts: two checks."""

    REVISION: ClassVar[int] = 1
    split: Parts
    seed: int

    def label(self) -> str:
        """For progress and failures."""
        return f"self-test the data, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Never looks at a model."""
        parts = bench.load(self.split)
        arrays = [
            parts.arrays[name]
            for name in ("members_x", "members_y", "nonmembers_x", "nonmembers_y")
        ]
        return Artifact(
            arrays={},
            facts={
                "blind": selftests.blind(*arrays, seed=self.seed),
                "duplicates": selftests.duplicates(*arrays),
            },
        )


@dataclass(frozen=True, kw_only=True)
class ProbeModel(Stage):
    """Does the model expect these inputs, and does it answer the same twice? Facts: two checks."""

    REVISION: ClassVar[int] = 1
    split: Parts
    source: Source
    box: Box
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"self-test {self.name}"

    def run(self, bench: Bench) -> Artifact:
        """A look at up to 512 members."""
        model = restore(self.source, self.split, bench)
        data = part(bench.load(self.split), "members")[:512]
        return Artifact(
            arrays={},
            facts={
                "normalisation": selftests.normalisation(model, data.x, data.y, box=self.box),
                "determinism": selftests.determinism(model, data.x),
            },
        )
