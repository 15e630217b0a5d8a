"""What a classifier that never asks the model may look at: a row, summarised, and its label."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float32]

SIDE = 16  # images are averaged down to this many pixels a side
COLUMNS = 512  # taken as they are; of wider rows only principal components
COMPONENTS = 40
FEW_CLASSES = 100  # up to this many get a column each


def features(x: Array, labels: Array, seed: int) -> Floats:
    """(n, f) columns for a classifier: pixels, principal components, traces of processing, label.

    Args:
        x: (n, *x) inputs; (n, channels, height, width) are taken for images.
        labels: (n,) classes, or (n, k) soft targets.
        seed: of the randomised principal components.
    """
    flat = x.reshape(len(x), -1).astype(np.float32)
    coarse = _shrunk(x.astype(np.float32)) if x.ndim == 4 else flat
    parts = [_traces(x, flat), _label_columns(labels)]
    if coarse.shape[1] <= COLUMNS:
        parts.append(coarse)
    if flat.shape[1] > COMPONENTS:
        parts.append(_components(flat if flat.shape[1] <= 4096 else coarse, seed))
    return np.concatenate(parts, axis=1)


def _shrunk(images: Floats) -> Floats:
    """Block means, at most SIDE x SIDE a channel, as rows."""
    height, width = images.shape[2:]
    rows = np.arange(0, height, -(-height // SIDE))
    columns = np.arange(0, width, -(-width // SIDE))
    sums = np.add.reduceat(np.add.reduceat(images, rows, axis=2), columns, axis=3)
    areas = np.outer(np.diff(rows, append=height), np.diff(columns, append=width))
    return np.asarray(sums / areas, dtype=np.float32).reshape(len(images), -1)


def _traces(x: Array, flat: Floats) -> Floats:
    """How a row was made rather than what it shows: range, saturation, noise, rounding."""
    low, high = flat.min(), flat.max()
    span = float(high - low) or 1.0
    steps = (flat - low) * np.float32(255 / span)
    rough = [np.abs(np.diff(x, axis=axis)).reshape(len(x), -1) for axis in range(1, x.ndim)]
    columns = [
        flat.mean(1),
        flat.std(1),
        flat.min(1),
        flat.max(1),
        (flat == low).mean(1),
        (flat == high).mean(1),
        np.abs(steps - np.round(steps)).mean(1),
        *(each.mean(1) for each in rough if each.shape[1]),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _label_columns(labels: Array) -> Floats:
    if labels.ndim > 1:
        return labels.reshape(len(labels), -1).astype(np.float32)
    classes, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) > FEW_CLASSES:
        return np.stack([labels, counts[place]], axis=1).astype(np.float32)
    return np.eye(len(classes), dtype=np.float32)[place]


def _components(flat: Floats, seed: int) -> Floats:
    from sklearn.decomposition import PCA

    count = min(COMPONENTS, *flat.shape)
    pca = PCA(count, svd_solver="randomized", random_state=seed)
    return np.asarray(pca.fit_transform(flat), dtype=np.float32)
