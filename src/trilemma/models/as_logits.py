"""Logits of a model that answers probabilities."""

import torch
from torch import Tensor, nn


class AsLogits(nn.Module):
    """A model that answers probabilities, seen through the logarithm: softmax undoes it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """log p, whose softmax is p."""
        answer: Tensor = self.model(x)
        return answer.clamp(min=torch.finfo(answer.dtype).tiny).log()
