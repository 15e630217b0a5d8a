"""A plane and which label each part of it has, as a grid that a report can draw. No torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

GRID = 72  # cells a side
NEIGHBOURS = 5
CLOSE = 0.03  # of the width

Points = NDArray[np.float64]  # (n, 2)
Labels = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A rectangle, as (lowest, highest) of both coordinates."""

    x: tuple[float, float]
    y: tuple[float, float]

    def centres(self) -> Points:
        """(GRID^2, 2) middles of the cells, row by row from the lowest y."""
        x, y = (
            low + (np.arange(GRID) + 0.5) / GRID * (high - low) for low, high in (self.x, self.y)
        )
        across, up = np.meshgrid(x, y)
        return np.stack([across.ravel(), up.ravel()], axis=1)


def regions(
    frame: Frame, label_of: Callable[[Points], Labels], points: Points | None = None
) -> dict[str, Any]:
    """The labels of a rectangle's cells, and where each label's name may stand.

    Args:
        frame: the rectangle.
        label_of: of points.
        points: near which names stand; None lets them stand anywhere.

    Returns:
        `x`, `y` (ends), `rows` (from the lowest y; each as label, how many cells, next label, how
        many, ...), `names` ([x, y, label]: the middle of the widest part of each label's region).
    """
    labels = label_of(frame.centres()).reshape(GRID, GRID)
    centres = frame.centres().reshape(GRID, GRID, 2)
    near = _near(frame, points)
    names = []
    for label in np.unique(labels).tolist():
        depth = distance_transform_edt(np.pad(labels == label, 1))[1:-1, 1:-1] * near
        x, y = centres[np.unravel_index(depth.argmax(), depth.shape)]
        names.append([_short(x), _short(y), label])
    return {
        "x": [_short(end) for end in frame.x],
        "y": [_short(end) for end in frame.y],
        "rows": [_runs(row) for row in labels],
        "names": names,
    }


def _near(frame: Frame, points: Points | None) -> NDArray[np.float64]:
    """1 for cells that are near to a point, else almost 0: where no cell is, the deepest does."""
    if points is None:
        return np.ones((GRID, GRID))
    away, _ = cKDTree(points).query(frame.centres())
    close = away <= CLOSE * (frame.x[1] - frame.x[0])
    return np.where(close, 1.0, 1e-6).reshape(GRID, GRID)


def _runs(row: Labels) -> list[int]:
    """A row as it is written down.

    >>> _runs(np.array([3, 3, 1, 3]))
    [3, 2, 1, 1, 3, 1]
    """
    starts = np.flatnonzero(np.diff(row, prepend=row[0] - 1))
    counts = np.diff(starts, append=len(row))
    return [int(each) for pair in zip(row[starts], counts, strict=True) for each in pair]


def nearest(points: Points, labels: Labels) -> Callable[[Points], Labels]:
    """The commonest label among the nearest points (the smallest of equally common ones)."""
    tree, count = cKDTree(points), min(NEIGHBOURS, len(points))

    def label_of(asked: Points) -> Labels:
        _, near = tree.query(asked, k=range(1, count + 1))
        around = labels[near]
        kinds = np.unique(labels)
        votes = np.stack([(around == kind).sum(1) for kind in kinds], axis=1)
        found: Labels = kinds[votes.argmax(1)]
        return found

    return label_of


def _short(value: float) -> float:
    """With so many digits as a picture shows."""
    return float(f"{value:.5g}")
