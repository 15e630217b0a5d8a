"""A loss that adds and scales."""

from abc import ABC, abstractmethod
from numbers import Real
from typing import ClassVar

from pydantic import ConfigDict
from torch import Tensor, nn

from trilemma.core.errors import BadInput
from trilemma.training.objectives.batch import Batch, Loss

CONFIG = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class Term(ABC):
    """A loss of a model on a batch; terms add up and scale.

    `APART` says that it is a mean over the rows, to which each contributes by itself, or no
    function of them: only then can several devices share a batch. `SOFT` says that it takes
    (n, k) soft targets as well as labels. `BY_ROW` says that it is a mean of losses of which each
    depends on one row, and on the weights by the model's answers alone, `FREE` that it depends on
    the weights and on no row: only such terms can a private training bound.
    """

    APART: ClassVar[bool] = True
    SOFT: ClassVar[bool] = True
    BY_ROW: ClassVar[bool] = False
    FREE: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """The loss to descend, in nats."""

    def __add__(self, other: object) -> "Term":
        """The sum of two losses."""
        from trilemma.training.objectives.algebra import added  # which knows the whole family

        return added(self, other) if isinstance(other, Term) else NotImplemented

    def __radd__(self, other: object) -> "Term":
        """The loss itself where it is added to 0, from which `sum` starts."""
        return self if isinstance(other, Real) and other == 0 else NotImplemented

    def __sub__(self, other: object) -> "Term":
        """The difference of two losses."""
        return self + -1.0 * other if isinstance(other, Term) else NotImplemented

    def __mul__(self, factor: object) -> "Term":
        """`factor` times the loss."""
        from trilemma.training.objectives.algebra import scaled

        return scaled(float(factor), self) if isinstance(factor, Real) else NotImplemented

    __rmul__ = __mul__

    def __truediv__(self, divisor: object) -> "Term":
        """The loss over `divisor`."""
        return self * (1 / float(divisor)) if isinstance(divisor, Real) else NotImplemented


def check_hard(term: Term, y: Tensor) -> None:
    """Refuse soft targets for a term that asks which class is the true one.

    Raises:
        BadInput: y are not labels.
    """
    if y.dim() != 1:
        raise BadInput(
            "soft targets",
            f"do not fit {type(term).__name__}, which compares one true class with the others",
            "Give labels: y.argmax(1); soft targets fit the natural and the adversarial losses",
        )
