"""Equal rows, found by hash: within a part, across parts, in a pool."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[Any]
Hashes = NDArray[np.uint64]
Index = NDArray[np.int64]


def row_hashes(rows: Rows) -> Hashes:
    """(n,) 64-bit blake2b of each row's bytes; 0.0 and -0.0 are the same value.

    Two of n different rows share a hash with a probability of about n^2 / 2^65
    (4e-9 for 400,000 rows).
    """
    flat = np.ascontiguousarray(rows).reshape(len(rows), math.prod(rows.shape[1:]))
    if flat.dtype.kind == "f":
        flat = flat + flat.dtype.type(0)
    width = flat.shape[1] * flat.dtype.itemsize
    data = flat.reshape(-1).view(np.uint8).data if flat.size else memoryview(b"")
    digests = [
        hashlib.blake2b(data[start : start + width], digest_size=8).digest()
        for start in range(0, len(rows) * width, max(width, 1))
    ]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def first_occurrences(hashes: Hashes) -> Index:
    """Indices of the rows that repeat no earlier row, in order.

    Example:
        >>> import numpy as np
        >>> first_occurrences(np.array([5, 7, 5, 5], dtype=np.uint64)).tolist()
        [0, 1]
    """
    _, first = np.unique(hashes, return_index=True)
    return np.sort(first).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Equal rows, counted.

    Args:
        dropped: rows taken out of the pool because they repeat an earlier one.
        within: for each part, its rows that repeat an earlier row of the same part.
        across: for each pair `a/b` of parts, the rows of b that equal some row of a.
    """

    dropped: int
    within: Mapping[str, int]
    across: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain values for records."""
        return {"dropped": self.dropped, "within": dict(self.within), "across": dict(self.across)}


def count(hashes: Hashes, parts: Mapping[str, Index], *, dropped: int = 0) -> Duplicates:
    """Count equal rows within and across parts of a pool.

    Args:
        hashes: of every row of the pool.
        parts: name of a part -> its rows; the parts are disjoint.
        dropped: rows that were taken out before.
    """
    within = {name: len(index) - len(np.unique(hashes[index])) for name, index in parts.items()}
    across = {
        f"{a}/{b}": int(np.isin(hashes[rows_b], hashes[rows_a]).sum())
        for (a, rows_a), (b, rows_b) in combinations(parts.items(), 2)
    }
    return Duplicates(dropped=dropped, within=within, across=across)
