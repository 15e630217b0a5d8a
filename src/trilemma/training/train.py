"""A recipe carried out: from labelled rows and a seed to a trained model."""

import copy
import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from trilemma.core.box import UNIT, Box
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput, TrainingCollapsed
from trilemma.core.generators import draw_seed, seeded
from trilemma.core.keys import digest
from trilemma.core.types import Classifier, Fit
from trilemma.oracles import log_probabilities
from trilemma.training.augmentation import augmented
from trilemma.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from trilemma.training.devices import Devices, Progress, launch, unheard
from trilemma.training.engine import ALONE, Engine, Given, check_apart
from trilemma.training.fit import fit
from trilemma.training.full_strength import check_full_strength
from trilemma.training.objectives import Standing, Term, check_targets
from trilemma.training.recipes import Recipe, build
from trilemma.training.schedule import optimiser_of, rate_share
from trilemma.training.validation import Validation, best_of, spent, stream, withstood

PATIENCE = 10  # epochs in a row at the loss of an uninformed answer before a collapse is called
FEWEST = 3  # such epochs that make a collapse where the training ends before PATIENCE
NEAR = 0.01  # relative distance from that loss; largest spread of answers that ignore the input
SLACK = 1e-3  # by which a row of soft targets may miss the sum 1: float16 rounds so
SAMPLE = 256  # rows that are asked whether the answers depend on the input


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one pass over the data did.

    Args:
        loss: mean over the rows, each before its step, in nats.
        strength: share of an attack's radius.
        learning_rate: of the optimiser.
        robust_accuracy: on the validation rows after it, where there are some and the strength
            is full.
    """

    loss: float
    strength: float
    learning_rate: float
    robust_accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained model, in eval mode, its epochs, and the devices it was trained on, if chosen."""

    model: nn.Module
    history: tuple[Epoch, ...]
    devices: str = ""

    @property
    def kept(self) -> int:
        """The epoch, from 1, whose weights the model has."""
        scores = _scores(self.history)  # of the last epochs, since strength never falls
        before = len(self.history) - len(scores)
        return before + 1 + best_of(scores) if scores else before


@dataclass(frozen=True, eq=False)
class _Training:
    """What stays the same over the epochs."""

    recipe: Recipe
    objective: Term
    data: Dataset
    seed: int
    classes: int
    box: Box
    validation: Validation | None
    standing: Standing


def train(  # noqa: PLR0913
    recipe: Recipe,
    objective: Term,
    data: Dataset,
    seed: int,
    *,
    classes: int,
    box: Box = UNIT,
    validation: Validation | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
    devices: Devices | None = None,
) -> Trained:
    """Train a fresh model as `recipe` says.

    The result is a function of recipe, objective, data, seed and validation: initial weights, the
    order of the rows and the attacks' starts come from the seed, and a training that was stopped
    and taken up again ends at the same bits.

    Args:
        recipe: architecture and schedule.
        objective: the loss to descend.
        data: the members.
        seed: of every random draw.
        classes: how many there are; labels lie below, soft targets have so many columns.
        box: the valid inputs.
        validation: rows on which it is decided which epoch's weights are kept, of those at full
            strength; None keeps the last one's. It changes no step.
        checkpoint: where to save to, and to continue from; None for neither.
        progress: called after each epoch with epochs done, epochs in all, and a note.
        devices: on which the training runs; None is this process, on the CPU. Others change the
            result by rounding only.

    Raises:
        BadInput: no rows; inputs of another type than the weights (torch's default, float32);
            labels out of range; soft targets that are no distributions, or for a term that
            compares a true class with the others; an architecture that does not take such inputs;
            an objective that attacks or verifies, and a schedule that never reaches its full
            radius; several devices, and a term or layer for which a batch cannot be shared.
        MissingExtra: devices, and Lightning Fabric is not installed.
        TrainingDiverged: the loss left the numbers.
        TrainingCollapsed: the model came to answer the same to every input.
    """
    _check(data, classes)
    check_targets(objective, data.y)
    check_full_strength(recipe, objective)
    standing = Standing(torch.randperm(len(data), generator=stream("standing", seed)), len(data))
    training = _Training(recipe, objective, data, seed, classes, box, validation, standing)
    if devices is None:
        return _carried_out(training, ALONE, checkpoint, progress or unheard)
    if devices.count > 1:
        check_apart(_built(training), objective)
    state, history, name = launch(devices, _there, training, checkpoint, progress=progress)
    model = _built(training)
    model.load_state_dict(state)
    return Trained(model=model.eval(), history=history, devices=name)


def _there(
    engine: Engine, progress: Progress, training: "_Training", checkpoint: Checkpoint | None
) -> tuple[dict[str, Tensor], tuple[Epoch, ...], str]:
    """The training on a device, or in one of several processes: weights on the CPU, epochs."""
    done = _carried_out(training, engine, checkpoint, progress)
    state = {name: w.cpu() for name, w in done.model.state_dict().items()}
    return state, done.history, engine.name


def _carried_out(
    training: _Training, engine: Engine, checkpoint: Checkpoint | None, progress: Progress
) -> Trained:
    recipe, data = training.recipe, training.data
    rng = seeded(training.seed)
    model = engine.place(_built(training, rng))
    # The best so far goes into the checkpoints beside the model
    best = [] if training.validation is None else [copy.deepcopy(model)]
    kept = nn.ModuleList([model, *best])
    optimiser = optimiser_of(recipe.optimiser, model.parameters())
    history: list[Epoch] = []
    identity = ""
    if checkpoint is not None:
        identity = _identity(training)
        saved = load_checkpoint(checkpoint.folder, identity, kept, optimiser, rng)
        history = [Epoch(**each) for each in saved]
    uninformed = _uninformed(data.y, training.classes)
    last_save = time.monotonic()
    while not _ended(training, history):
        history.append(_epoch(training, engine, model, optimiser, rng, len(history)))
        if best and _best_yet(history):
            kept[-1].load_state_dict(model.state_dict())
        ended = _ended(training, history)
        _refuse_collapse(history, model, engine.here(data.x[:SAMPLE]), uninformed, ended=ended)
        if not engine.leads:
            continue
        if checkpoint is not None and time.monotonic() - last_save >= checkpoint.every_seconds:
            rows = [dataclasses.asdict(each) for each in history]
            save_checkpoint(checkpoint.folder, identity, kept, optimiser, rng, rows)
            last_save = time.monotonic()
        progress(len(history), recipe.epochs, f"loss {history[-1].loss:.4f}")
    return Trained(model=kept[-1].eval(), history=tuple(history))


def _built(training: _Training, rng: Generator | None = None) -> nn.Module:
    shape = training.data.x.shape[1:]
    return build(training.recipe, shape, training.classes, rng or seeded(training.seed))


def as_fit(recipe: Recipe, objective: Term, *, classes: int, box: Box = UNIT) -> Fit:
    """`train` as attacks take it: from data and a generator to a classifier."""

    def trained(data: Dataset, rng: Generator) -> Classifier:
        return train(recipe, objective, data, draw_seed(rng), classes=classes, box=box).model

    return trained


def _epoch(
    training: _Training,
    engine: Engine,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    rng: Generator,
    epoch: int,
) -> Epoch:
    recipe, rows = training.recipe, len(training.data)
    rate = recipe.optimiser.learning_rate * rate_share(recipe.course, epoch, recipe.epochs)
    for group in optimiser.param_groups:
        group["lr"] = rate
    share = recipe.strength(epoch)
    steps = fit(
        model,
        _shuffled(training, rng),
        training.objective,
        optimiser,
        rng=rng,
        strength=share,
        box=training.box,
        clip_norm=recipe.clip_norm,
        first=epoch * math.ceil(rows / recipe.batch),
        engine=engine,
    )
    total = math.fsum(step.loss * step.rows for step in steps)
    score = _score(training, engine, model) if share == 1 else None
    return Epoch(loss=total / rows, strength=share, learning_rate=rate, robust_accuracy=score)


def _shuffled(training: _Training, rng: Generator) -> Iterator[Given]:
    recipe, data, box = training.recipe, training.data, training.box
    order = torch.randperm(len(data), generator=rng)
    for index in order.split(recipe.batch):
        x = augmented(data.x[index], recipe.augmentation, rng, box)
        yield x, data.y[index], training.standing[index]


def _score(training: _Training, engine: Engine, model: nn.Module) -> float | None:
    """From the same starts in each epoch, so that epochs compare."""
    held_out, rng = training.validation, stream("validation", training.seed)
    if held_out is None:
        return None
    mine = engine.rows(held_out.data)
    right = withstood(model, mine, held_out.attack, box=training.box, rng=rng)
    return engine.total(right) / len(held_out.data)


def _scores(history: Sequence[Epoch]) -> list[float]:
    return [each.robust_accuracy for each in history if each.robust_accuracy is not None]


def _best_yet(history: Sequence[Epoch]) -> bool:
    """Of the epochs at full strength; before them the last one is."""
    scores = _scores(history)
    return not scores or best_of(scores) == len(scores) - 1


def _ended(training: _Training, history: Sequence[Epoch]) -> bool:
    patience = None if training.validation is None else training.validation.patience
    return len(history) >= training.recipe.epochs or spent(_scores(history), patience)


def _uninformed(y: Tensor, classes: int) -> tuple[float, ...]:
    """The loss of answers that ignore the input, in nats.

    Of the classes' shares (those of the labels, or the mean of soft targets) that is their
    entropy, the least that such an answer reaches; of the uniform distribution it is ln k. Both
    are the same where the classes are balanced.
    """
    soft = y.dim() == 2
    shares = y.double().mean(0) if soft else torch.bincount(y, minlength=classes).double() / len(y)
    entropy = -float(torch.special.xlogy(shares, shares).sum())
    return tuple(loss for loss in (entropy, math.log(classes)) if loss > 0)


def _refuse_collapse(
    history: Sequence[Epoch],
    model: nn.Module,
    x: Tensor,
    uninformed: tuple[float, ...],
    *,
    ended: bool,
) -> None:
    """Raise where the loss stays that of an uninformed answer and the answers ignore the input.

    Short of PATIENCE epochs at full strength only the end of the training tells: a model that was
    still to leave this loss has then had its time, if it had FEWEST such epochs and no other.
    """
    full = [each for each in history if each.strength == 1]
    recent = full[-PATIENCE:]
    if len(recent) < (FEWEST if ended else PATIENCE):
        return
    if not all(any(abs(each.loss - h) <= NEAR * h for h in uninformed) for each in recent):
        return
    answers = log_probabilities(model, x).exp()
    if (answers.amax(0) - answers.amin(0)).max() <= NEAR:
        last = history[-1]
        raise TrainingCollapsed(
            epoch=len(history),
            loss=last.loss,
            chance=min(uninformed, key=lambda h: abs(last.loss - h)),
            learning_rate=last.learning_rate,
        )


def _check(data: Dataset, classes: int) -> None:
    if len(data) == 0:
        raise BadInput("training data", "has no rows", "Give at least one")
    if data.x.dtype != torch.get_default_dtype():
        raise BadInput(
            "training data",
            f"inputs are {data.x.dtype}, the weights {torch.get_default_dtype()}",
            f"Give x.to({torch.get_default_dtype()})",
        )
    if data.soft:
        _check_distributions(data.y, classes)
        return
    low, high = int(data.y.min()), int(data.y.max())
    if low < 0 or high >= classes:
        raise BadInput(
            "training data",
            f"labels span {low} to {high} with {classes} classes",
            f"Labels must lie in 0 to {classes - 1}",
        )


def _check_distributions(y: Tensor, classes: int) -> None:
    if y.shape[1] != classes:
        raise BadInput("training data", f"soft targets weigh {y.shape[1]} of {classes} classes")
    apart = (y.double().sum(1) - 1).abs()
    bad = int((~(apart <= SLACK) | (y < 0).any(1)).sum())  # nor where it is no number
    if bad:
        raise BadInput(
            "training data",
            f"soft targets of {bad} of {len(y)} rows are below 0 or do not sum to 1",
            "Give a distribution over the classes for each row",
        )


def _identity(training: _Training) -> str:
    """Of all that decides the result; options at the defaults of a later release do not count."""
    held_out = training.validation
    known = None if held_out is None else (held_out.attack, held_out.patience, held_out.data)
    return digest(
        (
            training.recipe,
            training.objective,
            training.data,
            training.seed,
            training.classes,
            training.box,
            known,
        )
    )
