"""A random order of which every block has nearly the whole's class shares."""

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


def stratified_order(y: NDArray[np.int64], index: Index, seed: int, *, stream: int = 0) -> Index:
    """A random order of `index` in which every block has nearly the whole's class shares.

    Row j of the n_c rows of class c, themselves in random order, gets the key (j + u_c) / n_c
    with one random u_c in [0, 1) a class; rows are sorted by key. Of any n rows in sequence, the
    number in class c then differs from n n_c / N by less than 1 + k n_c / N (k classes, N rows).

    Args:
        y: labels of the whole pool.
        index: the rows to order.
        seed: >= 0.
        stream: of the seed, so that two orders under one seed share no draws.
    """
    draws = _uniform([seed, stream], len(index) + 1 + int(y.max(initial=0)))
    shuffled = index[np.argsort(draws[: len(index)], kind="stable")]
    labels = y[shuffled]
    classes, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    by_class = np.argsort(inverse, kind="stable")
    rank = np.empty(len(index), dtype=np.int64)
    rank[by_class] = np.arange(len(index)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    shift = draws[len(index) :][classes]
    return shuffled[np.argsort((rank + shift[inverse]) / sizes[inverse], kind="stable")]


def _uniform(seed: list[int], n: int) -> NDArray[np.float64]:
    """n numbers in [0, 1) from the raw bits of PCG64, whose stream NumPy promises to keep."""
    bits = np.random.PCG64(seed).random_raw(n)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
