"""The idx format of MNIST and Fashion-MNIST."""

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data.readers.decoded import Decoded, parts

FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an idx file, gzipped or not.

    Layout: two zero bytes, the type, the number d of dimensions, d big-endian 32-bit sizes, the
    values in C order.

    Raises:
        BadInput: not an idx file of unsigned bytes, or cut short.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, OSError, zlib.error) as error:
        raise BadInput(str(path), f"is not a whole gzip file ({error})", "Fetch it again") from None
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise BadInput(str(path), "is not an idx file of unsigned bytes", "Fetch it again")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], dtype=">u4"))
    expected = start + int(np.prod(shape))
    if len(shape) != dimensions or len(content) != expected:
        problem = f"holds {len(content)} bytes where its header says {expected}"
        raise BadInput(str(path), problem, "Fetch it again")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def fashion_mnist(paths: tuple[Path, ...]) -> Decoded:
    """The four files: training images and labels, test images and labels."""
    arrays: list[NDArray[Any]] = [read_idx(path) for path in paths]
    for images, labels, path in (
        (arrays[0], arrays[1], paths[0]),
        (arrays[2], arrays[3], paths[2]),
    ):
        if len(images) != len(labels):
            raise BadInput(str(path), f"holds {len(images)} images for {len(labels)} labels")
    return Decoded(
        stored=np.concatenate([arrays[0], arrays[2]])[:, None],
        y=np.concatenate([arrays[1], arrays[3]]).astype(np.int64),
        class_names=FASHION_CLASSES,
        part=parts(len(arrays[0]), len(arrays[2])),
    )
