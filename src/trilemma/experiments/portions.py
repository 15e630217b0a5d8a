"""A long stage's portions, each written down for a run that comes after a crash. NumPy only."""

from collections.abc import Callable, Mapping
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


def kept_together(
    path: Path, make: Callable[[], Mapping[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file; where there is none yet, they are made and written."""
    if not path.exists():
        arrays, new = dict(make()), path.with_suffix(".new")
        with new.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        new.replace(path)
        return arrays
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}
