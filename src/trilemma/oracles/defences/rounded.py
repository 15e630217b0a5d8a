"""Scores told to a few digits (Shokri et al. 2017)."""

from dataclasses import dataclass as plain
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from trilemma.core.errors import BadInput
from trilemma.core.types import Probs, Rows
from trilemma.oracles.protocol import Oracle

MOST = 9  # digits, beyond which the rest of a sum is rounding
EXACT = 1e-12  # of a sum that is 1 but for rounding


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Rounding:
    """Rounded scores.

    Args:
        digits: after the point.

    Source: Shokri et al. 2017, section VIII-A; see `rounded`.
    """

    REVISION: ClassVar[int] = 1

    digits: Annotated[int, Field(ge=0, le=MOST)] = 1


@plain(frozen=True)
class Rounded:
    """An oracle that tells probabilities to some digits.

    Args:
        inner: what answers.
        digits: after the point, 0 ... 9; at 0 nothing but the label is left.

    Raises:
        BadInput: digits out of range.

    Example:
        >>> from trilemma.oracles import Local
        >>> oracle = Rounded(Local(torch.nn.Identity(), classes=3), digits=1)
        >>> oracle(torch.tensor([[2.0, 1.0, 1.0]]))
        tensor([[0.6000, 0.2000, 0.2000]], dtype=torch.float64)
    """

    inner: Oracle
    digits: int

    def __post_init__(self) -> None:
        if not 0 <= self.digits <= MOST:
            raise BadInput("digits", f"is {self.digits}", f"Give a number from 0 to {MOST}")

    @property
    def classes(self) -> int:
        """How many classes an answer covers."""
        return self.inner.classes

    def __call__(self, x: Rows) -> Probs:
        """(n, classes) probabilities that are multiples of 10^-digits, float64."""
        return rounded(self.inner(x), self.digits)


def rounded(answer: Probs, digits: int) -> Probs:
    """Probabilities rounded down to multiples of 10^-digits; what is cut off goes to the top class.

    Rounding each to the nearest leaves a row that does not add up to 1; to divide by its sum gives
    back digits that were to be hidden, and may let another class draw level with the label. Here a
    row adds up to 1 and keeps its label, ties included; a row of such multiples stays as it is. No
    other class moves by as much as 10^-digits, the top class by at most k - 1 times that.

    Args:
        answer: (n, k) rows on the simplex.
        digits: 0 ... 9.

    Example:
        >>> rounded(torch.tensor([[0.46, 0.49, 0.05]]), 1)
        tensor([[0.4000, 0.6000, 0.0000]], dtype=torch.float64)

    Source:
        The defence: Shokri et al., "Membership inference attacks against machine learning models",
        IEEE S&P 2017, section VIII-A. Where the rest goes is ours.
    """
    units, p = 10**digits, answer.double()
    top = p.argmax(1, keepdim=True)
    total = p.sum(1, keepdim=True)
    p = torch.where((total - 1).abs() > EXACT, p / total, p)
    parts = (p * units).round()
    parts = (parts - (parts / units > p).double()).long()  # the most that is not above p
    others = parts.scatter(1, top, 0)
    own = units - others.sum(1, keepdim=True)
    before = torch.arange(p.shape[1], device=p.device) < top
    level = ((others == own) & before).long()  # near ties: they would now be named first
    own = own + level.sum(1, keepdim=True)
    told: Probs = (others - level).scatter(1, top, own).double() / units
    return told
