"""Images at half their size, by box average."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trilemma.data.readers.decoded import Decoded


def smaller(decoded: Decoded, halvings: int) -> Decoded:
    """Images whose sides are halved so many times, which the notes say."""
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
