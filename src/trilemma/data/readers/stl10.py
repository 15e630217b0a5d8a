"""The binary version of STL-10: bytes of pixels, column by column, and bytes of labels."""

from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data.readers.archives import walk
from trilemma.data.readers.decoded import Decoded, parts
from trilemma.data.readers.pictures import scaled

CLASSES = (
    "airplane",
    "bird",
    "car",
    "cat",
    "deer",
    "dog",
    "horse",
    "monkey",
    "ship",
    "truck",
)
SIDE = 96
PIXELS = 3 * SIDE * SIDE
NAMES = "class_names.txt"
NEEDED = ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", NAMES)
AGAIN = "Fetch the binary version again"


def binary(path: Path, size: int) -> Decoded:
    """`stl10_binary.tar.gz` or its folder: the labelled images; labels 1 to 10 become 0 to 9.

    The unlabelled images have no place in a set of rows with classes and are not read.
    """
    found = _files(path)
    names = tuple(found[NAMES].decode("utf-8", "replace").split())
    if names != CLASSES:
        problem = f"{NAMES} holds {', '.join(names) or 'nothing'} instead of {', '.join(CLASSES)}"
        raise BadInput(str(path), problem, AGAIN)
    (x_train, y_train), (x_test, y_test) = (_part(path, part, found) for part in ("train", "test"))
    stored = np.empty((len(y_train) + len(y_test), 3, size, size), dtype=np.uint8)
    stored[: len(y_train)] = x_train if size == SIDE else scaled(x_train, size)
    stored[len(y_train) :] = x_test if size == SIDE else scaled(x_test, size)
    return Decoded(
        stored=stored,
        y=np.concatenate([y_train, y_test]),
        class_names=CLASSES,
        part=parts(len(y_train), len(y_test)),
        notes=() if size == SIDE else (f"96x96 images resized to {size}x{size} (Lanczos)",),
    )


def _files(path: Path) -> dict[str, bytes]:
    """The content of each needed file; what stands behind the last of them is not looked at.

    Most of an archive's 2.6 GB are the unlabelled images.
    """
    found: dict[str, bytes] = {}
    for name, content in walk(path, lambda name: PurePosixPath(name).name in NEEDED):
        found[PurePosixPath(name).name] = content
        if len(found) == len(NEEDED):
            return found
    missing = [name for name in NEEDED if name not in found]
    raise BadInput(str(path), f"lacks {', '.join(missing)}", AGAIN)


def _part(
    path: Path, part: str, found: dict[str, bytes]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    x, y = _images(path, f"{part}_X.bin", found), _labels(path, f"{part}_y.bin", found)
    if len(x) != len(y):
        problem = f"{part} holds {len(x):,} images for {len(y):,} labels"
        raise BadInput(str(path), problem, AGAIN)
    return x, y


def _images(path: Path, name: str, found: dict[str, bytes]) -> NDArray[np.uint8]:
    """(n, 3, rows, columns): in the file a channel is a list of columns, so both are exchanged."""
    values = np.frombuffer(found[name], dtype=np.uint8)
    if not len(values) or len(values) % PIXELS:
        problem = f"{name} holds {len(values):,} bytes, which is no number of 96x96 colour images"
        raise BadInput(str(path), problem, AGAIN)
    return values.reshape(-1, 3, SIDE, SIDE).transpose(0, 1, 3, 2)


def _labels(path: Path, name: str, found: dict[str, bytes]) -> NDArray[np.int64]:
    values = np.frombuffer(found[name], dtype=np.uint8)
    if (wrong := values[(values < 1) | (values > len(CLASSES))]).size:
        problem = f"{name} holds the label {wrong[0]} where 1 to {len(CLASSES)} are allowed"
        raise BadInput(str(path), problem, AGAIN)
    return values.astype(np.int64) - 1
