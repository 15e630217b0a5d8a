"""What a model answers about single rows, label by label (Li & Zhang 2021, 4.1). No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trilemma import metrics
from trilemma.core.errors import BadInput
from trilemma.experiments import responses
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage

BINS = 40
DEFAULT = 2  # labels, of which one member and one non-member each are shown
SIDES = {"members": True, "nonmembers": False}


@dataclass(frozen=True, kw_only=True)
class Shown(Stage):
    """The rows whose answers are shown: a member and a non-member of each of some labels.

    They are drawn by the seed, without a look at any answer.

    Args:
        split: with `members_y`, `nonmembers_y`.
        classes: the labels; None draws two that both sides have.
        seed: of the draw.
    """

    REVISION: ClassVar[int] = 1
    split: Stage
    classes: tuple[int, ...] | None
    seed: int

    def label(self) -> str:
        """For progress and failures."""
        return f"draw the rows to look at, {self.split.label()}"

    def run(self, bench: Bench) -> Artifact:
        """Array `row`, places among `candidates`: a member, a non-member, a member, ...

        Raises:
            BadInput: a label of which one side has no row.
        """
        found = bench.load(self.split).arrays
        return Artifact(arrays={"row": self.drawn(found["members_y"], found["nonmembers_y"])})

    def drawn(self, members: NDArray[Any], nonmembers: NDArray[Any]) -> NDArray[np.int64]:
        """As `run`, from the labels of both sides."""
        rng = np.random.default_rng(self.seed)
        both = np.intersect1d(members, nonmembers)
        if self.classes is None:
            if not len(both):
                raise BadInput("analysis", "members and non-members have no label in common")
            labels = np.sort(rng.permutation(both)[:DEFAULT]).tolist()
        else:
            labels = list(self.classes)
        picked = []
        for label in labels:
            if label not in both:
                raise BadInput(
                    "analysis.classes",
                    f"names label {label}, of which one side has no row",
                    f"Both have: {', '.join(map(str, both[:20]))}",
                )
            picked.append(rng.choice(np.flatnonzero(members == label)))
            picked.append(len(members) + rng.choice(np.flatnonzero(nonmembers == label)))
        return np.array(picked, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Answered(Stage):
    """Answers of a model about some rows in full, and how far all answers are from other labels.

    Args:
        answers: see `responses`, whole ones.
        shown: which rows.
    """

    REVISION: ClassVar[int] = 1
    answers: Stage
    shown: Shown
    name: str = field(default="model", metadata={"counts": False})

    def label(self) -> str:
        """For progress and failures."""
        return f"look at the answers of {self.name}"

    def run(self, bench: Bench) -> Artifact:
        """Facts: the mean `ace` (average cross-entropy with other labels) of members (`train`) and
        non-members (`test`), the `loss` histogram, and the `shown` rows: `member`, `label`,
        `predicted` and, of each label, the `loss` it would have; null where that is infinite.
        """
        answers = bench.load(self.answers).arrays
        row = bench.load(self.shown).arrays["row"]
        return Artifact(facts=looked_at(answers, row))


def looked_at(answers: responses.Arrays, row: NDArray[np.int64]) -> dict[str, Any]:
    """See `Answered`.

    Args:
        answers: with `member`, `label` and `log_probabilities`.
        row: those that are shown.
    """
    member, logs = answers["member"].astype(bool), answers["log_probabilities"]
    ace = metrics.average_cross_entropy(logs)
    loss = responses.loss(answers)
    return {
        "ace": {
            "train": metrics.mean(ace[member]).to_json(),
            "test": metrics.mean(ace[~member]).to_json(),
        },
        "loss": metrics.loss_histogram(loss[member], loss[~member], bins=BINS),
        "shown": [_row(answers, each, float(ace[each])) for each in row.tolist()],
    }


def _row(answers: Mapping[str, NDArray[Any]], row: int, ace: float) -> dict[str, Any]:
    logs = answers["log_probabilities"][row]
    losses = np.maximum(-logs.astype(np.float64), 0.0)
    return {
        "member": bool(answers["member"][row]),
        "label": int(answers["label"][row]),
        "predicted": int(logs.argmax()),
        "losses": [_finite(each, 6) for each in losses.tolist()],
        "ace": _finite(ace, 6),
    }


def _finite(value: float, digits: int) -> float | None:
    return round(value, digits) if np.isfinite(value) else None
