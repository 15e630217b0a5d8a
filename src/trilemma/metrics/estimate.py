"""A number with its uncertainty, or the reason why there is none."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

from trilemma.core.errors import BadInput


@dataclass(frozen=True)
class Estimate:
    """A measured value and an interval around it.

    Args:
        value: the point estimate, in the metric's own unit.
        low: lower end, <= value.
        high: upper end, >= value; `math.inf` where the sample gives no upper end (the empirical
            epsilon only).
        level: probability, in (0, 1), with which the interval's procedure covers the truth.

    Raises:
        BadInput: not low <= value <= high, a value that is not a finite number, or a level
            outside (0, 1).

    Example:
        >>> Estimate(0.5, 0.25, 0.75)
        Estimate(value=0.5, low=0.25, high=0.75, level=0.95)
    """

    value: float
    low: float
    high: float
    level: float = 0.95

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and math.isfinite(self.low)):
            raise BadInput("estimate", f"value {self.value}, low {self.low} must be finite")
        if not self.low <= self.value <= self.high:
            raise BadInput(
                "estimate", f"low {self.low} <= value {self.value} <= high {self.high} is false"
            )
        check_level(self.level)

    def to_json(self) -> dict[str, Any]:
        """As in the audit document; an infinite upper end is written as null.

        Example:
            >>> Estimate(1.0, 1.0, math.inf).to_json()
            {'value': 1.0, 'low': 1.0, 'high': None, 'level': 0.95}
        """
        return {
            "value": float(self.value),
            "low": float(self.low),
            "high": float(self.high) if math.isfinite(self.high) else None,
            "level": float(self.level),
        }


@dataclass(frozen=True)
class NotEvaluable:
    """What the sample cannot answer.

    Args:
        why: one sentence for the reader of a report, with the numbers that forbid an answer.
    """

    why: str

    def to_json(self) -> dict[str, Any]:
        """As in the audit document.

        Example:
            >>> NotEvaluable("two rows are too few").to_json()
            {'not_evaluable': 'two rows are too few'}
        """
        return {"not_evaluable": self.why}


Metric: TypeAlias = Estimate | NotEvaluable


def check_level(level: float) -> None:
    """Refuse a confidence level outside (0, 1).

    Raises:
        BadInput: as said.
    """
    if not 0 < level < 1:
        raise BadInput("level", f"is {level!r}", "Give a confidence level inside (0, 1), say 0.95")
