"""Labeled faces in the wild, funneled: the people of whom there are more than 40 images."""

from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data.readers.archives import walk
from trilemma.data.readers.decoded import Decoded, channels_first
from trilemma.data.readers.pictures import opened, resized

MORE_THAN = 40  # images of a person (Li & Zhang 2021, appendix A.1)
SIZE = 64


def archive(path: Path) -> Decoded:
    """`lfw-funneled.tgz` or its folder: the central half of each image, resized to 64x64.

    Every JPEG is held until the people with enough images are known.
    """
    people: dict[str, dict[str, bytes]] = {}
    for name, content in walk(path, lambda name: name.lower().endswith(".jpg")):
        short = PurePosixPath(name)
        people.setdefault(short.parent.name, {})[short.name] = content
    names = sorted(person for person, images in people.items() if len(images) > MORE_THAN)
    if not names:
        raise BadInput(str(path), f"has nobody with more than {MORE_THAN} images", "Fetch it again")
    pixels: list[NDArray[np.uint8]] = []
    y: list[int] = []
    for label, person in enumerate(names):
        for file, content in sorted(people[person].items()):
            pixels.append(_face(content, file))
            y.append(label)
    return Decoded(
        stored=channels_first(np.stack(pixels)),
        y=np.array(y, dtype=np.int64),
        class_names=tuple(names),
        notes=("the central half of each image, resized to 64x64 (Lanczos)",),
    )


def _face(content: bytes, name: str) -> NDArray[np.uint8]:
    image = opened(content, mode="RGB", name=name)
    width, height = image.size
    box = (width // 4, height // 4, width // 4 + width // 2, height // 4 + height // 2)
    return resized(image, (SIZE, SIZE), box=box)
