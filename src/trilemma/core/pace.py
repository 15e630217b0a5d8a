"""How a model is asked fastest: rows a call, and how they lie in memory.

A model's best batch is a small one on a CPU (large ones wait for memory) and a large one on a GPU,
whatever the caller holds. It is found by a quick measurement, once in a process for models of the
same make. It changes speed and memory, and results by no more than rounding.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from trilemma.core.errors import BadInput
from trilemma.core.modes import evaluating
from trilemma.core.types import Rows

SIZES = {"cpu": (32, 64, 128), "cuda": (256, 1024, 4096)}
USUAL = {"cpu": 64, "cuda": 1024}  # rows a call where nothing was measured
WORTH = 16384  # rows to be asked about, from which on a measurement pays
PATIENCE = 0.5  # seconds that a measurement may take, about
ROUNDS = 6
AROUND = 1e-3  # seconds of work around a call of the model, about, with cold caches
MARGIN = 1.03  # what differs less does not count


@dataclass(frozen=True)
class Pace:
    """Rows a call, and whether images lie channels last.

    Raises:
        BadInput: fewer than 1 row.

    Example:
        >>> Pace(rows=2).slices(5)
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """

    rows: int
    channels_last: bool = True

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise BadInput("batch", f"must be 1 row a call at least; got {self.rows}")

    def slices(self, n: int) -> list[slice]:
        """The rows 0 ... n - 1 in calls."""
        return [slice(i, min(i + self.rows, n)) for i in range(0, n, self.rows)]

    def lay(self, x: Rows) -> Rows:
        """The same inputs, lying in memory as they are asked about fastest; a view if they do."""
        if not (self.channels_last and x.dim() == 4):
            return x.contiguous()
        _, c, h, w = x.shape
        if c == 1:  # both layouts at once; the strides tell the convolution which is meant
            return x.contiguous().as_strided(x.shape, (h * w, 1, w, 1))
        return x.contiguous(memory_format=torch.channels_last)


@contextmanager
def asking(
    model: object, x: Rows, *, gradients: bool, questions: int, batch: int | None = None
) -> Iterator[Pace]:
    """Keep `model` in eval mode while it is asked, and say how it is asked fastest.

    Args:
        model: what is asked; what is not an `nn.Module` is left alone.
        x: inputs like those that will be asked about; at least one row.
        gradients: whether gradients in the inputs are asked for, too.
        questions: about how many rows will be asked about, each time counted: little work is
            not worth a measurement.
        batch: rows a call, where the caller decides, so that results repeat to the last bit;
            None measures what is fastest.

    Raises:
        BadInput: `batch` is below 1.
    """
    given = None if batch is None else Pace(batch)
    with evaluating(model):
        yield given or pace_of(model, x, gradients=gradients, questions=questions)


def usual(x: Rows) -> Pace:
    """What is fast on most models; it depends on no measurement."""
    return Pace(USUAL.get(x.device.type, USUAL["cpu"]))


_FOUND: dict[tuple[object, ...], Pace] = {}


def pace_of(model: object, x: Rows, *, gradients: bool, questions: int) -> Pace:
    """What was measured for such a model and such inputs, or is measured now if it is worth it."""
    if not isinstance(model, nn.Module) or len(x) == 0:
        return usual(x)
    make = _make(model, x, gradients)
    if make not in _FOUND:
        if questions < WORTH:
            return usual(x)
        _FOUND[make] = _measure(model, x, gradients)
    return _FOUND[make]


def _make(model: nn.Module, x: Rows, gradients: bool) -> tuple[object, ...]:
    """What a model's speed depends on."""
    layers = tuple(type(each).__qualname__ for each in model.modules())
    weights = tuple(each.shape for each in model.parameters())
    place = (x.shape[1:], x.dtype, x.device, torch.get_num_threads())
    return layers, weights, place, gradients


def _measure(model: nn.Module, x: Rows, gradients: bool) -> Pace:
    """The least time a row, with its share of the work around a call; if close, the larger calls.

    Of several calls the shortest counts, since whatever else runs on the machine only adds.
    """
    filters = x.dim() == 4 and any(each.dim() == 4 for each in model.parameters())
    sizes, layouts = SIZES.get(x.device.type, ()), (True, False) if filters else (True,)
    paces = [usual(x), *(Pace(rows, last) for rows, last in product(sizes, layouts))]
    best = dict.fromkeys(paces, math.inf)
    started = time.perf_counter()
    for pace in paces * ROUNDS:
        if time.perf_counter() - started > PATIENCE:
            break
        with suppress(RuntimeError, ValueError, IndexError):  # what asks in earnest will meet it
            best[pace] = min(best[pace], _seconds(model, x, pace, gradients))
    if min(best.values()) == math.inf:
        return usual(x)
    cost = {pace: seconds + AROUND / pace.rows for pace, seconds in best.items()}
    least = min(cost.values())
    return max((pace for pace in paces if cost[pace] <= MARGIN * least), key=_size)


def _size(pace: Pace) -> tuple[int, bool]:
    return pace.rows, pace.channels_last


def _seconds(model: nn.Module, x: Rows, pace: Pace, gradients: bool) -> float:
    """Of one row in one call."""
    rows = pace.lay(x.detach()[torch.arange(pace.rows, device=x.device) % len(x)])
    ask = _gradient if gradients else _answer
    _wait(x)
    clock = _clock(x)
    started = clock()
    ask(model, rows)
    _wait(x)
    return (clock() - started) / pace.rows


def _clock(x: Tensor) -> Callable[[], float]:
    """Of one thread, where one works: other programs do not count. Otherwise that on the wall."""
    alone = x.device.type == "cpu" and torch.get_num_threads() == 1
    return time.thread_time if alone else time.perf_counter


def _answer(model: Callable[[Tensor], Tensor], x: Rows) -> None:
    with torch.no_grad():
        model(x)


def _gradient(model: Callable[[Tensor], Tensor], x: Rows) -> None:
    with torch.enable_grad():
        leaf = x.requires_grad_()
        torch.autograd.grad(model(leaf).sum(), leaf)


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
