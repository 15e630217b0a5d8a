"""How a step of the training loop goes in one process, or in several that share it.

In several, each takes its share of the rows of every batch and computes the loss of these with the
model as it is. No wrapper stands around the model: objectives attack it in eval mode, read its
layers to bound it, and need several forwards for one gradient. Gradients are added up, by rows,
before they are clipped and the optimiser steps, so that all processes hold the same weights.

What a row contributes depends on the row, the seed and the model alone (the attacks' law, see
`trilemma.attacks.evasion`), so that the sum is that of one process but for rounding. What breaks
this, `check_apart` refuses.
"""

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput
from trilemma.models import NoisyNetwork
from trilemma.training.objectives import Scaled, Standing, Sum, Term

Given: TypeAlias = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Standing]
Asked: TypeAlias = tuple[Tensor, Tensor, Standing | None]


@runtime_checkable
class Engine(Protocol):
    """What the loop asks of the processes it runs in."""

    @property
    def leads(self) -> bool:
        """Whether this process is the one that saves and says how far it is."""

    @property
    def name(self) -> str:
        """How many devices, of what make; empty where none was chosen."""

    def place(self, model: nn.Module) -> nn.Module:
        """The model on this process's device."""

    def here(self, x: Tensor) -> Tensor:
        """The same numbers on this process's device."""

    def rows(self, data: Dataset) -> Dataset:
        """This process's rows of a data set, on its device."""

    def share(self, given: Given) -> tuple[Asked, float]:
        """This process's rows of a batch, on its device, and which share of the batch they are."""

    def add_up(self, loss: Tensor, model: nn.Module) -> float:
        """The loss of all processes; their gradients are added up in place."""

    def total(self, count: int) -> int:
        """The sum over all processes."""

    def align(self, rng: Generator) -> None:
        """Put the generator where the leading process's stands."""


class Alone:
    """One process, on the device where model and rows are."""

    leads, name = True, ""

    def place(self, model: nn.Module) -> nn.Module:
        """The model itself."""
        return model

    def here(self, x: Tensor) -> Tensor:
        """The numbers themselves."""
        return x

    def rows(self, data: Dataset) -> Dataset:
        """All of them."""
        return data

    def share(self, given: Given) -> tuple[Asked, float]:
        """All of them."""
        return (given if len(given) == 3 else (*given, None)), 1.0

    def add_up(self, loss: Tensor, model: nn.Module) -> float:
        """The loss itself."""
        return loss.item()

    def total(self, count: int) -> int:
        """The number itself."""
        return count

    def align(self, rng: Generator) -> None:
        """Nothing is to be done."""


ALONE = Alone()


@dataclass(frozen=True, eq=False)
class Together:
    """One of the processes that Lightning Fabric started, each with a device of its own.

    Args:
        fabric: a launched `lightning_fabric.Fabric`.
    """

    fabric: Any

    @property
    def leads(self) -> bool:
        """Whether its rank is 0."""
        return bool(self.fabric.global_rank == 0)

    @property
    def name(self) -> str:
        """How many devices, of what make: `2 x cpu`."""
        device = self.fabric.device
        make = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        return f"{self.fabric.world_size} x {make}"

    def place(self, model: nn.Module) -> nn.Module:
        """The model on this process's device."""
        return model.to(self.fabric.device)

    def here(self, x: Tensor) -> Tensor:
        """The same numbers on this process's device."""
        return x.to(self.fabric.device)

    def rows(self, data: Dataset) -> Dataset:
        """Every so many-th row."""
        mine = data[self.fabric.global_rank :: self.fabric.world_size]
        return Dataset(self.here(mine.x), self.here(mine.y))

    def share(self, given: Given) -> tuple[Asked, float]:
        """Every so many-th row; a process that is left with none gets one that weighs nothing.

        Where the rows stand in the training set decides, so that rows that an objective treats
        differently are dealt evenly, and the leading process has some if any process has.
        """
        x, y, standing = given if len(given) == 3 else (*given, None)
        order = torch.arange(len(x))
        if standing is not None and self.fabric.world_size > 1:
            order = standing.rank.argsort()
        mine = order[self.fabric.global_rank :: self.fabric.world_size]
        weight = len(mine) / max(len(x), 1)
        index = mine if len(mine) else order[:1]
        if standing is not None:
            standing = Standing(self.here(standing.rank[index]), standing.total)
        return (self.here(x[index]), self.here(y[index]), standing), weight

    def add_up(self, loss: Tensor, model: nn.Module) -> float:
        """The loss and the gradients of all processes, in one exchange."""
        gradients = [w.grad for w in model.parameters() if w.grad is not None]
        parts = [loss.detach(), *gradients]
        flat = torch.cat([part.flatten() for part in parts])
        summed = self.fabric.all_reduce(flat, reduce_op="sum")
        pieces = summed.split([part.numel() for part in parts])
        for gradient, piece in zip(gradients, pieces[1:], strict=True):
            gradient.copy_(piece.view_as(gradient))
        return float(pieces[0])

    def total(self, count: int) -> int:
        """The sum over all processes."""
        here = torch.tensor(count, device=self.fabric.device)
        return int(self.fabric.all_reduce(here, reduce_op="sum"))

    def align(self, rng: Generator) -> None:
        """Put the generator where the leading process's stands.

        They differ where a process had no row to attack, or where an attack (AutoAttack alone)
        draws for as long as rows resist.
        """
        rng.set_state(self.fabric.broadcast(rng.get_state(), src=0))


def check_apart(model: nn.Module, objective: Term) -> None:
    """Refuse what makes a row's loss depend on the rows beside it: it cannot be shared by rows.

    Raises:
        BadInput: a term compares whole batches, or a layer in train mode normalises over the batch
            or draws by a row's place in it.
    """
    found = _compares(objective)
    if found is not None:
        raise _inseparable(type(found).__name__, "is no mean over the rows of a batch")
    for name, layer in model.named_modules():
        where = f"{type(layer).__name__} ({name or 'the model'})"
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise _inseparable(where, "normalises over the rows of a batch")
        dropout = isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0
        if dropout or isinstance(layer, NoisyNetwork):
            raise _inseparable(where, "draws by a row's place in its batch")


def _compares(objective: Term) -> Term | None:
    """The first term that is no mean over rows."""
    if isinstance(objective, Sum):
        return next((found for each in objective.terms if (found := _compares(each))), None)
    if isinstance(objective, Scaled):
        return _compares(objective.term)
    return None if objective.APART else objective


def _inseparable(what: str, why: str) -> BadInput:
    return BadInput(
        "devices", f"cannot share the rows of a batch: {what} {why}", "Train it on one device"
    )
