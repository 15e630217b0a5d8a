"""Which epoch's weights are kept: those most accurate under attack on rows held out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Generator, nn

from trilemma.attacks.evasion import Evasion, attack_of
from trilemma.core.box import UNIT, Box
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.core.pace import usual
from trilemma.oracles import log_probabilities


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Rows held out, and the attack under which they are to be classified right.

    Args:
        data: not members: on them it is decided which weights are kept.
        attack: under which accuracy is measured after each epoch at full strength.
        patience: the training stops after so many such epochs in a row without a better one; None
            never stops it.

    Raises:
        BadInput: there are no rows, or soft targets; patience below 1.
    """

    data: Dataset
    attack: Evasion
    patience: int | None = None

    def __post_init__(self) -> None:
        if len(self.data) == 0:
            raise BadInput("validation data", "has no rows", "Give at least one")
        _check_labels(self.data)
        if self.patience is not None and self.patience < 1:
            raise BadInput("patience", f"is {self.patience}", "Give 1 epoch at least, or None")


def robust_accuracy(
    model: nn.Module,
    data: Dataset,
    attack: Evasion,
    *,
    box: Box = UNIT,
    rng: Generator,
) -> float:
    """Share of the rows that the model classifies right under attack.

    A row on which the attack fails (NaN) does not count as right.
    """
    return withstood(model, data, attack, box=box, rng=rng) / len(data)


def withstood(
    model: nn.Module,
    data: Dataset,
    attack: Evasion,
    *,
    box: Box = UNIT,
    rng: Generator,
) -> int:
    """How many of the rows the model classifies right under attack."""
    _check_labels(data)
    if len(data) == 0:
        return 0
    rows = usual(data.x).rows  # a measured pace would repeat but for rounding
    x_adv = attack_of(attack)(model, data.x, data.y, attack, box=box, rng=rng, batch=rows)
    sound = x_adv.isfinite().flatten(1).all(1)
    answers = log_probabilities(model, x_adv[sound]).argmax(1)
    return int((answers == data.y[sound]).sum())


def _check_labels(data: Dataset) -> None:
    if data.soft:
        raise BadInput("validation data", "have soft targets", "Give labels: y.argmax(1)")


def best_of(scores: Sequence[float]) -> int:
    """The first epoch (from 0) with the highest score."""
    return max(range(len(scores)), key=lambda epoch: (scores[epoch], -epoch))


def spent(scores: Sequence[float], patience: int | None) -> bool:
    """Whether the last `patience` epochs brought nothing better.

    Example:
        >>> [spent(scores, 2) for scores in ([], [0.5], [0.5, 0.4], [0.5, 0.4, 0.5])]
        [False, False, False, True]
    """
    if patience is None or not scores:
        return False
    return len(scores) - 1 - best_of(scores) >= patience


def stream(purpose: str, seed: int) -> Generator:
    """A generator of its own for each purpose, so that its draws never shift the training's."""
    digest = hashlib.blake2b(f"{purpose} {seed}".encode(), digest_size=8).digest()
    return seeded(int.from_bytes(digest, "big") % 2**62)
