"""GTSRB: PPM images in folders of a class with a CSV of sign boxes each, and a labelled test CSV.

Of each image the sign's box (`Roi.X1` ... `Roi.Y2`) is kept and resized.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data.readers.archives import walk
from trilemma.data.readers.decoded import Decoded, parts
from trilemma.data.readers.pictures import opened, resized
from trilemma.data.readers.prepared import pixel_npz

CLASSES = 43
Rows = Mapping[str, Mapping[str, str]]


def prepared_npz(path: Path, size: int) -> Decoded:
    """The prepared 32x32 file."""
    decoded = pixel_npz(path)
    if decoded.stored.shape[-1] != size:
        problem = f"holds {decoded.stored.shape[-1]}x{decoded.stored.shape[-1]} images"
        fix = f"For size: {size}, put the official archives into the same folder"
        raise BadInput(str(path), problem, fix)
    return decoded


def archives(paths: tuple[Path, ...], size: int) -> Decoded:
    """The training images, the test images and the test labels, zipped or unpacked."""
    training, test, labels = paths
    x_train, y_train = _images(training, _annotations(training), size)
    x_test, y_test = _images(test, _annotations(labels), size)
    return Decoded(
        stored=np.concatenate([x_train, x_test]),
        y=np.concatenate([y_train, y_test]),
        class_names=tuple(f"sign {label:02d}" for label in range(CLASSES)),
        part=parts(len(y_train), len(y_test)),
        notes=(f"the sign's box of each image, resized to {size}x{size} (Lanczos)",),
    )


def _annotations(path: Path) -> Rows:
    """Rows of every CSV below the path that has labels, by `<folder>/<file>` and by file name."""
    rows: dict[str, Mapping[str, str]] = {}
    for name, content in walk(path, lambda name: name.lower().endswith(".csv")):
        for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig")), delimiter=";"):
            if "ClassId" in row:
                folder = PurePosixPath(name).parent.name
                rows[f"{folder}/{row['Filename']}"] = row
                rows.setdefault(row["Filename"], row)
    if not rows:
        raise BadInput(str(path), "holds no CSV with the column ClassId", "Fetch it again")
    return rows


def _images(path: Path, rows: Rows, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Every PPM image that has a row, in the order of its name."""
    held: dict[str, tuple[NDArray[np.uint8], int]] = {}
    for name, content in walk(path, lambda name: name.lower().endswith(".ppm")):
        short = PurePosixPath(name)
        row = rows.get(f"{short.parent.name}/{short.name}") or rows.get(short.name)
        if row is None:
            raise BadInput(str(path), f"{name} has no label", "Fetch the labels that go with it")
        image = opened(content, mode="RGB", name=name)
        left, upper, right, lower = (int(row[f"Roi.{key}"]) for key in ("X1", "Y1", "X2", "Y2"))
        box = (left, upper, min(right + 1, image.width), min(lower + 1, image.height))
        held[name] = (resized(image, (size, size), box=box), int(row["ClassId"]))
    if not held:
        raise BadInput(str(path), "holds no .ppm image", "Fetch it again")
    names = sorted(held)
    y = np.array([held[name][1] for name in names], dtype=np.int64)
    if y.min() < 0 or y.max() >= CLASSES:
        raise BadInput(str(path), f"has labels {y.min()} to {y.max()} where 0 to 42 are allowed")
    return np.stack([held[name][0] for name in names]).transpose(0, 3, 1, 2), y
