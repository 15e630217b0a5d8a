"""Searches of unequal length through a model in full micro-batches.

A search keeps one state a row: a NamedTuple of tensors, one line each. Rows at different steps
share a call of the model; a row that has ended leaves at once, and others take its place. What
becomes of a row never depends on who shares the calls with it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trilemma.attacks.evasion.gradients import wide
from trilemma.core.box import Box
from trilemma.core.pace import Pace, usual
from trilemma.core.types import Classifier, Logits, PerRow, Rows

Matrix: TypeAlias = Float[Tensor, "n d"]  # one input a line
Index: TypeAlias = Int[Tensor, " n"]  # which rows of the caller's
Mask: TypeAlias = Bool[Tensor, " n"]
State = TypeVar("State", bound=NamedTuple)

FULL = 0.75  # fewer searches than this share of a micro-batch let new ones start


@dataclass(frozen=True)
class Laid:
    """A model asked about matrices, whose lines lie as it is asked fastest: images channels last.

    Args:
        model: logits out.
        shape: of one input.
        pace: how the model is asked.
    """

    model: Classifier
    shape: torch.Size
    pace: Pace

    @property
    def channels_last(self) -> bool:
        """Whether a line's features are in another order than the caller's."""
        return self.pace.channels_last and len(self.shape) == 3

    def matrix(self, x: Rows) -> Matrix:
        """Inputs as lines; a view where they already lie so."""
        return (x.permute(0, 2, 3, 1) if self.channels_last else x).reshape(len(x), -1)

    def rows(self, z: Matrix) -> Rows:
        """Lines as inputs."""
        if not self.channels_last:
            return self.pace.lay(z.view(-1, *self.shape))
        c, h, w = self.shape
        return self.pace.lay(z.view(-1, h, w, c).permute(0, 3, 1, 2))

    def box(self, box: Box) -> Box:
        """The same bounds for lines."""
        return Box(self._bound(box.low), self._bound(box.high))

    def _bound(self, bound: float | Tensor) -> float | Tensor:
        return self.matrix(bound.expand(1, *self.shape)) if isinstance(bound, Tensor) else bound

    def logits(self, z: Matrix) -> Logits:
        """The model's answers."""
        with torch.no_grad():
            return self.model(self.rows(z))

    def ascent(
        self, z: Matrix, height: Callable[[Logits], PerRow]
    ) -> tuple[Logits, PerRow, Matrix]:
        """The model's answers, their heights, and each height's gradient in its line."""
        leaf = self.rows(z).detach().requires_grad_()
        with torch.enable_grad():
            logits = self.model(leaf)
            value = height(logits)
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return logits.detach(), value.detach(), self.matrix(gradient)


def finite(logits: Logits, gradient: Matrix) -> Mask:
    """Whether a row's answer and gradient are numbers; a sum keeps what is none."""
    total = logits.sum(1, dtype=wide(logits)) + gradient.sum(1, dtype=wide(gradient))
    return total.isfinite()


def filling(pace: Pace, x: Rows, batch: int | None) -> Pace:
    """The pace with no fewer rows a call than usual, unless the caller decides.

    The fewest rows that are fastest for the model alone are too few where each call brings dozens
    of small operations of the search with it.
    """
    return pace if batch else replace(pace, rows=max(pace.rows, usual(x).rows))


def capacity(rows: int, runs: int, most: int) -> int:
    """Searches at a time, so that `runs` of each row fill calls of at most `most` evenly.

    Example:
        >>> capacity(rows=65, runs=1, most=64)
        33
        >>> capacity(rows=5, runs=9, most=64)
        5
    """
    calls = math.ceil(rows * runs / most)
    return max(1, min(rows, math.ceil(rows * runs / max(calls, 1))))


def answers(model: Classifier, x: Rows, pace: Pace) -> Logits:
    """The model's logits on any number of rows; at least one."""
    with torch.no_grad():
        return torch.cat([model(pace.lay(x[each])) for each in pace.slices(len(x))])


def drive(
    rows: Index,
    runs: int,
    most: int,
    begin: Callable[[Index, Index], State],
    step: Callable[[State], tuple[State, Mask, Mask]],
) -> None:
    """Run `runs` searches for each row, one after the other, until none is left.

    Args:
        rows: the indices that `begin` is to be given.
        runs: searches of each row.
        most: searches that share a call, at most.
        begin: (rows, which of their runs) -> the first states; each state begins with these two.
        step: from a state to the next one, with the searches that have ended and, among these,
            those whose rows want no other run. The rest queue up at the end, so that all rows have
            had a run before one has the next, and a row is never under way twice.
    """
    size, waiting = capacity(len(rows), runs, most), (rows, torch.zeros_like(rows))
    state = begin(waiting[0][:size], waiting[1][:size])
    waiting = waiting[0][size:], waiting[1][size:]
    while len(state[0]):
        state, ended, settled = step(state)
        if bool(ended.any()):
            again = (ended & ~settled & (state[1] + 1 < runs)).nonzero().squeeze(1)
            tail = state[0][again], state[1][again] + 1
            waiting = torch.cat([waiting[0], tail[0]]), torch.cat([waiting[1], tail[1]])
            state = _only(state, (~ended).nonzero().squeeze(1))
        free = size - len(state[0])
        if len(waiting[0]) and size - free <= FULL * size:
            state = _joined(state, begin(waiting[0][:free], waiting[1][:free]))
            waiting = waiting[0][free:], waiting[1][free:]


def _only(state: Any, index: Index) -> Any:
    return type(state)(*(field.index_select(0, index) for field in state))


def _joined(first: Any, second: Any) -> Any:
    if not len(first[0]):
        return second
    return type(first)(*map(torch.cat, zip(first, second, strict=True)))
