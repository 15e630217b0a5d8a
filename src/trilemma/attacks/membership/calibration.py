"""Any signal, calibrated by reference models. The union is the registry."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from trilemma.attacks.membership.lira import LiRA, lira
from trilemma.attacks.membership.ratio import BASE, RMIA, base, rmia
from trilemma.attacks.membership.references import Membership, Signals
from trilemma.core.types import PerRow

Calibration: TypeAlias = LiRA | BASE | RMIA

CALIBRATIONS: Mapping[type[Calibration], Callable[..., PerRow]] = {
    LiRA: lira,
    BASE: base,
    RMIA: rmia,
}


def score(
    target_signal: PerRow,
    shadow_signals: Signals,
    shadow_membership: Membership,
    config: Calibration | None = None,
) -> PerRow:
    """How unusual a target's signals are for the very rows that they are about.

    Args:
        target_signal: (n,) finite, larger for members: log-odds of a confidence on benign inputs,
            under attack or in the proven worst case; for LiRA any signal that is about normally
            distributed over trainings.
        shadow_signals: (r, n) the same signal of r reference models.
        shadow_membership: (r, n) which rows each was trained with.
        config: the method; None is LiRA online.

    Returns:
        (n,), larger means likelier a member.

    Raises:
        BadInput: see the method.

    Example:
        >>> import torch
        >>> trained_with = torch.tensor([[True, False], [False, True]])
        >>> references = torch.where(trained_with, 4.0, 0.0)
        >>> score(torch.tensor([4.0, 0.0]), references, trained_with, BASE())
        tensor([ 0.2816, -0.3934], dtype=torch.float64)
    """
    config = config or LiRA()
    return CALIBRATIONS[type(config)](target_signal, shadow_signals, shadow_membership, config)
