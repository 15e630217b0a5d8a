"""Extended Yale B, cropped: PGM images `yaleBxx/yaleBxx_P00A+000E+00.pgm`."""

from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data.readers.archives import walk
from trilemma.data.readers.decoded import Decoded
from trilemma.data.readers.halving import halved, smaller
from trilemma.data.readers.pictures import opened
from trilemma.data.readers.prepared import sorted_npz


def prepared_npz(path: Path, full_size: bool, halvings: int) -> Decoded:
    """The prepared file at half size, pooled and in the order of the original names."""
    if full_size:
        problem = "holds images at half size, 96x84"
        raise BadInput(str(path), problem, "For full_size, put CroppedYale.zip into that folder")
    return smaller(sorted_npz(path, "name"), halvings)


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
    return smaller(decoded, halvings)


def _is_face(name: str) -> bool:
    """Not the ambient images, not those marked `.bad`, not a copy's resource files."""
    return name.endswith(".pgm") and "Ambient" not in name and not name.startswith("__MACOSX")
