"""The k-th smallest of a few numbers, for very many such few at once, by a network of comparators.

A comparator leaves the smaller of two numbers in one place and the larger in the other. Batcher's
network sorts n numbers with about n (log n)^2 / 4 of them, the same ones whatever the numbers are,
so that each is an elementwise step for all; those that the k-th number does not hang on are left
out, and those of a stage that lie at regular distances are one step.

Source:
    Batcher, "Sorting networks and their applications", 1968; Knuth, "The art of computer
    programming", vol. 3, section 5.2.2, algorithm M.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

Comparator = tuple[int, int, bool, bool]  # two places; whether the smaller, the larger is asked for
Run = tuple[slice, slice, bool, bool]  # many of them

ALIVE = {"cpu": 2**21}  # numbers sorted at once, about: what its caches like
MEMORY = 2**26  # where nothing is said


def kth_smallest_size(x: Float[Tensor, "n p u"], k: int) -> Float[Tensor, "n u"]:
    """The k-th smallest |x| along the second axis, from 0 on."""
    n, p, u = x.shape
    at_once = min(u, max(1, ALIVE.get(x.device.type, MEMORY) // (n * p)))
    found, space = x.new_empty(n, u), x.new_empty(n, p, at_once)
    steps = _steps(space, k)
    # all parts have one size, so that the steps are made once: the last one begins a bit earlier
    for start in [*range(0, u - at_once, at_once), u - at_once]:
        part = slice(start, start + at_once)
        torch.abs(x[:, :, part], out=space)
        for step in steps:
            step()
        found[:, part] = space[:, k]
    return found


def _steps(x: Float[Tensor, "n p u"], k: int) -> list[Callable[[], Tensor]]:
    """What moves the k-th smallest to its place."""
    steps: list[Callable[[], Tensor]] = []
    spare = torch.empty_like(x[:, ::2])  # no place is in two comparators of a run
    for first, second, smaller, larger in runs(x.shape[1], k):
        low, high = x[:, first], x[:, second]
        aside = spare[:, : low.shape[1]]
        if smaller and larger:
            steps.append(partial(torch.minimum, low, high, out=aside))
        elif smaller:
            steps.append(partial(torch.minimum, low, high, out=low))
        if larger:
            steps.append(partial(torch.maximum, low, high, out=high))
        if smaller and larger:
            steps.append(partial(low.copy_, aside))
    return steps


@cache
def runs(n: int, k: int) -> tuple[Run, ...]:
    """The comparators that the k-th of n numbers hangs on, in their order."""
    needed, kept = {k}, []
    for stage in reversed(list(_stages(n))):
        asked = [(i, j, i in needed, j in needed) for i, j in stage]
        kept.append([each for each in asked if each[2] or each[3]])
        needed.update(place for each in kept[-1] for place in each[:2])
    return tuple(run for stage in reversed(kept) for run in _together(stage))


def _stages(n: int) -> Iterator[list[tuple[int, int]]]:
    """Merge exchange: comparators of a stage share no place."""
    p = whole = 1 << max(0, (n - 1).bit_length() - 1)
    while p:
        q, r, d = whole, 0, p
        while d > 0:
            yield [(i, i + d) for i in range(n - d) if i & p == r]
            q, r, d = q // 2, p, q - p
        p //= 2


def _together(stage: list[Comparator]) -> Iterator[Run]:
    """A stage's comparators as slices: greedily, the longest that begins at the first place."""

    def kind(each: Comparator) -> tuple[int, bool, bool]:
        return each[1] - each[0], each[2], each[3]

    for (distance, smaller, larger), alike in groupby(sorted(stage, key=kind), kind):
        left = sorted(each[0] for each in alike)
        while left:
            run = max((_progression(left, each - left[0]) for each in left), key=len)
            second = range(run.start + distance, run.stop + distance, run.step)
            yield _slice(run), _slice(second), smaller, larger
            left = [place for place in left if place not in run]


def _progression(places: list[int], step: int) -> range:
    """The longest one from the first place."""
    step, many = max(1, step), 1
    while places[0] + many * step in places:
        many += 1
    return range(places[0], places[0] + (many - 1) * step + 1, step)


def _slice(each: range) -> slice:
    return slice(each.start, each.stop, each.step)
