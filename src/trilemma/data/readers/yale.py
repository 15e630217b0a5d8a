"""Extended Yale B, cropped: PGM images `yaleBxx/yaleBxx_P00A+000E+00.pgm`."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data.readers.archives import walk
from trilemma.data.readers.decoded import Decoded
from trilemma.data.readers.pictures import opened
from trilemma.data.readers.prepared import sorted_npz


def prepared_npz(path: Path, full_size: bool, halvings: int) -> Decoded:
    """The prepared file at half size, pooled and in the order of the original names."""
    if full_size:
        problem = "holds images at half size, 96x84"
        raise BadInput(str(path), problem, "For full_size, put CroppedYale.zip into that folder")
    return _smaller(sorted_npz(path, "name"), halvings)


def archive(path: Path, full_size: bool, halvings: int) -> Decoded:
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
    decoded = Decoded(
        stored=np.stack([images[key] for key in ordered])[:, None],
        y=np.array([people.index(person) for person, _ in ordered], dtype=np.int64),
        class_names=tuple(people),
        notes=() if full_size else ("192x168 images halved by box average",),
    )
    return _smaller(decoded, halvings)


def _smaller(decoded: Decoded, halvings: int) -> Decoded:
    stored, notes = decoded.stored, decoded.notes
    for _ in range(halvings):
        height, width = stored.shape[-2:]
        notes = (*notes, f"{height}x{width} images halved by box average")
        stored = halved(stored)
    return replace(decoded, stored=stored, notes=notes)


def halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of each 2x2 block, rounded half up.

    Example:
        >>> import numpy as np
        >>> halved(np.array([[0, 1], [1, 0]], dtype=np.uint8)).tolist()
        [[1]]
    """
    *many, height, width = pixels.shape
    even = pixels[..., : height // 2 * 2, : width // 2 * 2]
    blocks = even.reshape(*many, height // 2, 2, width // 2, 2)
    means: NDArray[np.uint8] = ((blocks.sum(axis=(-3, -1), dtype=np.uint16) + 2) // 4).astype(
        np.uint8
    )
    return means


def _is_face(name: str) -> bool:
    """Not the ambient images, not those marked `.bad`, not a copy's resource files."""
    return name.endswith(".pgm") and "Ambient" not in name and not name.startswith("__MACOSX")
