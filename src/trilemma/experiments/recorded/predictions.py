"""What was recorded, and what is read off it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.experiments import responses

Array: TypeAlias = NDArray[Any]
Which: TypeAlias = Literal["benign", "adversarial"]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """A model of which only the recorded answers are known.

    Args:
        predictions: the file, in one of the forms of `read_recorded`.
    """

    predictions: Path


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """One kind of answer, (n, k) probabilities or (n,) confidences, for both sides.

    Args:
        members: answers about training rows, in the precision they were recorded in.
        nonmembers: answers about rows that were not trained on.
    """

    members: Array
    nonmembers: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """What a file holds, before it has a name.

    Args:
        benign: answers about the inputs as they are.
        adversarial: answers about the same inputs, perturbed; None where none were recorded.
        labels: true classes, int64; None where only confidences were recorded.
        notes: what a reader of the audit should know about the file, a sentence each.
    """

    benign: Answers
    adversarial: Answers | None
    labels: Answers | None
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorded:
    """The recorded answers of one model.

    Args:
        name: what the model is called in reports.
        fingerprint: BLAKE2b-128 of the file's bytes, in hexadecimal.
        benign: answers about the inputs as they are.
        adversarial: answers about the same inputs, perturbed; None where none were recorded.
        labels: true classes, int64 in [0, classes), of both sides; None where only the
            confidences were recorded.
        notes: what a reader of the audit should know about the file, a sentence each.
    """

    name: str
    fingerprint: str
    benign: Answers
    adversarial: Answers | None
    labels: Answers | None
    notes: tuple[str, ...]

    @property
    def classes(self) -> int | None:
        """How many classes the model tells apart; None where only confidences were recorded."""
        return None if self.labels is None else int(self.benign.members.shape[1])

    @property
    def members(self) -> int:
        """Number of members."""
        return len(self.benign.members)

    @property
    def nonmembers(self) -> int:
        """Number of non-members."""
        return len(self.benign.nonmembers)


def answers(recorded: Recorded, which: Which) -> dict[str, Array]:
    """The arrays of `trilemma.experiments.responses`, members first.

    Args:
        recorded: what `read_recorded` returned.
        which: the benign or the adversarial answers.

    Returns:
        `member`, and either `probabilities` and `label` or `confidence`; values are those of the
        file. Where the two sides were recorded in different precisions, the finer one holds both.

    Raises:
        BadInput: no adversarial answers were recorded.
    """
    found = getattr(recorded, which)
    if found is None:
        raise BadInput(
            recorded.name,
            f"no {which} answers were recorded",
            "Record the model's answers to perturbed inputs too, or ask for the benign ones only",
        )
    member = np.arange(recorded.members + recorded.nonmembers) < recorded.members
    both = _join(found)
    if both.dtype.kind != "f":  # hard answers, 0 or 1
        both = both.astype(np.float64)
    if recorded.labels is None:
        return {"member": member, "confidence": both}
    return {"member": member, "label": _join(recorded.labels), "probabilities": both}


def scores(recorded: Recorded, which: Which) -> tuple[Array, Array]:
    """F(x)_y of members and of non-members, as recorded (Song et al. 2019, eq. 17 and 18)."""
    return _sides(recorded, responses.confidence(answers(recorded, which)))


def losses(recorded: Recorded, which: Which) -> tuple[Array, Array]:
    """-log F(x)_y in nats of members and of non-members; infinite where F(x)_y is 0."""
    return _sides(recorded, responses.loss(answers(recorded, which)))


def correct(recorded: Recorded, which: Which) -> tuple[Array, Array] | None:
    """Whether members and non-members are classified correctly; None if only confidences are known.

    The answered class is the first of the most probable ones, so a model that answers the uniform
    distribution everywhere is right about the rows of class 0 only.
    """
    right = responses.correct(answers(recorded, which))
    return None if right is None else _sides(recorded, right)


def _join(sides: Answers) -> Array:
    return np.ascontiguousarray(np.concatenate([sides.members, sides.nonmembers]))


def _sides(recorded: Recorded, rows: Array) -> tuple[Array, Array]:
    return rows[: recorded.members], rows[recorded.members :]
