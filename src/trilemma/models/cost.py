"""What a model costs: its parameters, and the arithmetic of one answer."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trilemma.core.generators import global_from, seeded
from trilemma.core.modes import evaluating


def parameters(model: nn.Module) -> int:
    """How many numbers the model was free to learn.

    Example:
        >>> parameters(nn.Linear(3, 2))
        8
    """
    return sum(weight.numel() for weight in model.parameters())


def flops(model: nn.Module, shape: Sequence[int]) -> int:
    """Floating point operations of one answer: a forward pass for one input, in eval mode.

    A multiplication and the addition after it are two operations (who counts them as one has half
    of this). Counted are matrix products, convolutions and attention, which are all but a few
    percent of it; biases, activations, normalisation and pooling are not.

    Args:
        model: handed back as it came.
        shape: of one input, without the row axis.

    Raises:
        Exception: what the model raises for an input of zeros of that shape.

    Example:
        >>> flops(nn.Linear(3, 2), (3,))
        12

    Source:
        Li & Zhang, "Membership leakage in label-only exposures", CCS 2021, figure 3, gives
        parameters and FLOPs of target and shadow models.
    """
    weight = next(model.parameters(), torch.zeros(0))
    x = torch.zeros(1, *shape, dtype=weight.dtype, device=weight.device)
    counter = FlopCounterMode(display=False)
    with evaluating(model), torch.no_grad(), global_from(seeded(0)), counter:
        model(x)
    return int(counter.get_total_flops())
