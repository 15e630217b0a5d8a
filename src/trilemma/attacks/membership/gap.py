"""Membership from whether the label is right (Yeom et al. 2018, the gap attack)."""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from trilemma.attacks.membership.labels import asked, right
from trilemma.core.types import Classifier, Labels, PerRow, Rows
from trilemma.oracles import Oracle


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Gap:
    """Whether the model is right, from one label (the baseline attack).

    A record is called a member when the model's label is the true one. Its advantage is the gap
    between the model's accuracies on members and on others: what every attack must beat.

    Source: Yeom, Giacomelli, Fredrikson & Jha, "Privacy risk in machine learning: analyzing the
    connection to overfitting", CSF 2018, adversary 1; the baseline of Li & Zhang 2021.
    """

    REVISION: ClassVar[int] = 1


def gap(target: Classifier | Oracle, x: Rows, y: Labels) -> PerRow:
    r"""Whether the target is right about each row: 1 if argmax F(x) = y, else 0.

    Args:
        target: a model (logits out) or an oracle; only the first of its most probable classes
            is looked at.
        x: (n, *x) inputs; one query each.
        y: (n,) true labels.

    Returns:
        (n,) float64, 0 or 1; larger means more likely a member.

    Raises:
        BadInput: labels that are not one whole number a row.

    Example:
        >>> import torch
        >>> gap(torch.nn.Identity(), torch.tensor([[0.2, 0.9], [0.7, 0.1]]), torch.tensor([1, 1]))
        tensor([1., 0.], dtype=torch.float64)

    Source:
        Yeom et al., CSF 2018, section 3.1: with a loss of 0 or 1, the bounded-loss adversary.
    """
    return right(asked(target, x), x, y).double()
