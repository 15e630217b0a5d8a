"""A recipe carried out on rows without labels: an encoder that knows changed inputs again."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from trilemma.core.augmentation import augmented
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.core.types import Rows
from trilemma.oracles.detectors import SimilarityEncoder, similarity_loss
from trilemma.training.fit import fit
from trilemma.training.objectives import Batch, Term
from trilemma.training.recipes import Recipe, build
from trilemma.training.schedule import optimiser_of, rate_share


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedEncoder:
    """A trained similarity encoder.

    Args:
        model: in eval mode; (n, *x) inputs to (n, d) features.
        losses: of each epoch, mean over its rows.
    """

    model: nn.Module
    losses: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _Similarity(Term):
    """The similarity loss of a batch; the ball grows with the recipe's ramp."""

    config: SimilarityEncoder
    recipe: Recipe

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        ball = self.config.ball
        grown: Any = type(ball)(batch.strength * ball.radius)
        return similarity_loss(
            model,
            batch.x,
            replace(self.config, ball=grown),
            transform=lambda x, rng: augmented(x, self.recipe.augmentation, rng, batch.box),
            box=batch.box,
            rng=batch.rng,
        )


def train_encoder(
    x: Rows,
    recipe: Recipe,
    config: SimilarityEncoder,
    seed: int,
    *,
    features: int = 64,
    box: Box = UNIT,
) -> TrainedEncoder:
    r"""Train SEAT's similarity encoder.

    .. math:: \min_e \frac1n \sum_i \max_{x_i^+ \in B(x_i)} \|e(x_i) - e(x_i^+)\|_2^2
        + \max(0, m^2 - \|e(x_i) - e(x_i^-)\|_2^2)

    A copy is augmented as the recipe says before it is looked for in the ball, which grows over the
    recipe's ramp. Of an epoch's last batch nothing is learnt where it has but one row.

    Args:
        x: (n, *x) two rows or more, none like another, without labels.
        recipe: architecture and schedule.
        config: margin, and how copies are found.
        seed: of every random draw.
        features: d, of the encoder's outputs.
        box: the valid inputs.

    Raises:
        BadInput: fewer than two rows, or batches of one; no feature; a private recipe; an
            architecture that does not take such inputs.
        TrainingDiverged: the loss left the numbers.

    Example:
        >>> from trilemma.core.balls import Linf
        >>> from trilemma.training.recipes import MLP
        >>> x, recipe = torch.rand(64, 5, generator=seeded(0)), MLP(hidden=(8,), epochs=5)
        >>> trained = train_encoder(x, recipe, SimilarityEncoder(ball=Linf(0.05)), 1, features=4)
        >>> trained.model(x).shape, trained.losses[-1] < trained.losses[0]
        (torch.Size([64, 4]), True)

    Source:
        Zhang et al., "SEAT: similarity encoder by adversarial training for detecting model
        extraction attack queries", AISec 2021; see `SimilarityEncoder`.
    """
    _check(x, recipe, features)
    rng = seeded(seed)
    model = build(recipe, x.shape[1:], features, rng)
    optimiser = optimiser_of(recipe.optimiser, model.parameters())
    losses: list[float] = []
    for epoch in range(recipe.epochs):
        rate = recipe.optimiser.learning_rate * rate_share(recipe.course, epoch, recipe.epochs)
        for group in optimiser.param_groups:
            group["lr"] = rate
        steps = fit(
            model,
            _batches(x, recipe.batch, rng),
            _Similarity(config, recipe),
            optimiser,
            rng=rng,
            strength=recipe.strength(epoch),
            box=box,
            clip_norm=recipe.clip_norm,
            first=epoch * math.ceil(len(x) / recipe.batch),
        )
        taught = [(step.loss * step.rows, step.rows) for step in steps]
        losses.append(math.fsum(loss for loss, _ in taught) / sum(rows for _, rows in taught))
    return TrainedEncoder(model=model.eval(), losses=tuple(losses))


def _batches(x: Rows, batch: int, rng: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    for rows in torch.randperm(len(x), generator=rng).split(batch):
        if len(rows) > 1:  # one alone has nothing that it is told apart from
            yield x[rows], torch.zeros_like(rows)  # nobody looks at labels


def _check(x: Tensor, recipe: Recipe, features: int) -> None:
    if min(len(x), recipe.batch) < 2:
        problem = f"are {len(x)} in batches of {recipe.batch}"
        raise BadInput("inputs", problem, "Give two or more, which are told apart")
    if features < 1:
        raise BadInput("features", f"are {features}", "Give one or more")
    if recipe.privacy is not None:
        raise BadInput("recipe.privacy", "is no part of an encoder's training", "Leave it out")
