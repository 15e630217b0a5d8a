"""CPU seconds of one thread, and the bare model's own beside them.

Other work on the machine stretches everything by its share, so whatever is compared is measured
in one process, in turns, and the bare model anew before and after each turn.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trilemma.core.pace import Pace

Job = Callable[[], Any]

SIZES = (16, 32, 64, 96, 128, 192, 256, 512)
ROUNDS = 9  # each candidate's time is the least of so many
TRIED = 512  # rows a round
LEAST, MOST = 8192, 65536  # rows by which the bare model's time is taken


def cpu_seconds(job: Job) -> tuple[float, Any]:
    """CPU seconds that `job` takes with one thread, and what it returns."""
    torch.set_num_threads(1)
    started = time.process_time()
    result = job()
    return time.process_time() - started, result


def wall_seconds(job: Job, best_of: int, threads: int = 2) -> float:
    """Wall seconds with that many threads."""
    torch.set_num_threads(threads)
    taken = []
    for _ in range(best_of):
        started = time.perf_counter()
        job()
        taken.append(time.perf_counter() - started)
    torch.set_num_threads(1)
    return min(taken)


class Bare:
    """The model alone, asked at the batch size and in the memory format that it is fastest at.

    Args:
        model: what is asked.
        x, y: rows to ask about.
        gradients: forward and backward to the input, instead of forward alone.
    """

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor, *, gradients: bool) -> None:
        torch.set_num_threads(1)
        self.model, self.gradients = model, gradients
        self.x = x[torch.arange(TRIED) % len(x)]
        self.y = y[torch.arange(TRIED) % len(y)]
        paces = [Pace(rows, last) for rows, last in product(SIZES, (True, False))]
        least = dict.fromkeys(paces, float("inf"))
        for pace in paces * ROUNDS:
            least[pace] = min(least[pace], self._ask(pace, TRIED))
        self.pace = min(least, key=least.__getitem__)

    @property
    def title(self) -> str:
        """The batch that was found."""
        return f"{self.pace.rows} rows, {'channels last' if self.pace.channels_last else 'eager'}"

    def per_row(self, rows: int) -> float:
        """CPU seconds a row, over about so many rows."""
        return self._ask(self.pace, rows)

    def wall(self, rows: int) -> float:
        """Wall seconds with two threads, for so many rows."""
        part = max(LEAST, min(MOST, rows))
        return wall_seconds(lambda: self._ask(self.pace, part), best_of=2) * rows / part

    def _ask(self, pace: Pace, rows: int) -> float:
        batches = [(pace.lay(self.x[part]), self.y[part]) for part in pace.slices(TRIED)]
        turns = max(1, rows // TRIED)
        ask = self._gradient if self.gradients else self._answer
        started = time.process_time()
        for _ in range(turns):
            for x, y in batches:
                ask(x, y)
        return (time.process_time() - started) / (turns * TRIED)

    def _answer(self, x: Tensor, y: Tensor) -> None:
        with torch.no_grad():
            self.model(x)

    def _gradient(self, x: Tensor, y: Tensor) -> None:
        leaf = x.detach().requires_grad_()
        torch.autograd.grad(F.cross_entropy(self.model(leaf), y, reduction="sum"), leaf)


@dataclass
class Laps:
    """What one contestant took, turn by turn.

    Args:
        seconds: CPU seconds of one thread.
        row: seconds of the bare model a row, around the same turn.
        result: what the last turn returned.
    """

    seconds: list[float] = field(default_factory=list)
    row: list[float] = field(default_factory=list)
    result: Any = None

    @property
    def median(self) -> float:
        """CPU seconds."""
        return median(self.seconds)

    @property
    def worth(self) -> float:
        """The time in rows of the bare model, which could have been asked meanwhile: the median.

        What else runs on the machine stretches both, so contestants are compared by this.
        """
        return median(taken / row for taken, row in zip(self.seconds, self.row, strict=True))

    @property
    def least_worth(self) -> float:
        """The least time in rows of the bare model at its own least time."""
        return min(self.seconds) / min(self.row)


def race(
    jobs: Mapping[str, Job], bare: Bare, *, questions: int, turns: Callable[[str], int]
) -> dict[str, Laps]:
    """Run the jobs in turns, the bare model before and after each.

    Args:
        jobs: by name.
        bare: the model alone.
        questions: about how many rows a job asks; the bare model is timed over as many, within
            reason.
        turns: how many turns a job gets.
    """
    rows = max(LEAST, min(MOST, questions // 2))
    laps = {name: Laps() for name in jobs}
    before = bare.per_row(rows)
    for turn in range(max(map(turns, jobs))):
        for name, job in jobs.items():
            if turn < turns(name):
                taken, laps[name].result = cpu_seconds(job)
                after = bare.per_row(rows)
                laps[name].seconds.append(taken)
                laps[name].row.append((before + after) / 2)
                before = after
    return laps
