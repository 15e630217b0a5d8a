"""What is seen of a student while it is taught."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trilemma.attacks.evasion import Evasion, attack_of
from trilemma.attacks.extraction import Pass, Stolen
from trilemma.core.box import Box
from trilemma.core.dataset import Dataset
from trilemma.core.generators import seeded
from trilemma.core.pace import usual
from trilemma.experiments.stages import stream
from trilemma.models.weights import read_weights, save_weights
from trilemma.oracles import log_probabilities

JUDGED, CHOSEN = "test", "validation"  # where the numbers count, where the best student is chosen


class Looks:
    """Looks at a student on the way; kept on disk, so that a kill loses nothing.

    Args:
        student: taught between two looks.
        victim: whose labels fidelity counts.
        rows: by where they come from, `validation` and `test`.
        attack: under which robustness is looked at; None looks at accuracy alone.
        box: the valid inputs.
        seed: of the attack's draws.
        folder: for the looks and the best student's weights.

    Attributes:
        seen: each look: `pass`, `queries`, `loss`; `accuracy`, `fidelity` and, under attack,
            `robust_accuracy` on the validation rows; the same on others, `test`.
    """

    def __init__(
        self,
        student: nn.Module,
        victim: nn.Module,
        rows: Mapping[str, Dataset],
        attack: Evasion | None,
        *,
        box: Box,
        seed: int,
        folder: Path,
    ) -> None:
        self.student, self.rows, self.attack = student, rows, attack
        self.box, self.seed, self.folder = box, seed, folder
        self.told = {name: labels(victim, each.x) for name, each in rows.items()}
        self.seen: list[dict[str, Any]] = (
            json.loads(self._file.read_text()) if self._file.exists() else []
        )

    def look(self, number: int, each: Pass) -> None:
        """After a pass, by its number from 0; -1 before the first."""
        self.seen = [look for look in self.seen if look["pass"] <= number]  # of before a kill
        self.seen.append(
            {
                "pass": number + 1,
                "queries": each.spent,
                "loss": each.loss,
                **self._on(CHOSEN),
                JUDGED: self._on(JUDGED),
            }
        )
        if self.best == len(self.seen) - 1:
            save_weights(self._weights, self.student)
        _written(self._file, json.dumps(self.seen))

    def at_the_end(self, stolen: Stolen) -> None:
        """Look at the last pass, where the theft ended before it was time to."""
        done = len(stolen.history)
        if not self.seen or self.seen[-1]["pass"] < done:
            unlearnt = Pass(loss=0.0, spent=stolen.spent, mark=0)  # refused from the first call on
            self.look(done - 1, stolen.history[-1] if done else unlearnt)

    @property
    def best(self) -> int:
        """Which look is the best on the validation rows, the first of equals."""
        return best_of(self.seen)

    @property
    def published(self) -> int:
        """Which is the best on the rows that it is judged on, as the paper chooses."""
        return best_of([look[JUDGED] for look in self.seen])

    def best_weights(self) -> dict[str, Tensor]:
        """The student as it was at the best look."""
        return read_weights(self._weights)

    def _on(self, name: str) -> dict[str, float]:
        rows = self.rows[name]
        given = labels(self.student, rows.x)
        found = {
            "accuracy": share(given == rows.y),
            "fidelity": share(given == self.told[name]),
        }
        if self.attack is not None:
            rng = seeded(stream("attack", self.seed))
            hard = under(self.student, rows, self.attack, self.box, rng)
            found["robust_accuracy"] = share(labels(self.student, hard) == rows.y)
        return found

    @property
    def _file(self) -> Path:
        return self.folder / "looks.json"

    @property
    def _weights(self) -> Path:
        return self.folder / "best.safetensors"


def best_of(seen: list[dict[str, Any]]) -> int:
    """The most robust, or the most accurate where nobody attacked; the first of equals."""
    by = "robust_accuracy" if "robust_accuracy" in seen[0] else "accuracy"
    return max(range(len(seen)), key=lambda i: (seen[i][by], -i))


def labels(model: nn.Module, x: Tensor) -> Tensor:
    """(n,) the label of each row."""
    return log_probabilities(model, x).argmax(1)


def under(
    model: nn.Module, rows: Dataset, attack: Evasion, box: Box, rng: torch.Generator
) -> Tensor:
    """The rows attacked; where an attack fails (NaN), the row itself."""
    batch = usual(rows.x).rows  # a measured pace would repeat but for rounding
    hard = attack_of(attack)(model, rows.x, rows.y, attack, box=box, rng=rng, batch=batch)
    sound = hard.isfinite().flatten(1).all(1).view(-1, *[1] * (hard.dim() - 1))
    return hard.where(sound, rows.x)


def share(hits: Tensor) -> float:
    """How many of them hold."""
    return math.fsum(hits.tolist()) / max(len(hits), 1)


def _written(path: Path, text: str) -> None:
    """Whole under its name, or not at all."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)
