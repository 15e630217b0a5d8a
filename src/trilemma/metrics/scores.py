"""What may be compared: two samples of scores, larger = more likely a member."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trilemma.core.errors import BadInput

Scores: TypeAlias = NDArray[Any]  # (n,) numbers, none NaN, all of one sample


def pair(member_scores: ArrayLike, nonmember_scores: ArrayLike) -> tuple[Scores, Scores]:
    """Both sides, checked, in the one type that holds both exactly.

    Args:
        member_scores: (n,) numbers, +-inf allowed.
        nonmember_scores: (m,) numbers, +-inf allowed.

    Returns:
        The two samples. float32 beside float64 is widened, never rounded.

    Raises:
        BadInput: a side that is empty, not one-dimensional, not made of real numbers, or that
            holds a NaN (says which side and the first row).

    Example:
        >>> pair([1, 2], [0.5])
        (array([1., 2.]), array([0.5]))
    """
    members = checked(member_scores, "member scores")
    nonmembers = checked(nonmember_scores, "non-member scores")
    common = np.result_type(members, nonmembers)
    return members.astype(common), nonmembers.astype(common)


def checked(scores: ArrayLike, side: str) -> Scores:
    """One side of `pair`.

    Args:
        scores: as in `pair`.
        side: what to call it in an error.

    Raises:
        BadInput: as `pair`.
    """
    values = np.asarray(scores)
    if values.ndim != 1:
        raise BadInput(side, f"have shape {values.shape}", "Give one number a row, shape (n,)")
    if not len(values):
        raise BadInput(side, "are empty", "Give at least one row on each side")
    if values.dtype.kind not in "fiub":
        raise BadInput(side, f"are of type {values.dtype}", "Give real numbers")
    wrong = np.isnan(values)
    if wrong.any():
        raise BadInput(
            side,
            f"{int(wrong.sum())} of {len(values)} are NaN, the first at row {int(wrong.argmax())}",
            "Give a number for each row; +-inf is allowed",
        )
    return values.astype(np.int8) if values.dtype.kind == "b" else values
