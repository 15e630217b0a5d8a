"""Reference models: the same training on random halves of the rows that an attack judges."""

from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from trilemma.attacks.membership import Calibration, score
from trilemma.data.stratified import stratified_order
from trilemma.experiments import responses
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.stages import UNCOUNTED, Parts, Source, candidates, stream

Labels: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ReferenceSplit(Parts):
    """A random half of members and non-members together, and the other half.

    Two follow each other with the halves exchanged, so that of an even number of reference models
    each row is in half of them. Which rows are the target's members is not looked at. Where
    a half has fewer rows than the target was trained on, shadow rows make up for them, if there
    are any: none of them is judged.

    Args:
        index: of the reference model, from 0.
    """

    REVISION: ClassVar[int] = 1
    split: Parts
    seed: int
    index: int

    def label(self) -> str:
        """For progress and failures."""
        return f"halve the rows for reference {self.index + 1}, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays and facts as of a split, and `row`: the members' places among `candidates`."""
        parts = bench.load(self.split)
        x, y, member = candidates(parts)
        labels = y.numpy()
        seen, unseen = halves(labels, self.index, self.seed)
        arrays: dict[str, NDArray[np.generic]] = {"row": np.sort(seen)}
        for name, index in (("members", np.sort(seen)), ("nonmembers", np.sort(unseen))):
            arrays[f"{name}_x"], arrays[f"{name}_y"] = x.numpy()[index], labels[index]
        for of, more in self._filling(parts, int(member.sum()) - len(seen)).items():
            arrays[f"members_{of}"] = np.concatenate([arrays[f"members_{of}"], more])
        arrays |= {k: v for k, v in parts.arrays.items() if k.startswith("validation_")}
        return Artifact(arrays=arrays, facts=dict(parts.facts))

    def _filling(self, parts: Artifact, lacking: int) -> dict[str, NDArray[np.generic]]:
        """Shadow rows beside a half that is smaller than what the target was trained on."""
        if lacking <= 0 or "shadow_y" not in parts.arrays:
            return {}
        labels = parts.arrays["shadow_y"]
        order = stratified_order(
            labels, np.arange(len(labels)), stream(f"reference {self.index} more", self.seed)
        )
        taken = np.sort(order[:lacking])
        return {of: parts.arrays[f"shadow_{of}"][taken] for of in "xy"}


def halves(labels: Labels, index: int, seed: int) -> tuple[Labels, Labels]:
    """Places of the rows that reference `index` is trained with, and of the others."""
    order = stratified_order(
        labels, np.arange(len(labels)), stream(f"references {index // 2}", seed)
    )
    middle = len(order) // 2
    one, other = order[:middle], order[middle:]
    return (one, other) if index % 2 == 0 else (other, one)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The reference models of a target.

    Args:
        halves: what each was trained on.
        sources: the stages that train them.
    """

    halves: tuple[ReferenceSplit, ...]
    sources: tuple[Source, ...]


@dataclass(frozen=True, kw_only=True)
class Calibrate(Stage):
    """Scores of a target's rows, or of a reference's, by what the other references answered.

    Args:
        answers: of the model that is judged.
        references: of the reference models.
        halves: of the reference models, in the same order.
    """

    REVISION: ClassVar[int] = 1
    answers: Stage
    references: tuple[Stage, ...]
    halves: tuple[ReferenceSplit, ...]
    method: Calibration
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"calibrate {self.name} by {type(self.method).__name__}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays `member` and `score` (n,), larger for likelier members."""
        judged = bench.load(self.answers).arrays
        about = [responses.log_odds(bench.load(each).arrays) for each in self.references]
        scores = score(
            torch.from_numpy(responses.log_odds(judged)),
            torch.from_numpy(np.stack(about)),
            torch.from_numpy(seen(bench, self.halves, len(judged["member"]))),
            self.method,
        )
        return Artifact(arrays={"member": judged["member"], "score": scores.numpy()}, facts={})


@dataclass(frozen=True, kw_only=True)
class CalibrateReferences(Stage):
    """Scores of each reference's rows, by what the others answered: their members are known.

    Args:
        references: of the reference models about the target's rows.
        halves: of the reference models, in the same order.
    """

    REVISION: ClassVar[int] = 1
    references: tuple[Stage, ...]
    halves: tuple[ReferenceSplit, ...]
    method: Calibration
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"calibrate the references of {self.name} by {type(self.method).__name__}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays `member` and `score`, of all references one after the other."""
        answers = [bench.load(each).arrays for each in self.references]
        about = torch.from_numpy(np.stack([responses.log_odds(each) for each in answers]))
        members = torch.from_numpy(seen(bench, self.halves, about.shape[1]))
        scores = []
        for index in range(len(about)):
            others = torch.arange(len(about)) != index
            scores.append(score(about[index], about[others], members[others], self.method))
        return Artifact(
            arrays={"member": members.flatten().numpy(), "score": torch.cat(scores).numpy()},
            facts={},
        )


def seen(bench: Bench, halves: tuple[ReferenceSplit, ...], rows: int) -> NDArray[np.bool_]:
    """(references, rows): which rows each reference model was trained with."""
    found = np.zeros((len(halves), rows), dtype=bool)
    for index, half in enumerate(halves):
        found[index, bench.load(half).arrays["row"]] = True
    return found
