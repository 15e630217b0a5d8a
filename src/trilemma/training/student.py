"""A student: a model that is taught by another's answers, step by step."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Generator, Tensor, nn

from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.core.types import Probs, Rows
from trilemma.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from trilemma.training.fit import fit
from trilemma.training.objectives import Natural
from trilemma.training.recipes import Recipe, build
from trilemma.training.schedule import optimiser_of, rate_share


class Student:
    """What extraction teaches: a model with the optimiser and the course of a recipe.

    Implements `attacks.extraction.Learner`.

    Args:
        recipe: architecture, optimiser, course over its epochs, longest gradient. Its batch,
            augmentation and radius are the thief's business and not looked at.
        shape: of one input, without the row axis.
        classes: how many logits.
        seed: draws the weights.
        start: weights to begin with, as of a model that was trained on other data; a last layer of
            another shape (where there are other classes) keeps its drawn weights.
        box: the valid inputs.

    Raises:
        BadInput: the architecture does not take such inputs; the start has other layers.
    """

    def __init__(
        self,
        recipe: Recipe,
        shape: Sequence[int],
        classes: int,
        seed: int,
        *,
        start: Mapping[str, Tensor] | None = None,
        box: Box = UNIT,
    ) -> None:
        model = build(recipe, shape, classes, seeded(seed))
        if start is not None:
            _begin_with(model, start)
        self._take(model, recipe, box)

    @classmethod
    def of(cls, model: nn.Module, recipe: Recipe, *, box: Box = UNIT) -> "Student":
        """A student whose model is a module of one's own.

        Args:
            model: logits out; taught in place, and asked in eval mode. `afresh` takes it back to
                the weights that it has now.
            recipe: optimiser, course, longest gradient; its architecture is not looked at.
            box: the valid inputs.

        Example:
            >>> from trilemma.training import MLP
            >>> Student.of(nn.Linear(2, 3), MLP(epochs=5)).model
            Linear(in_features=2, out_features=3, bias=True)
        """
        student = cls.__new__(cls)
        student._take(model, recipe, box)
        return student

    def _take(self, model: nn.Module, recipe: Recipe, box: Box) -> None:
        self.recipe, self.box = recipe, box
        self.model: nn.Module = model.eval()
        self._first = {name: each.clone() for name, each in self.model.state_dict().items()}
        self.afresh()

    def afresh(self) -> None:
        """Back to the weights that it began with, and to an optimiser that has not stepped."""
        self.model.load_state_dict(self._first)
        self.optimiser = optimiser_of(self.recipe.optimiser, self.model.parameters())
        self.steps = 0

    def begin(self, epoch: int) -> None:
        """Set the learning rate of a pass."""
        share = rate_share(self.recipe.course, epoch, self.recipe.epochs)
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.optimiser.learning_rate * share

    def learn(self, x: Rows, targets: Probs, rng: Generator) -> float:
        """One step; see `attacks.extraction.Learner`.

        Raises:
            TrainingDiverged: the loss left the numbers.
        """
        lesson = [(x, targets)]
        (step,) = fit(
            self.model,
            lesson,
            Natural(),
            self.optimiser,
            rng=rng,
            box=self.box,
            clip_norm=self.recipe.clip_norm,
            first=self.steps,
        )
        self.steps += 1
        return step.loss


@dataclass(frozen=True, eq=False)
class Kept:
    """Where a theft is saved, and taken up again. Implements `attacks.extraction.Keeper`.

    Args:
        checkpoint: where to, and how often.
        identity: of all that decides the result (`core.keys.digest`).
        student: put back by `load`.
        rng: the thief's; put back too.
    """

    checkpoint: Checkpoint
    identity: str
    student: Student
    rng: Generator
    _last: list[float] = field(default_factory=lambda: [time.monotonic()], init=False)

    def load(self) -> list[dict[str, Any]]:
        """The passes that were saved; none, and nothing changed, where there is no checkpoint.

        Raises:
            BadInput: the checkpoint is of another theft.
        """
        student = self.student
        history = load_checkpoint(
            self.checkpoint, self.identity, student.model, student.optimiser, self.rng
        )
        student.steps = history[-1]["mark"] if history else 0
        return history

    def save(self, history: list[dict[str, Any]]) -> bool:
        """Save, unless that was done a moment ago; whether it was saved."""
        if time.monotonic() - self._last[0] < self.checkpoint.every_seconds:
            return False
        student, folder = self.student, self.checkpoint.folder
        save_checkpoint(folder, self.identity, student.model, student.optimiser, self.rng, history)
        self._last[0] = time.monotonic()
        return True


def _begin_with(model: nn.Module, start: Mapping[str, Tensor]) -> None:
    """Take over all; a last layer of another shape keeps what it has."""
    own = model.state_dict()
    strange = sorted(set(own) ^ set(start))
    if strange:
        raise BadInput(
            "start",
            f"{len(strange)} of its tensors and the student's are not in both: {strange[0]}",
            "Start with a model of the same architecture",
        )
    other = [name for name, each in own.items() if start[name].shape != each.shape]
    last = _layer(list(own)[-1])
    if inner := [name for name in other if _layer(name) != last]:
        its, own_shape = (tuple(each[inner[0]].shape) for each in (start, own))
        problem = f"{inner[0]} has shape {its}, where the student's has {own_shape}"
        raise BadInput("start", problem, "Start with a model of the same architecture")
    fitting = {name: each for name, each in start.items() if name not in other}
    model.load_state_dict(fitting, strict=False)


def _layer(name: str) -> str:
    """Of a tensor of that name."""
    return name.rpartition(".")[0]
