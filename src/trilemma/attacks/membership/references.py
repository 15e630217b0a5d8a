"""What reference models say about each row: signals of those trained with it, and without it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.types import PerRow

Signals = Float[Tensor, "r n"]  # of r reference models about n rows
Membership = Bool[Tensor, "r n"]  # which rows each was trained with


@dataclass(frozen=True)
class Group:
    """The signals about each row of those reference models that have seen it, or have not.

    Args:
        signals: (r, n); only those of `of` count.
        of: (r, n).
    """

    signals: Signals
    of: Membership

    @cached_property
    def many(self) -> PerRow:
        """(n,) how many there are."""
        return self.of.sum(0).to(self.signals)

    @cached_property
    def mean(self) -> PerRow:
        """(n,)."""
        return torch.where(self.of, self.signals, 0).sum(0) / self.many

    @cached_property
    def squares(self) -> PerRow:
        """(n,) squared distances from the mean, added up."""
        return torch.where(self.of, self.signals - self.mean, 0).square().sum(0)

    @cached_property
    def log_mean_exp(self) -> PerRow:
        """(n,) logarithm of the mean of the signals' exponentials."""
        kept = self.signals.masked_fill(~self.of, -torch.inf)
        return kept.logsumexp(0) - self.many.log()


def groups(shadow_signals: Signals, shadow_membership: Membership) -> tuple[Group, Group]:
    """Those trained with each row, and those trained without it."""
    return Group(shadow_signals, shadow_membership), Group(shadow_signals, ~shadow_membership)


def check_references(target: Tensor, signals: Tensor, membership: Tensor) -> None:
    """Refuse what cannot be compared.

    Raises:
        BadInput: shapes that do not belong together, or a signal that is not finite.
    """
    shape = tuple(signals.shape)
    if shape != tuple(membership.shape) or shape[1:] != tuple(target.shape):
        raise BadInput(
            "shadow_signals",
            f"has shape {shape}, shadow_membership {tuple(membership.shape)}, target_signal"
            f" {tuple(target.shape)}",
            "Give (references, rows), (references, rows) and (rows,)",
        )
    for name, given in (("target_signal", target), ("shadow_signals", signals)):
        bad = int((~given.isfinite()).sum())
        if bad:
            raise BadInput(
                name,
                f"{bad} of {given.numel()} are NaN or infinite",
                "Give finite signals, such as the log-odds of a confidence in float64",
            )


def check_enough(group: Group, least: int, who: str, fix: str) -> None:
    """Refuse rows about which too few reference models say anything.

    Raises:
        BadInput: a row has fewer than `least`.
    """
    lacking = int((group.many < least).sum())
    if lacking:
        raise BadInput(
            "shadow_membership",
            f"of {len(group.many)} rows {lacking} have fewer than {least} reference models {who}",
            fix,
        )
