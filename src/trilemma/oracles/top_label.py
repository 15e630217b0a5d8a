"""An oracle that tells labels alone (Li & Zhang 2021, section 2.2)."""

from dataclasses import dataclass

import torch

from trilemma.core.types import Probs, Rows
from trilemma.oracles.protocol import Oracle


@dataclass(frozen=True)
class TopLabel:
    """All probability on the first of the most probable classes.

    Example:
        >>> import torch
        >>> from trilemma.oracles import Local
        >>> oracle = TopLabel(Local(torch.nn.Identity(), classes=3))
        >>> oracle(torch.tensor([[0.1, 0.7, 0.2]]))
        tensor([[0., 1., 0.]], dtype=torch.float64)
    """

    inner: Oracle

    @property
    def classes(self) -> int:
        """How many classes an answer covers."""
        return self.inner.classes

    def __call__(self, x: Rows) -> Probs:
        """(n, classes) rows with a single 1."""
        answer = self.inner(x)
        return torch.zeros_like(answer).scatter(1, answer.argmax(1, keepdim=True), 1.0)
