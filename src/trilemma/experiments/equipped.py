"""Whether a thief has what it needs, before any work starts."""

from dataclasses import dataclass, field
from typing import ClassVar

from trilemma.core.augmentation import Augmentation, check_augmentation
from trilemma.core.box import Box
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.pools import held
from trilemma.experiments.stages import ROUNDING, UNCOUNTED, Parts, Split
from trilemma.experiments.theft import Pool
from trilemma.training.recipes import Recipe, build
from trilemma.training.student import Student


@dataclass(frozen=True, kw_only=True)
class Equipped(Stage):
    """Whether a thief's rows, student and start go together; computes nothing else.

    Args:
        pool, others: the rows that it asks about (`pools.held`).
        augmentation: of these rows.
        student: the recipe of its model.
        start: the recipe of the model that it begins as; None for none.
        begun: the split that this one is trained on.
        box: where the rows must lie.
    """

    REVISION: ClassVar[int] = 1
    split: Parts
    pool: Pool
    others: tuple[Split, ...]
    augmentation: tuple[Augmentation, ...] = ()
    student: Recipe
    start: Recipe | None
    begun: Split | None
    box: Box
    seed: int
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"check a thief of {self.name}, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Facts: `pool`, how many rows it has.

        Raises:
            BadInput: too few rows; rows of another shape, or outside the box; augmentation of rows
                that are no images; a student that does not take such inputs; a start of another
                architecture.
        """
        parts = bench.load(self.split)
        rows = held(self.pool, parts, [bench.load(each) for each in self.others], self.seed)
        outside = int(((self.box.clip(rows.x) - rows.x).abs() > ROUNDING).flatten(1).any(1).sum())
        if outside:
            problem = f"{outside} of {len(rows)} rows lie outside the box of valid inputs"
            raise BadInput("extraction.pool", problem, "Rescale them, or declare the box")
        shape, classes = tuple(rows.x.shape[1:]), int(parts.facts["classes"])
        check_augmentation(self.augmentation, shape)
        start = None
        if self.start is not None and self.begun is not None:
            begun = bench.load(self.begun)
            its = tuple(begun.arrays["members_x"].shape[1:])
            if its != shape:
                problem = f"has rows of shape {its}, where the victim's are {shape}"
                raise BadInput("extraction.start.data", problem, "Give rows of that shape")
            model = build(self.start, its, int(begun.facts["classes"]), seeded(0))
            start = model.state_dict()
        Student(self.student, shape, classes, 0, start=start, box=self.box)
        return Artifact(facts={"pool": len(rows)})
