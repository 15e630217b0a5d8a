"""The largest scores alone (Shokri et al. 2017)."""

from dataclasses import dataclass as plain
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from trilemma.core.errors import BadInput
from trilemma.core.types import Probs, Rows
from trilemma.oracles.defences.labels import led_by
from trilemma.oracles.protocol import Oracle


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class TopScores:
    """The largest scores alone.

    Args:
        k: how many.

    Source: Shokri et al. 2017, section VIII-A; see `top_k`.
    """

    REVISION: ClassVar[int] = 1

    k: Annotated[int, Field(ge=1)] = 3


@plain(frozen=True)
class TopK:
    """An oracle that tells the k largest probabilities, and which classes have them.

    Args:
        inner: what answers.
        k: how many, at least 1; with as many as there are classes nothing is hidden.

    Raises:
        BadInput: k is less than 1.

    Example:
        >>> import torch
        >>> from trilemma.oracles import Local
        >>> oracle = TopK(Local(torch.nn.Identity(), classes=4), k=1)
        >>> oracle(torch.tensor([[0.7, 0.1, 0.15, 0.05]]).log())
        tensor([[0.7000, 0.1000, 0.1000, 0.1000]], dtype=torch.float64)
    """

    inner: Oracle
    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise BadInput("k", f"is {self.k}", "Give a number of classes, 1 or more")

    @property
    def classes(self) -> int:
        """How many classes an answer covers."""
        return self.inner.classes

    def __call__(self, x: Rows) -> Probs:
        """(n, classes) probabilities, float64."""
        return top_k(self.inner(x), self.k)


def top_k(answer: Probs, k: int) -> Probs:
    """The k largest probabilities as they are; what is left, in equal parts, for the other classes.

    An answer must be a distribution over all classes; equal parts are the only ones that say
    nothing of the others but that none passes the k largest. Of equal probabilities the first
    classes count as larger.

    Args:
        answer: (n, c) rows on the simplex.
        k: at least 1.

    Source:
        The defence: Shokri et al., "Membership inference attacks against machine learning models",
        IEEE S&P 2017, section VIII-A. What the other classes get is ours.
    """
    p = answer.double()
    classes = p.shape[1]
    if k >= classes:
        return p
    ranked, order = p.sort(dim=1, descending=True, stable=True)
    share = ranked[:, k:].mean(1, keepdim=True).minimum(ranked[:, k - 1 : k])
    told = p.scatter(1, order[:, k:], share.expand(-1, classes - k))
    return led_by(p.argmax(1), told)
