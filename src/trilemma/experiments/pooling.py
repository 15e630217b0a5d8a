"""Reference models trained at once, where they are small enough for it to pay.

Each is still a stage of its own, `Train`, under the key that it has when it is trained alone: what
it makes is the same but for rounding, as on other devices. It takes its weights from here.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import ClassVar

from trilemma.core.box import Box
from trilemma.core.errors import TrainingCollapsed, TrainingDiverged
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.parts import part
from trilemma.experiments.pooled import packed
from trilemma.experiments.specs import Trained
from trilemma.experiments.stages import UNCOUNTED, Parts, Train, stream
from trilemma.training.devices import devices_here
from trilemma.training.together import joins, train_together, worth_it
from trilemma.training.train import Trained as Done


@dataclass(frozen=True, kw_only=True)
class TrainTogether(Stage):
    """Train several models at once, those of equally many rows in one go.

    Nothing is made, and each is left to be trained alone, where the models are too large, where
    devices were chosen, and where one of them diverges or collapses, so that the failure is its.

    Args:
        splits: whose members each is trained on.
        seeds: of the trainings, all different.
        model: how they are trained.
    """

    REVISION: ClassVar[int] = 1
    splits: tuple[Parts, ...]
    seeds: tuple[int, ...]
    model: Trained
    box: Box
    name: str = field(default="models", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"train {self.name} together"

    def run(self, bench: Bench) -> Artifact:
        """Arrays and facts as `pooled.packed` has them, or nothing."""
        by_rows = defaultdict(list)
        for split, seed in zip(self.splits, self.seeds, strict=True):
            parts = bench.load(split)
            by_rows[len(parts.arrays["members_y"])].append((part(parts, "members"), seed))
        shape, classes = parts.arrays["members_x"].shape[1:], int(parts.facts["classes"])
        if devices_here() is not None or not worth_it(self.model.recipe, shape, classes):
            return Artifact()
        done: dict[int, Done] = {}
        for group in by_rows.values():
            try:
                trained = train_together(
                    self.model.recipe,
                    self.model.objective,
                    [data for data, _ in group],
                    [stream("train", seed) for _, seed in group],
                    classes=classes,
                    box=self.box,
                    progress=bench.progress,
                )
            except (TrainingDiverged, TrainingCollapsed):
                return Artifact()
            done |= dict(zip([seed for _, seed in group], trained, strict=True))
        return packed(done)


def together(trains: tuple[Train, ...], name: str) -> tuple[Train, ...]:
    """The same trainings, which take their weights from one stage where they can be one.

    Args:
        trains: alike but for rows and seed.
        name: of all of them, for people.
    """
    model = trains[0].model
    if model.validation is not None or not joins(model.recipe, model.objective):
        return trains
    stage = TrainTogether(
        splits=tuple(each.split for each in trains),
        seeds=tuple(each.seed for each in trains),
        model=model,
        box=trains[0].box,
        name=name,
    )
    return tuple(replace(each, together=stage) for each in trains)
