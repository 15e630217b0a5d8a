"""What a loader returns: a pool of labelled rows and where it came from."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRAIN, TEST = 0, 1  # values of `Loaded.part`


@dataclass(frozen=True, kw_only=True)
class Info:
    """Where a data set came from; travels into reports.

    Args:
        name: the entry's name in the catalogue, or that of the user's file.
        title: for people.
        source: canonical address.
        licence: as far as it is known.
        read: the file or package that was read.
        deviation: how what was read differs from the canonical release; empty if it does not.
        notes: what was done to the values (scaling, coding of categories, channel order).
        fingerprint: hex blake2b-128 of the decoded values, labels and official parts.
    """

    name: str
    title: str
    source: str
    licence: str
    read: str
    deviation: str = ""
    notes: tuple[str, ...] = ()
    fingerprint: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values for records."""
        return {**self.__dict__, "notes": list(self.notes)}


@dataclass(frozen=True)
class Scaled:
    """Rows kept as they were stored, turned into float32 and divided when they are taken."""

    stored: NDArray[Any]
    divisor: float = 1.0

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        taken: NDArray[np.float32] = self.stored[index].astype(np.float32)
        if self.divisor != 1.0:
            taken /= np.float32(self.divisor)
        return taken

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, *row)."""
        return tuple(self.stored.shape)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A pool of n labelled rows.

    Args:
        stored: (n, C, H, W) uint8 pixels or (n, d) float32 features, as they were decoded.
        divisor: the stored value that means 1.0 (255 for pixels).
        y: (n,) int64 class indices.
        class_names: of each class, in order; its length is the number of classes.
        info: where it came from.
        part: (n,) int8, 0 = official training part, 1 = official test part; None where the
            data set has no official split.
        feature_names: of a table's columns.
        declared: rows of each part that the user's own files fix (`members`, ...).
    """

    stored: NDArray[Any]
    divisor: float = 1.0
    y: NDArray[np.int64]
    class_names: tuple[str, ...]
    info: Info
    part: NDArray[np.int8] | None = None
    feature_names: tuple[str, ...] = ()
    declared: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def x(self) -> Scaled:
        """The inputs: `loaded.x[index]` is float32, in [0, 1] for images."""
        return Scaled(self.stored, self.divisor)

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @cached_property
    def row_hashes(self) -> NDArray[np.uint64]:
        """(n,) 64-bit hash of each row's values; labels do not count."""
        from trilemma.data.duplicates import row_hashes

        return row_hashes(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


def fingerprinted(loaded: Loaded) -> Loaded:
    """The same pool with its fingerprint in `info`."""
    return replace(loaded, info=replace(loaded.info, fingerprint=fingerprint(loaded)))


def fingerprint(loaded: Loaded) -> str:
    """Hex blake2b-128 of the decoded values, labels and official parts, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (loaded.stored, loaded.y, loaded.part):
        if array is not None:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
