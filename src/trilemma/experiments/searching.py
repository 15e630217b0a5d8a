"""Searches of thousands of queries a row, on some of the rows, with progress and checkpoints."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trilemma.core.types import Labels, Probs, Rows
from trilemma.experiments.graph import Bench
from trilemma.experiments.portions import kept_together
from trilemma.oracles import Oracle

Search: TypeAlias = Callable[[Oracle, Tensor, Tensor], Mapping[str, NDArray[Any]]]
CHUNK = 128  # rows between two checkpoints


@dataclass(frozen=True)
class Told:
    """An oracle that says how many rows it was asked about, to whoever listens.

    Args:
        inner: what answers.
        say: called with the number of rows of each call.
    """

    inner: Oracle
    say: Callable[[int], None]

    @property
    def classes(self) -> int:
        """How many classes an answer covers."""
        return self.inner.classes

    def __call__(self, x: Rows) -> Probs:
        """(n, classes) probabilities, as `inner` answers."""
        self.say(len(x))
        return self.inner(x)


def searched(
    bench: Bench, oracle: Oracle, x: Rows, y: Labels, search: Search, *, most: int
) -> dict[str, NDArray[Any]]:
    """What a search finds for each row, some rows at a time; what is done survives a crash.

    Args:
        bench: whose progress is told, and whose scratch is written to.
        oracle: asked.
        x: (n, *x) rows.
        y: (n,) labels.
        search: of some rows, from the same randomness each time; gives arrays with a row each.
        most: queries of a row, at most.

    Returns:
        The arrays of all rows.
    """
    parts, total = [], len(x) * most
    for start in range(0, len(x), CHUNK):
        part, path = slice(start, start + CHUNK), bench.scratch / f"{start}-{CHUNK}.npz"
        told = Told(oracle, _teller(bench, start * most, total))
        parts.append(kept_together(path, partial(search, told, x[part], y[part])))
    bench.progress(total, total)
    return {name: np.concatenate([each[name] for each in parts]) for name in parts[0]}


def _teller(bench: Bench, asked: int, total: int) -> Callable[[int], None]:
    """What tells the progress of so many queries, of which some were asked before."""

    def say(more: int) -> None:
        nonlocal asked
        asked += more
        bench.progress(asked, total, f"{asked:,} of at most {total:,} queries")

    return say
