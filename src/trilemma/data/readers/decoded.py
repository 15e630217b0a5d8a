"""What every reader returns."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.data.loaded import TEST, TRAIN


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """The content of a data set's files.

    Args:
        stored: (n, C, H, W) uint8 pixels or (n, d) float32 features.
        y: (n,) class indices.
        class_names: of each class, in order.
        divisor: the stored value that means 1.0.
        part: (n,) 0 = official training part, 1 = test; None without an official split.
        feature_names: of a table's columns.
        deviation: what the reader found to differ from the canonical release.
        notes: what was done to the values.
    """

    stored: NDArray[Any]
    y: NDArray[np.int64]
    class_names: tuple[str, ...]
    divisor: float = 255.0
    part: NDArray[np.int8] | None = None
    feature_names: tuple[str, ...] = ()
    deviation: str = ""
    notes: tuple[str, ...] = ()


def parts(train: int, test: int) -> NDArray[np.int8]:
    """Official parts of a pool that holds the training rows, then the test rows."""
    return np.repeat(np.array([TRAIN, TEST], dtype=np.int8), [train, test])


def channels_first(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, H, W, C) -> (N, C, H, W), contiguous."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
