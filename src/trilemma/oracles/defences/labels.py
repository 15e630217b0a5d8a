"""A defence of scores never changes the label: what rounding alone has moved is put back."""

import math

import torch

from trilemma.core.types import Labels, Probs


def led_by(label: Labels, answer: Probs) -> Probs:
    """The answer with `label` as the first of its most probable classes.

    Where another class is ahead, the label's probability becomes the next number above it: for
    changes that keep the order but for the last bit.

    Args:
        label: (n,) classes.
        answer: (n, k) probabilities in which each row's label is among the largest but for
            rounding.

    Example:
        >>> led_by(torch.tensor([1]), torch.tensor([[0.5, 0.5]])).argmax(1)
        tensor([1])
    """
    at = label.unsqueeze(1)
    above = torch.nextafter(answer.amax(1, keepdim=True), answer.new_tensor(math.inf))
    astray = answer.argmax(1, keepdim=True) != at
    return answer.scatter(1, at, torch.where(astray, above, answer.gather(1, at)))
