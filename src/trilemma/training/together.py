"""Several small models trained at once: one pass of arithmetic over all of them for each step.

A small model's step is mostly the work around its arithmetic. Where weights are stacked, one
matrix product serves all models; that pays up to some hundred thousand weights
(`benchmarks/references.py`), and beyond them stacked weights only leave the caches.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.optim import Optimizer

from trilemma.core.box import UNIT, Box
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput, TrainingDiverged
from trilemma.core.generators import draw_seed, seeded
from trilemma.models import parameters
from trilemma.training.devices import Progress, unheard
from trilemma.training.history import SAMPLE, Epoch, refuse_collapse, uninformed
from trilemma.training.objectives import L1, L2, Batch, Natural, Scaled, Sum, Term, by_row
from trilemma.training.recipes import MLP, Recipe, build
from trilemma.training.schedule import optimiser_of, rate_share
from trilemma.training.train import Trained, check_data

# Weights of a model up to which training together is about twice as fast, so that it loses nothing
# to two processes that train one model each
WORTH = 150_000
Weights: TypeAlias = Mapping[str, nn.Parameter]  # each with an axis for the models in front


def joins(recipe: Recipe, objective: Term) -> bool:
    """Whether such trainings can be one: perceptrons without draws in their steps, natural loss.

    Convolutions that differ from model to model gain nothing on a CPU.
    """
    plain = isinstance(recipe, MLP) and recipe.dropout == 0 and recipe.noise is None
    return plain and recipe.privacy is None and not recipe.augmentation and _simple(objective)


def worth_it(recipe: Recipe, shape: Sequence[int], classes: int) -> bool:
    """Whether models for inputs of a shape are small enough for it to pay."""
    return parameters(build(recipe, shape, classes, seeded(0))) <= WORTH


def _simple(objective: Term) -> bool:
    if isinstance(objective, Sum):
        return all(map(_simple, objective.terms))
    if isinstance(objective, Scaled):
        return _simple(objective.term)
    return isinstance(objective, Natural | L1 | L2)


def train_together(
    recipe: Recipe,
    objective: Term,
    datasets: Sequence[Dataset],
    seeds: Sequence[int],
    *,
    classes: int,
    box: Box = UNIT,
    progress: Progress | None = None,
) -> list[Trained]:
    """What `train` makes of each data set with its seed, but for rounding.

    Initial weights and the order of the rows are those of each training alone.

    Args:
        recipe: of all models (see `joins`).
        objective: the loss that each descends.
        datasets: of equal length, inputs of equal shape.
        seeds: one for each.
        classes: how many there are.
        box: the valid inputs.
        progress: called after each epoch with epochs done, epochs in all, and a note.

    Raises:
        BadInput: a recipe or objective for which this is not made; data sets that do not match;
            and what `train` refuses.
        TrainingDiverged, TrainingCollapsed: as the first of the models that does.

    Example:
        >>> rng = seeded(0)
        >>> data = [Dataset(torch.rand(8, 4, generator=rng), torch.arange(8) % 2) for _ in range(3)]
        >>> recipe = MLP(hidden=(5,), epochs=2)
        >>> done = train_together(recipe, Natural(), data, [1, 2, 3], classes=2)
        >>> [len(each.history) for each in done]
        [2, 2, 2]
    """
    _check(recipe, objective, datasets, seeds, classes)
    shape = datasets[0].x.shape[1:]
    rngs = [seeded(seed) for seed in seeds]
    models = [build(recipe, shape, classes, rng) for rng in rngs]
    x, y = torch.stack([each.x for each in datasets]), torch.stack([each.y for each in datasets])
    stacked, _ = stack_module_state(models)
    weights = {name: nn.Parameter(w.detach()) for name, w in stacked.items()}
    optimiser = _fused(optimiser_of(recipe.optimiser, weights.values()))
    answerless = [uninformed(each.y, classes) for each in datasets]
    histories: list[list[Epoch]] = [[] for _ in seeds]
    lesson = _Lesson(recipe, _Loss(copy.deepcopy(models[0]), objective, box), x, y)
    for epoch in range(recipe.epochs):
        rate = recipe.optimiser.learning_rate * rate_share(recipe.course, epoch, recipe.epochs)
        for group in optimiser.param_groups:
            group["lr"] = rate
        losses, parts = lesson.epoch(weights, optimiser, rngs, epoch)
        _hand_back(weights, models)
        for model, data, h, history, loss, part in zip(
            models, datasets, answerless, histories, losses, parts, strict=True
        ):
            strength = recipe.strength(epoch)
            history.append(Epoch(loss=loss, strength=strength, learning_rate=rate, by_row=part))
            refuse_collapse(history, model, data.x[:SAMPLE], h, ended=epoch + 1 == recipe.epochs)
        (progress or unheard)(
            epoch + 1, recipe.epochs, f"mean loss {sum(losses) / len(losses):.4f}"
        )
    return [
        Trained(model=model.eval(), history=tuple(history))
        for model, history in zip(models, histories, strict=True)
    ]


class _Loss(nn.Module):
    """A model's loss on a batch, as a module, so that its weights can be exchanged."""

    def __init__(self, model: nn.Module, objective: Term, box: Box) -> None:
        super().__init__()
        self.model, self.objective, self.box = model.train(), objective, box
        self.part = by_row(objective)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(2,): the loss, and what `by_row` says of it, or the loss again."""
        batch = Batch(x, y, seeded(0), box=self.box)
        loss = self.objective(self.model, batch)
        part = loss if self.part is None else self.part(self.model, batch)
        return torch.stack([loss, part.detach()])


@dataclass(frozen=True, eq=False)
class _Lesson:
    """What stays the same over the epochs."""

    recipe: Recipe
    loss: _Loss
    x: Tensor
    y: Tensor

    def epoch(
        self, weights: Weights, optimiser: Optimizer, rngs: Sequence[Generator], epoch: int
    ) -> tuple[list[float], list[float] | list[None]]:
        """One pass; the mean loss of each model's rows, each before its step, and its `by_row`."""
        rows = self.x.shape[1]
        first, found = epoch * math.ceil(rows / self.recipe.batch), []
        each = vmap(lambda w, x, y: functional_call(self.loss, w, (x, y)))
        for number, index in enumerate(self._places(rngs), start=first):
            model = torch.arange(len(index)).unsqueeze(1)
            optimiser.zero_grad(set_to_none=True)
            named = {f"model.{name}": w for name, w in weights.items()}
            both = each(named, self.x[model, index], self.y[model, index])
            losses = both[:, 0]
            losses.sum().backward()
            _clip(weights, losses.detach(), self.recipe.clip_norm, optimiser, number)
            optimiser.step()
            found.append(both.detach().double() * index.shape[1])
        whole, parts = (torch.stack(found).sum(0) / rows).T.tolist()
        return whole, parts if self.loss.part else [None] * len(rngs)

    def _places(self, rngs: Sequence[Generator]) -> Iterator[Tensor]:
        """(models, rows) places of each step's rows; generators go on as in `fit`, step by step."""
        orders = torch.stack([torch.randperm(self.x.shape[1], generator=rng) for rng in rngs])
        for index in orders.split(self.recipe.batch, dim=1):
            for rng in rngs:
                draw_seed(rng)  # which seeds dropout, where there is some
            yield index


def _clip(
    weights: Weights,
    losses: Tensor,
    longest: float | None,
    optimiser: Optimizer,
    number: int,
) -> None:
    """Shorten each model's gradient as `fit` does; refuse what is no number."""
    gradients = [w.grad for w in weights.values() if w.grad is not None]
    squares = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0)
    wrong = ~(losses + squares.sqrt()).isfinite()
    if bool(wrong.any()):
        loss, rate = float(losses[wrong][0]), float(optimiser.param_groups[0]["lr"])
        raise TrainingDiverged(step=number, loss=loss, learning_rate=rate)
    if longest is not None:
        shorter = (longest / (squares.sqrt() + 1e-6)).clamp(max=1)
        for gradient in gradients:
            gradient.mul_(shorter.view(-1, *[1] * (gradient.dim() - 1)))


def _fused(optimiser: Optimizer) -> Optimizer:
    """One pass over the weights for each step, not one for each operation of it."""
    for group in optimiser.param_groups:
        group["fused"], group["foreach"] = True, False
    return optimiser


def _hand_back(weights: Weights, models: Sequence[nn.Module]) -> None:
    with torch.no_grad():
        for index, model in enumerate(models):
            for name, own in model.named_parameters():
                own.copy_(weights[name][index])


def _check(
    recipe: Recipe,
    objective: Term,
    datasets: Sequence[Dataset],
    seeds: Sequence[int],
    classes: int,
) -> None:
    if not joins(recipe, objective):
        raise BadInput(
            "training together",
            f"is not made for {type(recipe).__name__} with {type(objective).__name__} as declared",
            "Train an MLP without dropout, noise, augmentation or privacy, on the natural loss and"
            " penalties; others one by one",
        )
    if not datasets or len(datasets) != len(seeds):
        raise BadInput("training together", f"{len(datasets)} data sets, {len(seeds)} seeds")
    for data in datasets:
        check_data(data, classes)
    shapes = {(each.x.shape, each.y.shape) for each in datasets}
    if len(shapes) > 1:
        raise BadInput(
            "training together",
            f"data sets differ in rows or shape: {sorted(tuple(x) for x, _ in shapes)}",
            "Train those of one length together",
        )
