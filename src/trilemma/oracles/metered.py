"""A meter in front of an oracle: it counts rows and refuses what would pass the limit."""

from dataclasses import dataclass, field

from trilemma.core.errors import BadInput, BudgetExceeded
from trilemma.core.types import Probs, Rows
from trilemma.oracles.protocol import Oracle


@dataclass
class Metered:
    """An oracle that answers `limit` rows in all.

    Args:
        inner: what answers.
        limit: rows, at least 0.

    Attributes:
        spent: rows sent so far; a row asked about twice counts twice.

    Raises:
        BadInput: a negative limit.
        BudgetExceeded: on a call that would pass the limit; nothing of it is sent.

    Example:
        >>> import torch
        >>> from trilemma.oracles import Local
        >>> oracle = Metered(Local(torch.nn.Linear(2, 3), classes=3), limit=10)
        >>> _ = oracle(torch.zeros(4, 2))
        >>> oracle.spent
        4
    """

    inner: Oracle
    limit: int
    spent: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise BadInput("limit", f"is {self.limit}", "Give a number of rows >= 0")

    @property
    def classes(self) -> int:
        """How many classes an answer covers."""
        return self.inner.classes

    def __call__(self, x: Rows) -> Probs:
        """(n, classes) probabilities; n is added to `spent`."""
        if self.spent + len(x) > self.limit:
            raise BudgetExceeded(asked=len(x), spent=self.spent, limit=self.limit)
        self.spent += len(x)
        return self.inner(x)
