"""A long stage's portions, each written down for a run that comes after a crash. NumPy only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def kept(path: Path, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """The array of an `.npy` file; where there is none yet, it is made and written as a whole."""
    if not path.exists():
        array, new = make(), path.with_suffix(".new")
        with new.open("wb") as file:
            np.save(file, array)
        new.replace(path)
        return array
    found: NDArray[Any] = np.load(path, allow_pickle=False)
    return found
