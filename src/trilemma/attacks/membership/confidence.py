"""Membership from the confidence on the input as it is (Song et al. 2019, eq. 17)."""

from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import nn

from trilemma.core.types import Classifier, Labels, PerRow, Rows
from trilemma.oracles import Oracle, log_probabilities


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Confidence:
    """Confidence on benign inputs (I_B).

    A record is called a member when the model's probability of its true label is at least a
    threshold; the threshold is the metrics' business, so there are no settings.

    Source: Song et al. 2019, eq. 17.
    """

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
