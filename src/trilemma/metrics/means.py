"""Means over rows."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from trilemma.core.errors import BadInput
from trilemma.metrics.estimate import Estimate, Metric, NotEvaluable, check_level


def mean(values: ArrayLike, level: float = 0.95) -> Metric:
    r"""The mean of some numbers with Student's interval.

    .. math:: \bar x \pm t_{n-1} \, s / \sqrt n

    It is exact for normal numbers, and for others as good as the central limit theorem at n.

    Args:
        values: (n,) one a row, n >= 1; their order does not matter.
        level: of the interval, in (0, 1).

    Returns:
        The mean; not evaluable of a single number, or where one is infinite.

    Raises:
        BadInput: no numbers, not one-dimensional, or a NaN; a level outside (0, 1).

    Example:
        >>> found = mean([1.0, 2.0, 6.0])
        >>> found.value, round(found.low, 3), round(found.high, 3)
        (3.0, -3.572, 9.572)

    Source:
        Student, "The probable error of a mean", Biometrika 1908.
    """
    check_level(level)
    found = np.sort(np.asarray(values, dtype=np.float64))
    if found.ndim != 1 or not len(found) or np.isnan(found).any():
        raise BadInput("values", f"have shape {found.shape}, or NaN among them", "Give numbers")
    infinite = int(np.isinf(found).sum())
    if infinite:
        return NotEvaluable(f"{infinite} of {len(found)} are infinite")
    if len(found) == 1:
        return NotEvaluable("a single number has no spread")
    reach = float(stdtrit(len(found) - 1, (1 + level) / 2) * found.std(ddof=1))
    value = float(found.mean())
    half = reach / math.sqrt(len(found))
    return Estimate(value, value - half, value + half, level)
