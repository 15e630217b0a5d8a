"""Scores at another temperature, where only the answers are at hand."""

import math
from dataclasses import dataclass as plain
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from trilemma.core.errors import BadInput
from trilemma.core.types import Probs, Rows
from trilemma.oracles.defences.labels import led_by
from trilemma.oracles.protocol import Oracle


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Softening:
    """Scores at a higher temperature.

    Args:
        temperature: T; below 1 the scores become sharper.

    Source: Shokri et al. 2017, section VIII-A; see `softened`.
    """

    REVISION: ClassVar[int] = 1

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0


@plain(frozen=True)
class Softened:
    """An oracle whose log-probabilities are divided by a temperature.

    What `trilemma.models.Tempered` does to a network that is at hand, for any oracle.

    Args:
        inner: what answers.
        temperature: T, a finite number above 0; above 1 all answers become alike.

    Raises:
        BadInput: T is not such a number.

    Example:
        >>> import torch
        >>> from trilemma.oracles import Local
        >>> oracle = Softened(Local(torch.nn.Identity(), classes=2), temperature=2.0)
        >>> oracle(torch.tensor([[0.8, 0.2]]).log())
        tensor([[0.6667, 0.3333]], dtype=torch.float64)
    """

    inner: Oracle
    temperature: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise BadInput(
                "temperature", f"is {self.temperature!r}", "Give a finite number above 0"
            )

    @property
    def classes(self) -> int:
        """How many classes an answer covers."""
        return self.inner.classes

    def __call__(self, x: Rows) -> Probs:
        """(n, classes) probabilities, float64."""
        return softened(self.inner(x), self.temperature)


def softened(answer: Probs, temperature: float) -> Probs:
    r"""Probabilities at another temperature.

    .. math:: p_i^{1/T} / \sum_j p_j^{1/T}

    The label stays, and what is impossible stays so.

    Args:
        answer: (n, k) rows on the simplex.
        temperature: T.

    Source:
        Shokri et al., "Membership inference attacks against machine learning models", IEEE S&P
        2017, section VIII-A; Song et al. 2019, eq. 21.
    """
    p = answer.double()
    lead = (p / p.amax(1, keepdim=True)).log()  # 0 at the top, so that no T brings it to -inf
    return led_by(p.argmax(1), (lead / temperature).softmax(1))
