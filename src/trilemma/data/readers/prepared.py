"""Prepared `.npz` files: pixels as an array, or JPEG bytes with offsets."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.data.extras import optional
from trilemma.data.readers.decoded import Decoded, channels_first, parts


def pixel_npz(path: Path) -> Decoded:
    """`x_train`, `y_train`, and `x_test`, `y_test` if there is a test part, in official order."""
    with np.load(path, allow_pickle=False) as held:
        names = [name for name in ("train", "test") if f"x_{name}" in held]
        images = [held[f"x_{name}"] for name in names]
        y = np.concatenate([held[f"y_{name}"] for name in names])
        classes = tuple(str(name) for name in held["class_names"])
    return Decoded(
        stored=channels_first(np.concatenate(images)),
        y=y.astype(np.int64),
        class_names=classes,
        part=parts(len(images[0]), len(images[1])) if len(images) > 1 else None,
    )


def sorted_npz(path: Path, name: str) -> Decoded:
    """A set without official parts: both arrays pooled, in the order of the original names.

    Args:
        path: the file.
        name: prefix of the arrays that hold each row's original name (`name`, `file`).
    """
    with np.load(path, allow_pickle=False) as held:
        both = ("train", "test")
        images = np.concatenate([held[f"x_{part}"] for part in both])
        y = np.concatenate([held[f"y_{part}"] for part in both]).astype(np.int64)
        names = np.concatenate([held[f"{name}_{part}"] for part in both])
        classes = tuple(str(each) for each in held["class_names"])
    order = np.lexsort((names, y))
    return Decoded(stored=channels_first(images[order]), y=y[order], class_names=classes)


def jpeg_npz(path: Path) -> Decoded:
    """JPEG bytes and offsets of both parts; says when this machine decodes other pixels."""
    with np.load(path, allow_pickle=False) as held:
        arrays = {name: held[name] for name in held.files}
    images, other = [], []
    for part in ("train", "test"):
        images.append(decode_jpegs(arrays[f"jpeg_{part}"], arrays[f"offset_{part}"]))
        if hashlib.sha256(images[-1].data).hexdigest() != str(arrays[f"pixels_sha256_{part}"]):
            other.append(part)
    deviation = ""
    if other:
        deviation = f"this machine's JPEG library decodes other {' and '.join(other)} pixels"
    return Decoded(
        stored=channels_first(np.concatenate(images)),
        y=np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int64),
        class_names=tuple(str(name) for name in arrays["class_names"]),
        part=parts(len(images[0]), len(images[1])),
        deviation=deviation,
    )


def decode_jpegs(content: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[Any]:
    """(n, H, W, 3) pixels of n JPEG files that lie one after the other."""
    image = optional("PIL.Image", "pillow", "reading JPEG images")
    view = np.ascontiguousarray(content).data
    first = np.asarray(image.open(io.BytesIO(view[offsets[0] : offsets[1]])).convert("RGB"))
    out = np.empty((len(offsets) - 1, *first.shape), dtype=np.uint8)
    for row in range(len(out)):
        with image.open(io.BytesIO(view[offsets[row] : offsets[row + 1]])) as opened:
            out[row] = np.asarray(opened.convert("RGB"))
    return out
