"""A loss that adds and scales."""

from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import ConfigDict
from torch import nn

from trilemma.training.objectives.batch import Batch, Loss

CONFIG = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class Term(ABC):
    """A loss of a model on a batch; terms add up and scale.

    `APART` says that it is a mean over the rows, to which each contributes by itself, or no
    function of them: only then can several devices share a batch.
    """

    APART: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """The loss to descend, in nats."""

    def __add__(self, other: "Term") -> "Term":
        """The sum of two losses."""
        from trilemma.training.objectives.algebra import added  # which knows the whole family

        return added(self, other)

    def __mul__(self, factor: float) -> "Term":
        """`factor` times the loss."""
        from trilemma.training.objectives.algebra import scaled

        return scaled(factor, self)

    __rmul__ = __mul__
