"""Adversarial training on a data set that a victim has labelled (Li et al. 2023, section 3)."""

from collections.abc import Callable
from dataclasses import field
from functools import partial
from typing import Annotated, ClassVar, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from trilemma.attacks.evasion import PGD, pgd
from trilemma.attacks.extraction.active_thief import AtRandom
from trilemma.attacks.extraction.cloud_leak import FeatureFool, guided
from trilemma.attacks.extraction.method import Lesson, Places, Scene, unchanged
from trilemma.attacks.extraction.rounds import RoundMethod, RoundThief, Teach, heedless
from trilemma.core.balls import Linf
from trilemma.core.types import Rows
from trilemma.oracles import log_probabilities


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class SelfAdaptive:
    r"""Self-adaptive training: targets drift towards what the student itself answers.

    .. math:: t_i \leftarrow \alpha t_i + (1 - \alpha) \, \mathrm{softmax}(S(x_i)), \quad
        w_i = \max_j t_{ij}, \quad \text{loss} = \sum_i w_i CE(S(\tilde x_i), t_i) / \sum_i w_i

    Args:
        momentum: alpha.
        after: passes over the data before targets begin to drift.

    Source: Huang et al., "Self-adaptive training: beyond empirical risk minimization", NeurIPS
    2020, algorithm 1.
    """

    REVISION: ClassVar[int] = 1

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    after: Annotated[int, Field(ge=0)] = 60


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class CleanRows:
    """Rows of the pool as they are."""

    REVISION: ClassVar[int] = 1


Source: TypeAlias = CleanRows | FeatureFool


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class LabelDataset(RoundThief):
    """Adversarial training on rows that the victim has labelled once.

    Args:
        source: what is labelled: rows as `Vanilla` asks about them, or as `CloudLeak` does.
        attack: how adversarial examples are found in training.
        self_adaptive: against overfitting; None is plain adversarial training.

    Source: Li et al. 2023, section 3 and figure 1c.
    """

    REVISION: ClassVar[int] = 1

    source: Source = CleanRows()
    attack: PGD = field(
        default_factory=lambda: PGD(ball=Linf(8 / 255), steps=10, step_size=2 / 255)
    )
    self_adaptive: SelfAdaptive | None = None


def label_dataset_method(config: LabelDataset) -> RoundMethod:
    """What `LabelDataset` does."""
    source = config.source
    return RoundMethod(
        pick=heedless(AtRandom()),
        craft=unchanged if isinstance(source, CleanRows) else partial(guided, source),
        teach=lambda: adversarially(config.attack, config.self_adaptive),
    )


def adversarially(attack: PGD, self_adaptive: SelfAdaptive | None) -> Teach:
    """Adversarial training on what was answered, of one thief."""
    return _hardened(attack, _Drifting(self_adaptive) if self_adaptive else _as_answered)


Answers: TypeAlias = Float[Tensor, "n k"]
Targets: TypeAlias = Callable[[Scene, Places, Rows, Answers], tuple[Answers, Float[Tensor, " n"]]]


def _hardened(attack: PGD, targets: Targets) -> Teach:
    """Adversarial examples, taught the targets by their weights."""

    def teach(scene: Scene, places: Places, x: Rows, answers: Answers) -> Lesson:
        target, weight = targets(scene, places, x, answers)
        y = target.argmax(1)
        hard = pgd(scene.student, x, y, attack, box=scene.box, rng=scene.rng, batch=len(x))
        return hard, (weight / weight.mean()).unsqueeze(1) * target

    return teach


def _as_answered(
    scene: Scene, places: Places, x: Rows, answers: Answers
) -> tuple[Answers, Float[Tensor, " n"]]:
    return answers, answers.new_ones(len(answers))


class _Drifting:
    """The targets of self-adaptive training, which go on from pass to pass."""

    def __init__(self, config: SelfAdaptive) -> None:
        self.config = config
        self.targets = torch.zeros(0, 0)  # (m, k) by place
        self.seen = torch.zeros(0, dtype=torch.int64)
        self.epoch = 0

    def __call__(
        self, scene: Scene, places: Places, x: Rows, answers: Answers
    ) -> tuple[Answers, Float[Tensor, " n"]]:
        """The targets of some rows, and their weights."""
        if scene.epoch < self.epoch:  # another round, with a student that knows nothing
            self.targets, self.seen = self.targets[:0], self.seen[:0]
        self.epoch = scene.epoch
        self._grow(int(places.max()) + 1, answers)
        target = torch.where(self._first(places), answers, self.targets[places])
        due = (self.seen[places] >= self.config.after).unsqueeze(1)
        if bool(due.any()):
            own = log_probabilities(scene.student, x).exp()
            alpha = self.config.momentum
            target = torch.where(due, alpha * target + (1 - alpha) * own, target)
        self.targets[places] = target
        self.seen[places] += 1
        return target, target.amax(1)

    def _first(self, places: Places) -> Tensor:
        return (self.seen[places] == 0).unsqueeze(1)

    def _grow(self, rows: int, answers: Answers) -> None:
        more = max(rows - len(self.seen), 0)
        old = self.targets.reshape(-1, answers.shape[1]).to(answers)
        self.targets = torch.cat([old, answers.new_zeros(more, answers.shape[1])])
        self.seen = torch.cat([self.seen, self.seen.new_zeros(more)])
