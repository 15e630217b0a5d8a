"""A shadow model that learnt from a target's labels, for the transfer attack."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from trilemma import metrics
from trilemma.attacks.membership.transfer import relabelled
from trilemma.core.errors import BadInput
from trilemma.data.stratified import stratified_order
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.evaluation import Asked, operating
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.stages import UNCOUNTED, Parts, Source, Split, restore, stream
from trilemma.oracles import Local, TopLabel

ONE_SIDED = (
    "a threshold that is best for members and non-members takes scores of both; only rows that the"
    " shadow model has not learnt from are known"
)


@dataclass(frozen=True, kw_only=True)
class Relabel(Parts):
    """The shadow rows of a split with the labels that a target gives them, one query a row.

    Facts: as of a split, and `queries`.

    Args:
        rows: only so many of them, each label's share kept; None for all.
        held_out: so many others are left to `HeldOut`.
        seed: of their choice.
    """

    REVISION: ClassVar[int] = 1
    split: Split
    source: Source
    rows: int | None = field(default=None, metadata={"counts": "unless default"})
    held_out: int = field(default=0, metadata={"counts": "unless default"})
    seed: int = field(default=0, metadata={"counts": "unless default"})
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"let {self.name} label the shadow rows, {self.split.label()}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays as of a split: the shadow rows as members, and no non-members.

        Raises:
            BadInput: there are fewer shadow rows.
        """
        parts = bench.load(self.split)
        model = restore(self.source, self.split, bench)
        oracle = TopLabel(Local(model, classes=int(parts.facts["classes"])))
        shadow = parts.arrays["shadow_x"]
        if self.rows is not None or self.held_out:
            learnt, _ = self.divided(parts)
            shadow = shadow[learnt]
        data = relabelled(oracle, torch.from_numpy(np.array(shadow)))
        x, y = data.x.numpy(), data.y.numpy()
        arrays = {"members_x": x, "members_y": y, "nonmembers_x": x[:0], "nonmembers_y": y[:0]}
        arrays |= {k: v for k, v in parts.arrays.items() if k.startswith("validation_")}
        return Artifact(arrays=arrays, facts={**parts.facts, "queries": len(x)})

    def divided(self, parts: Artifact) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which shadow rows are learnt from, and which are held out: each label's share of both."""
        labels = np.asarray(parts.arrays["shadow_y"])
        learnt = len(labels) - self.held_out if self.rows is None else self.rows
        if not 1 <= learnt <= len(labels) - self.held_out:
            problem = f"{learnt} and {self.held_out} of {len(labels)} shadow rows cannot be taken"
            raise BadInput("copies", problem, "Let the split have more, or take fewer")
        order = stratified_order(labels, np.arange(len(labels)), stream("copy", self.seed))
        return order[:learnt], order[learnt : learnt + self.held_out]


@dataclass(frozen=True, kw_only=True)
class HeldOut(Parts):
    """The shadow rows that a copy has not learnt from, with their true labels, as non-members."""

    REVISION: ClassVar[int] = 1
    split: Split
    relabel: Relabel

    def label(self) -> str:
        """For progress and failures."""
        return f"take held-out shadow rows, {self.split.label()}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays as of a split, without members."""
        parts = bench.load(self.split)
        _, rest = self.relabel.divided(parts)
        x, y = (np.array(parts.arrays[f"shadow_{of}"])[rest] for of in "xy")
        arrays = {"members_x": x[:0], "members_y": y[:0], "nonmembers_x": x, "nonmembers_y": y}
        return Artifact(arrays=arrays, facts=dict(parts.facts))


@dataclass(frozen=True, kw_only=True)
class FromHeldOut(Stage):
    """Thresholds at false positive rates that rows held out fix, judged on the target's rows.

    Facts: as of `evaluation.Transfer`, but for a threshold that is best on a shadow model.

    Args:
        target: scores of the judged rows.
        known: scores of rows that nobody has learnt from.
    """

    REVISION: ClassVar[int] = 2
    target: Asked
    known: Asked
    name: str = field(default="transfer", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return self.name

    def run(self, bench: Bench) -> Artifact:
        """Judge."""
        _, known, _ = self.known.read(bench)
        answers, scores, _ = self.target.read(bench)
        member = answers["member"].astype(bool)

        def at(fpr: float) -> metrics.Flagged | metrics.NotEvaluable:
            fixed = metrics.transferred_rate(known, scores[member], scores[~member], fpr)
            return fixed if isinstance(fixed, metrics.NotEvaluable) else fixed.flagged

        nothing = metrics.NotEvaluable(ONE_SIDED).to_json()
        return Artifact(arrays={}, facts={"accuracy": nothing, "operating": operating(at)})
