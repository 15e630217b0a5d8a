"""What the models of an audit cost: the target, and those that an attacker trains beside it."""

from dataclasses import dataclass, field
from typing import ClassVar

from torch import nn

from trilemma.experiments.artifact import Artifact
from trilemma.experiments.asking import Asking
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.stages import UNCOUNTED, Parts, Source, restore
from trilemma.models import flops, parameters


@dataclass(frozen=True, kw_only=True)
class Cost(Stage):
    """Count a model's parameters, and the operations of one answer.

    It stands apart from the training, so that models trained before it existed have it, too.
    """

    REVISION: ClassVar[int] = 1
    split: Parts
    source: Source
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"count what {self.name} costs"

    def run(self, bench: Bench) -> Artifact:
        """Facts: `parameters`, and `flops`, or why they cannot be counted: `uncounted`."""
        model = restore(self.source, self.split, bench)
        shape = bench.load(self.split).arrays["members_x"].shape[1:]
        return Artifact(arrays={}, facts={"parameters": parameters(model), **_flops(model, shape)})


def _flops(model: nn.Module, shape: tuple[int, ...]) -> dict[str, int | str]:
    """Of a model of anybody's: an audit does not fail because it counts in vain."""
    try:
        return {"flops": flops(model, shape)}
    except Exception as error:
        return {"uncounted": f"{type(error).__name__}: {error}".split("\n")[0]}


def costs(target: Asking) -> dict[str, Cost]:
    """What to count, by the part that a model plays: `target`, `shadow`, `copy`, `reference`."""
    found = {"target": Cost(split=target.split, source=target.source, name=target.name)}
    if target.shadow is not None:
        shadow = target.shadow
        found["shadow"] = Cost(split=shadow.split, source=shadow.source, name=shadow.name)
    for name, copy in target.copies.items():
        part = f"copy {name}".rstrip()
        found[part] = Cost(split=copy.split, source=copy, name=copy.name)
    if target.pool is not None:
        name = f"a reference model of {target.name}"
        half, source = target.pool.halves[0], target.pool.sources[0]
        found["reference"] = Cost(split=half, source=source, name=name)
    return found
