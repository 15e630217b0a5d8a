"""What a model was really asked."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Tally:
    """Rows and calls since it was last cleared.

    Args:
        calls: how often the model was called.
        forward: rows of calls without gradients.
        both: rows of calls whose output could be differentiated, which counts as forward and
            backward.
    """

    calls: int = 0
    forward: int = 0
    both: int = 0

    @property
    def rows(self) -> int:
        """All rows."""
        return self.forward + self.both

    def clear(self) -> None:
        """Start anew."""
        self.calls = self.forward = self.both = 0


class Counted(nn.Module):
    """The same model; each call is noted in `tally`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.tally = model, Tally()
        self.train(model.training)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        self.tally.calls += 1
        if torch.is_grad_enabled() and x.requires_grad:
            self.tally.both += len(x)
        else:
            self.tally.forward += len(x)
        return self.model(x)
