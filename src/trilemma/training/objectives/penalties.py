"""Penalties on the weights."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from trilemma.training.objectives.batch import Batch, Loss
from trilemma.training.objectives.term import Term


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class L1(Term):
    r"""Sum of the weights' magnitudes, :math:`\sum_i |w_i|`.

    The weights are the parameters with two axes or more: those of fully connected layers and of
    convolutions. Biases and the factors of normalisations do not count. To be scaled and added to
    a loss: `Natural() + 1e-4 * L1()`.
    """

    REVISION: ClassVar[int] = 1
    FREE: ClassVar[bool] = True

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """The sum; the batch does not count."""
        return sum((w.abs().sum() for w in _weights(model)), start=batch.x.new_zeros(()))


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class L2(Term):
    r"""Half the sum of the weights' squares, :math:`\frac12 \sum_i w_i^2`.

    The weights are those of `L1`. `c * L2()` has the gradient c w: under SGD it is the optimiser's
    `weight_decay` of c, but that leaves the biases alone. What is written as a penalty of
    :math:`c \|w\|_2^2` is `2 * c * L2()`.
    """

    REVISION: ClassVar[int] = 1
    FREE: ClassVar[bool] = True

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """Half the sum; the batch does not count."""
        return sum((w.square().sum() / 2 for w in _weights(model)), start=batch.x.new_zeros(()))


def _weights(model: nn.Module) -> Iterator[Tensor]:
    return (each for each in model.parameters() if each.dim() > 1)
