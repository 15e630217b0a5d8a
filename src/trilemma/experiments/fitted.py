"""A model of another precision or on another device, asked as any other."""

from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


class Fitted(nn.Module):
    """A model that gets its inputs in its own dtype and on its own device.

    It answers float32 on the device of the inputs; gradients pass both casts. An answer that is
    no tensor, or one of whole numbers, keeps its type.

    Args:
        model: the model; its parameters and its mode are shared.
        dtype: of the inputs that it takes.
        device: where it takes them.
    """

    def __init__(self, model: nn.Module, *, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.model, self.dtype, self.device = model, dtype, device
        self.training = model.training

    def forward(self, x: Tensor) -> object:
        """What the model answers to x."""
        answer: object = self.model(x.to(device=self.device, dtype=self.dtype))
        if not isinstance(answer, Tensor):
            return answer
        dtype = torch.float32 if answer.is_floating_point() else answer.dtype
        return answer.to(device=x.device, dtype=dtype)


def fitted(model: nn.Module) -> nn.Module:
    """The model itself where it takes float32 on the CPU, else the model in a `Fitted`.

    What it takes is read off its first floating-point parameter (of its buffers, where it has no
    such parameter) that is no single number: a lone scale or temperature casts nothing.
    """
    if isinstance(model, Fitted):
        return model
    first = next(
        (
            each
            for each in chain(model.parameters(), model.buffers())
            if not is_lazy(each) and each.is_floating_point() and each.ndim
        ),
        None,
    )
    if first is None or (first.dtype == torch.float32 and first.device.type == "cpu"):
        return model
    return Fitted(model, dtype=first.dtype, device=first.device)
