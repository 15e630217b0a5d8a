"""SVHN's cropped digits (its format 2): MATLAB files, pixels in the variable X, digits in y."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data.readers.decoded import Decoded, parts

DIGITS = 10  # the file's label of the digit 0; all others stand for themselves
SIDES = (32, 32, 3)
AGAIN = "Fetch it again"


def cropped(paths: tuple[Path, ...]) -> Decoded:
    """`train_32x32.mat` and `test_32x32.mat`; the label 10 becomes the class 0."""
    (x_train, y_train), (x_test, y_test) = (_part(path) for path in paths)
    return Decoded(
        stored=np.concatenate([x_train, x_test]),
        y=np.concatenate([y_train, y_test]),
        class_names=tuple(str(digit) for digit in range(DIGITS)),
        part=parts(len(y_train), len(y_test)),
    )


def _part(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images with the channels first, and digits 0 to 9."""
    held = _variables(path)
    if missing := [name for name in ("X", "y") if name not in held]:
        raise BadInput(str(path), f"lacks the variable {' and '.join(missing)}", AGAIN)
    x, y = held["X"], held["y"]
    if not isinstance(x, np.ndarray) or x.dtype != np.uint8:
        raise BadInput(str(path), f"X holds {_sort(x)}, not bytes", AGAIN)
    if x.ndim != 4 or x.shape[:3] != SIDES or not x.size:
        problem = f"X has the shape {x.shape} instead of (32, 32, 3, images)"
        raise BadInput(str(path), problem, AGAIN)
    if not isinstance(y, np.ndarray) or y.dtype.kind not in "uif":
        raise BadInput(str(path), f"y holds {_sort(y)}, not numbers", AGAIN)
    if y.shape != (x.shape[3], 1):
        problem = f"holds {x.shape[3]:,} images, and y has the shape {y.shape}"
        raise BadInput(str(path), problem, AGAIN)
    if not (known := np.isin(y, np.arange(1, DIGITS + 1))).all():
        problem = f"has the label {y[~known][0]:g} where 1 to {DIGITS} are allowed"
        raise BadInput(str(path), problem, AGAIN)
    return np.ascontiguousarray(x.transpose(3, 2, 0, 1)), y[:, 0].astype(np.int64) % DIGITS


def _variables(path: Path) -> dict[str, Any]:
    """X and y, as far as they are there.

    Reading a MATLAB file runs none of it: the format has tagged arrays, not pickles, and SciPy
    hands MATLAB's own functions and objects over as dead values. All but X and y are skipped.
    """
    from scipy.io import loadmat

    try:
        with path.open("rb") as opened:
            held: dict[str, Any] = loadmat(opened, variable_names=("X", "y"))
    except Exception as error:  # zlib, struct and SciPy's own readers each have their own
        problem = f"is not a whole MATLAB file of version 5 ({error})"
        raise BadInput(str(path), problem, AGAIN) from None
    return held


def _sort(value: object) -> str:
    return str(value.dtype) if isinstance(value, np.ndarray) else type(value).__name__
