"""Whether one measured number is larger than another, over seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much larger one metric is than another.

    Args:
        seeds: the difference with each seed, in the metric's unit.
        mean: over seeds.
        margin: how much larger the mean may look at the metrics' level by the choice of rows
            alone; the two metrics, and the seeds, are taken as independent.

    Source:
        The margin recovers variances from the intervals' inner halves (MOVER): Zou and Donner,
        "Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008.
    """

    seeds: tuple[float, ...]
    mean: float
    margin: float

    @property
    def clear(self) -> bool:
        """Positive with every seed, and the mean is beyond its margin."""
        return min(self.seeds) > 0 and self.mean > self.margin


def difference(larger: Mapping[str, Any], smaller: Mapping[str, Any]) -> Difference:
    """Compare two records of a metric as the audit document holds them.

    Seeds are compared one by one where both records list equally many; else the records' own
    values and intervals are.

    Args:
        larger: the record expected to be larger, with `value`, `low`, `high`, perhaps `seeds`.
        smaller: the other one, at the same level.

    Example:
        >>> one = {"value": 0.7, "low": 0.68, "high": 0.72, "level": 0.95}
        >>> two = {"value": 0.6, "low": 0.58, "high": 0.62, "level": 0.95}
        >>> difference(one, two).clear, difference(two, one).clear
        (True, False)
    """
    pairs = list(zip(larger.get("seeds", ()), smaller.get("seeds", ()), strict=False))
    if not pairs or len(larger["seeds"]) != len(smaller["seeds"]):
        pairs = [(larger, smaller)]
    seeds = tuple(float(a["value"] - b["value"]) for a, b in pairs)
    spread = math.fsum(_square(a["value"] - a["low"]) + _above(b) for a, b in pairs)
    return Difference(
        seeds=seeds, mean=math.fsum(seeds) / len(pairs), margin=math.sqrt(spread) / len(pairs)
    )


def _above(record: Mapping[str, Any]) -> float:
    return math.inf if record["high"] is None else _square(record["high"] - record["value"])


def _square(number: float) -> float:
    return float(number) * float(number)
