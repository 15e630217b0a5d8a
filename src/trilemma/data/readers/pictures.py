"""Image files -> pixels, through Pillow."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data.extras import optional


def opened(content: bytes | Path, *, mode: str, name: str) -> Any:
    """A Pillow image in the given mode (`L` grey, `RGB` colour).

    Raises:
        BadInput: no image that Pillow reads, cut short, or of more than 8 bits a channel, which
            the conversion would clip; names the file.
        MissingExtra: Pillow is not installed.
    """
    image = optional("PIL.Image", "pillow", "reading images")
    try:
        with image.open(content if isinstance(content, Path) else io.BytesIO(content)) as found:
            if found.mode[0] not in "IF":
                return found.convert(mode)
    except (OSError, SyntaxError, ValueError) as error:
        problem = f"is not an image that can be read ({error})"
        raise BadInput(name, problem, "Fetch or save it again") from None
    raise BadInput(name, "has more than 8 bits a channel", "Save it with 8 bits, or use a .npz")


def resized(
    image: Any, size: tuple[int, int], *, box: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    """Pixels of a box (left, upper, right, lower) of the image at (width, height), by Lanczos.

    The box is cut out first: a filter that reaches over its edge would mix its surroundings in.
    """
    lanczos = optional("PIL.Image", "pillow", "resizing images").Resampling.LANCZOS
    return np.asarray(image.crop(box).resize(size, lanczos), dtype=np.uint8)


def scaled(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(n, 3, H, W) colour images at size x size, by Lanczos."""
    image = optional("PIL.Image", "pillow", "resizing images")
    height, width = images.shape[-2:]
    out = np.empty((len(images), 3, size, size), dtype=np.uint8)
    for row, pixels in enumerate(images):
        whole = image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        small = resized(whole, (size, size), box=(0, 0, width, height))
        out[row] = small.transpose(2, 0, 1)
    return out
