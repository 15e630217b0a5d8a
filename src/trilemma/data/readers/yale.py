"""Extended Yale B, cropped: PGM images `yaleBxx/yaleBxx_P00A+000E+00.pgm`."""

from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data.readers.archives import walk
from trilemma.data.readers.decoded import Decoded
from trilemma.data.readers.pictures import opened
from trilemma.data.readers.prepared import sorted_npz


def prepared_npz(path: Path, full_size: bool) -> Decoded:
    """The prepared file at half size, pooled and in the order of the original names."""
    if full_size:
        problem = "holds images at half size, 96x84"
        raise BadInput(str(path), problem, "For full_size, put CroppedYale.zip into that folder")
    return sorted_npz(path, "name")


def archive(path: Path, full_size: bool) -> Decoded:
    """`CroppedYale.zip` or its folder, without the ambient and the corrupted images."""
    images: dict[tuple[str, str], NDArray[np.uint8]] = {}
    for name, content in walk(path, _is_face):
        short = PurePosixPath(name)
        pixels = np.asarray(opened(content, mode="L", name=name), dtype=np.uint8)
        images[short.parent.name, short.stem] = pixels if full_size else halved(pixels)
    if not images:
        raise BadInput(str(path), "holds no .pgm image of a face", "Fetch it again")
    people = sorted({person for person, _ in images})
    ordered = sorted(images)
    return Decoded(
        stored=np.stack([images[key] for key in ordered])[:, None],
        y=np.array([people.index(person) for person, _ in ordered], dtype=np.int64),
        class_names=tuple(people),
        notes=() if full_size else ("192x168 images halved by box average",),
    )


def halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of each 2x2 block, rounded half up.

    Example:
        >>> import numpy as np
        >>> halved(np.array([[0, 1], [1, 0]], dtype=np.uint8)).tolist()
        [[1]]
    """
    height, width = pixels.shape
    blocks = pixels[: height // 2 * 2, : width // 2 * 2].reshape(height // 2, 2, width // 2, 2)
    means: NDArray[np.uint8] = ((blocks.sum(axis=(1, 3), dtype=np.uint16) + 2) // 4).astype(
        np.uint8
    )
    return means


def _is_face(name: str) -> bool:
    """Not the ambient images, not those marked `.bad`, not a copy's resource files."""
    return name.endswith(".pgm") and "Ambient" not in name and not name.startswith("__MACOSX")
