"""How many rows are sure within a radius."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from trilemma.core.errors import BadInput
from trilemma.metrics.estimate import Estimate
from trilemma.metrics.rates import accuracy
from trilemma.metrics.scores import checked


def certified_shares(
    radius: ArrayLike, radii: Sequence[float], level: float = 0.95
) -> list[Estimate]:
    """Share of the rows whose label is sure in the whole ball of each radius.

    A ball holds every smaller one, so that a row counts at each radius up to its own, and the
    shares fall with the radius.

    Args:
        radius: (n,) the largest radius for which a row's label is sure to be right; negative where
            it is not even right as it is.
        radii: ascending, from 0.
        level: of the exact intervals.

    Returns:
        One share for each of `radii`.

    Raises:
        BadInput: no rows; radii that do not ascend from 0.

    Example:
        >>> [share.value for share in certified_shares([-1.0, 0.1, 0.2, 0.2], [0.0, 0.1, 0.2])]
        [0.75, 0.75, 0.5]
    """
    sure, grid = checked(radius, "radii of rows"), np.asarray(radii, dtype=np.float64)
    if not len(grid) or grid[0] != 0 or (np.diff(grid) <= 0).any():
        raise BadInput("radii", f"are {list(radii)}", "Give ascending numbers, the first of them 0")
    return [accuracy(sure >= each, level) for each in grid]
