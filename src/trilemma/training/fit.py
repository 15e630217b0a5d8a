"""The one training loop."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, nn
from torch.optim import Optimizer

from trilemma.core.box import UNIT, Box
from trilemma.core.errors import TrainingDiverged
from trilemma.core.generators import global_from
from trilemma.core.modes import training
from trilemma.training.engine import ALONE, Engine, Given
from trilemma.training.objectives import Batch, Term, by_row
from trilemma.training.objectives.game import Game


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step did.

    Args:
        number: counted from `first`.
        loss: before the step, mean over the batch, in nats.
        rows: of the batch.
        by_row: of that loss what `objectives.by_row` says; None where that is nothing else.
    """

    number: int
    loss: float
    rows: int
    by_row: float | None = None


def fit(  # noqa: PLR0913
    model: nn.Module,
    batches: Iterable[Given],
    objective: Term,
    optimiser: Optimizer,
    *,
    rng: Generator,
    strength: float = 1.0,
    box: Box = UNIT,
    clip_norm: float | None = None,
    first: int = 0,
    engine: Engine = ALONE,
    game: Game | None = None,
) -> Iterator[Step]:
    """Train `model` in place, one step for each batch drawn; the caller logs, saves and stops.

    A step runs in train mode and hands the model back as it came; what draws from torch's global
    generator (dropout) draws from one seeded by `rng`, and the global one is restored.

    Args:
        model: logits out.
        batches: (inputs, labels) for each step, and, for objectives that treat rows of the training
            set differently, where these rows stand in it.
        objective: the loss to descend.
        optimiser: over the model's parameters.
        rng: every random draw of the steps.
        strength: in [0, 1]: the share of an attack's radius that counts.
        box: the valid inputs.
        clip_norm: longest gradient (Euclidean, over all parameters); longer ones are shortened
            to it. None never shortens.
        first: number of the first step, for errors and records.
        engine: where this process is one of several that train the model (`launch`): all are given
            the same batches and equal generators, and take the same steps. The model must be on
            the engine's device.
        game: what adversarial regularisation plays with, where it is part of the loss.

    Yields:
        One `Step` after each update.

    Raises:
        TrainingDiverged: the loss or its gradient is not a finite number; the weights are those
            before that step.

    Example:
        >>> import torch
        >>> from trilemma.core.generators import seeded
        >>> from trilemma.training.objectives import Natural
        >>> model = torch.nn.Linear(2, 2)
        >>> batches = [(torch.eye(2), torch.tensor([0, 1]))] * 50
        >>> sgd = torch.optim.SGD(model.parameters(), lr=1.0)
        >>> losses = [s.loss for s in fit(model, batches, Natural(), sgd, rng=seeded(0))]
        >>> losses[-1] < 0.1 < losses[0]
        True
    """
    part = by_row(objective)
    for number, given in enumerate(batches, start=first):
        (x, y, standing), weight = engine.share(given)
        with training(model), global_from(rng):
            batch = Batch(x, y, rng, strength=strength, box=box, standing=standing, game=game)
            optimiser.zero_grad(set_to_none=True)
            # A private training may draw no row, and steps by its noise alone
            loss = weight * (objective(model, batch) if len(x) else model(x).sum())
            loss.backward()
            value = engine.add_up(loss, model)
            alone = None if part is None else _told(part, model, batch, weight, engine)
            norm = nn.utils.clip_grad_norm_(model.parameters(), clip_norm or math.inf)
            if not math.isfinite(value + norm.item()):
                rate = float(optimiser.param_groups[0]["lr"])
                raise TrainingDiverged(step=number, loss=value, learning_rate=rate)
            optimiser.step()
        engine.align(rng)
        yield Step(number=number, loss=value, rows=len(given[0]), by_row=alone)


@torch.no_grad()
def _told(part: Term, model: nn.Module, batch: Batch, weight: float, engine: Engine) -> float:
    """A part of a loss on a batch that remembers all answers since it gave the whole."""
    value = part(model, batch) if len(batch.x) else torch.zeros((), device=batch.x.device)
    return engine.add_up(weight * value, nn.Identity())
