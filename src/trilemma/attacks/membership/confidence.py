"""Membership from the confidence on the input as it is (Song et al. 2019, eq. 17)."""

from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import nn

from trilemma.core.types import Classifier, Labels, PerRow, Rows
from trilemma.oracles import Oracle, log_probabilities


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Confidence:
    """The strategy I_B: it has no settings; a threshold is the metrics' business."""

    REVISION: ClassVar[int] = 1


def confidence(target: Classifier | Oracle, x: Rows, y: Labels) -> PerRow:
    r"""How sure the target is of each row's true label: F(x)_y.

    Args:
        target: a model (logits out) or an oracle (probabilities out).
        x: (n, *x) inputs.
        y: (n,) true labels.

    Returns:
        (n,) float64 in [0, 1]; larger means more likely a member.

    Raises:
        BadInput: an output is not finite or has the wrong shape.

    Example:
        >>> import torch
        >>> confidence(torch.nn.Identity(), torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        tensor([0.5000], dtype=torch.float64)

    Source:
        Song et al., "Privacy risks of securing machine learning models", CCS 2019, eq. 17.
    """
    if isinstance(target, Oracle) and not isinstance(target, nn.Module):
        answers = target(x).double()
    else:
        answers = log_probabilities(target, x).exp()
    return answers.gather(1, y.view(-1, 1)).squeeze(1)
