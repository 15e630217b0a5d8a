"""What a decision-based attack finds: the nearest point with another label, and what it cost."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trilemma.core.types import PerRow, Rows


@dataclass(frozen=True)
class Boundary:
    """The best adversarial point of each row, its distance, and the distance after q queries.

    Args:
        x_adv: (n, ...) nearest adversarial point that was asked about, in the attack's norm; the
            input itself where there is none.
        distance: (n,) of `x_adv` from the input, in the attack's norm; 0 for a row that is
            misclassified as it is, infinite where no adversarial point was found.
        l0: (n,) features changed.
        l1: (n,) sum of the changes' sizes.
        l2: (n,) Euclidean length of the change.
        linf: (n,) largest change. These four are infinite where `distance` is.
        queries: (n,) rows that the oracle answered for each input, that for the input itself
            among them.
        budgets: (t,) numbers of queries, increasing.
        trace: (n, t) `distance` after so many queries: what an attack with that budget returns.
        exhausted: (n,) whether the oracle's own budget ran out before the row was finished.
    """

    x_adv: Rows
    distance: PerRow
    l0: PerRow
    l1: PerRow
    l2: PerRow
    linf: PerRow
    queries: Int[Tensor, " n"]
    budgets: Int[Tensor, " t"]
    trace: Float[Tensor, "n t"]
    exhausted: Bool[Tensor, " n"]


def sizes(change: Rows) -> tuple[PerRow, PerRow, PerRow, PerRow]:
    """L_0, L_1, L_2 and L_inf of each row."""
    flat = change.flatten(1)
    if flat.shape[1] == 0:
        zero = flat.sum(1)
        return zero, zero, zero, zero
    return (
        (flat != 0).sum(1).to(flat.dtype),
        flat.abs().sum(1),
        torch.linalg.vector_norm(flat, dim=1),
        flat.abs().amax(1),
    )
