"""Retraining without single members: what each changes (Song et al. 2019, section 5.2.1)."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from trilemma import metrics
from trilemma.core.errors import BadInput
from trilemma.data.stratified import stratified_order
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.asking import Asking
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.responses import confidence
from trilemma.experiments.specs import Experiment
from trilemma.experiments.stages import (
    UNCOUNTED,
    Own,
    Parts,
    Source,
    Temper,
    Train,
    origin,
    restore,
    stream,
)
from trilemma.oracles import log_probabilities

NEEDED = ("members", "nonmembers", "validation")  # parts of a split that a training looks at


@dataclass(frozen=True, kw_only=True)
class LeaveOut(Parts):
    """A split without one member of each label, in each round another one.

    Which members is drawn from the seed alone, before anything is trained. Round r of few rounds is
    round r of many, so that more rounds continue fewer.

    Args:
        round: counted from 0.
    """

    REVISION: ClassVar[int] = 1
    split: Parts
    seed: int
    round: int

    def label(self) -> str:
        """For progress and failures."""
        return f"leave members out, round {self.round + 1}, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays (of the parts that a training needs) and facts as of the split, and `left_out`:
        the rows that are members no longer.

        Raises:
            BadInput: a label has too few members for so many rounds.
        """
        parts = bench.load(self.split)
        row = self.drawn(parts.arrays["members_y"])
        kept = {name: a for name, a in parts.arrays.items() if name.startswith(NEEDED)}
        fewer = {name: np.delete(kept[name], row, axis=0) for name in ("members_x", "members_y")}
        return Artifact(arrays={**kept, **fewer, "left_out": row}, facts=dict(parts.facts))

    def drawn(self, y: NDArray[np.int64]) -> NDArray[np.int64]:
        """One row of each label in `y`, by ascending label; none is drawn in another round.

        Raises:
            BadInput: a label has too few rows.
        """
        labels, counts = np.unique(y, return_counts=True)
        rounds = self.round + 1
        if counts.min() < rounds:
            label, count = labels[counts.argmin()], counts.min()
            raise BadInput(
                "sensitivity.rounds",
                f"is {rounds}, but label {label} has {count} of the {len(y)} members:"
                " each round leaves out another one",
                f"Ask for at most {count} rounds, or give more members"
                if count > 1
                else "Give 2 members of each label at least",
            )
        seed = stream("leave out", self.seed)
        orders = (stratified_order(y, np.flatnonzero(y == c), seed, stream=int(c)) for c in labels)
        return np.array([order[self.round] for order in orders], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Sensitivities(Stage):
    """How much surer a model is of members than models that were trained anew without them.

    A retraining has the recipe, the objective and the seed of the original one, and so its initial
    weights; but the order of the rows, the size of an epoch's last batch, the attacks' starts and
    all that follows differ by necessity, because there are fewer rows. So a difference contains
    both: what the point changes, and what another run of the training changes by itself, which need
    not be 0 on average. The latter is measured as the same difference in points that a retraining
    did have: those that the round before left out (the last round, for the first). Each point is
    thus left out once and stays once, and both numbers are of the same points; which these are is
    drawn from the seed.

    Args:
        source: the original model.
        retrained: one model a round, each trained on the `LeaveOut` of its round.
        seed: of the bootstrap.
    """

    REVISION: ClassVar[int] = 1
    split: Parts
    source: Source
    retrained: tuple[Source, ...]
    seed: int
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"sensitivity of {self.name}, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays, one row a point: `row` among the members, `label`, `round` that leaves it out,
        confidence in the label of the `original` model, of the one `without` and of one `within`.

        Facts: `metrics` (estimates), `values` (ascending differences: `left_out`, `stayed`),
        `rounds` and `points`.
        """
        members = bench.load(self.split).arrays
        drawn = np.stack([_without(each).drawn(members["members_y"]) for each in self.retrained])
        row = drawn.ravel()
        x = torch.from_numpy(np.array(members["members_x"][row]))
        label = members["members_y"][row]

        def sure(source: Source) -> NDArray[np.float64]:
            answers = log_probabilities(restore(source, self.split, bench), x)
            found = confidence({"log_probabilities": answers.numpy(), "label": label})
            return found.reshape(drawn.shape)

        original = sure(self.source)
        anew = np.stack([sure(source) for source in self.retrained])  # (models, rounds, labels)
        each = np.arange(len(drawn))
        without, within = anew[each, each], np.roll(anew, -1, axis=0)[each, each]
        found = metrics.sensitivity(
            original.ravel(), without.ravel(), within.ravel(), seed=self.seed
        )
        arrays = {
            "row": row,
            "label": label,
            "round": np.repeat(each, drawn.shape[1]),
            "original": original.ravel(),
            "without": without.ravel(),
            "within": within.ravel(),
        }
        facts = {
            "metrics": found.to_json(),
            "values": {"left_out": found.left_out.tolist(), "stayed": found.stayed.tolist()},
            "rounds": len(drawn),
            "points": len(row),
        }
        return Artifact(arrays=arrays, facts=facts)


def leaving_out(declared: Experiment, target: Asking) -> dict[str, Any]:
    """The fields `sensitivity` and `unretrained` of a cell."""
    if declared.sensitivity is None:
        return {}
    if isinstance(origin(target.source), Own):
        return {"unretrained": "how this model was trained is not declared"}
    rounds = [
        LeaveOut(split=target.split, seed=target.seed, round=each)
        for each in range(declared.sensitivity.rounds)
    ]
    stage = Sensitivities(
        split=target.split,
        source=target.source,
        retrained=tuple(_retrained(target.source, each) for each in rounds),
        seed=target.seed,
        name=target.name,
    )
    return {"sensitivity": stage}


def _retrained(source: Source, split: LeaveOut) -> Source:
    """The same training on fewer rows."""
    trained = origin(source)
    assert isinstance(trained, Train)  # noqa: S101 - others have no training to repeat
    name = f"{trained.name} without round {split.round + 1}"
    anew = replace(trained, split=split, name=name)
    return replace(source, source=anew, name=name) if isinstance(source, Temper) else anew


def _without(retrained: Source) -> LeaveOut:
    """What a retrained model was trained on."""
    split = origin(retrained).split
    assert isinstance(split, LeaveOut)  # noqa: S101 - as `_retrained` makes them
    return split


def enough_members(declared: Experiment, split: Parts, seed: int) -> tuple[LeaveOut, ...]:
    """The stage that refuses labels with too few members, to be run before all training."""
    if declared.sensitivity is None:
        return ()
    return (LeaveOut(split=split, seed=seed, round=declared.sensitivity.rounds - 1),)
