"""The transfer attack: membership that a shadow model learnt from labels (Li & Zhang 2021)."""

from dataclasses import field
from typing import ClassVar

from jaxtyping import Float
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor

from trilemma.attacks.membership.smoothed_radius import SmoothedRadius, smoothed_radius
from trilemma.attacks.membership.statistics import Loss, Statistic, statistic_signal
from trilemma.core.box import UNIT, Box
from trilemma.core.dataset import Dataset
from trilemma.core.types import Fit, Labels, PerRow, Rows
from trilemma.oracles import Oracle


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class TransferAttack:
    """Transfer attack through a shadow model.

    Rows that an attacker holds are labelled by the target, a shadow model is trained on them, and
    a record is called a member when the shadow model's loss on it is small: what the target is
    sure of, its copy is sure of, though it has seen neither members nor non-members.

    Source: Li & Zhang 2021, algorithm 1.

    Args:
        statistic: of the shadow model's answer, or its certified radius (the paper's table 5).
        copy: which of the shadow models that an experiment declares (`copies`); empty for one that
            is trained as the target is, on all shadow rows.
    """

    REVISION: ClassVar[int] = 1

    statistic: Statistic | SmoothedRadius = Loss()
    copy: str = field(default="", metadata={"counts": "unless default"})


def relabelled(oracle: Oracle, shadow: Rows) -> Dataset:
    """The shadow rows with the target's labels: one query a row.

    Args:
        oracle: only the first of its most probable classes is looked at.
        shadow: (m, *x) inputs.

    Source:
        Li & Zhang 2021, algorithm 1, lines 1-3.
    """
    return Dataset(shadow, oracle(shadow).argmax(1))


def transfer_attack(
    oracle: Oracle,
    x: Rows,
    y: Labels,
    shadow: Float[Tensor, "m *x"],
    config: TransferAttack | None = None,
    *,
    fit: Fit,
    box: Box = UNIT,
    rng: Generator,
) -> PerRow:
    """How much surer a shadow model of the target is of each row, from the target's labels alone.

    The target is not asked about the rows themselves.

    Args:
        oracle: only the first of its most probable classes is looked at.
        x: (n, *x) inputs.
        y: (n,) true labels.
        shadow: (m, *x) other inputs of the same kind.
        config: variant.
        fit: trains the shadow model, of any architecture.
        box: the valid inputs.
        rng: of the training, then of the certified radius.

    Returns:
        (n,), larger means likelier a member.

    Example:
        >>> import torch
        >>> from trilemma.core.generators import seeded
        >>> from trilemma.oracles import Local, TopLabel
        >>> target = TopLabel(Local(torch.nn.Linear(2, 2), classes=2))
        >>> x = torch.rand(5, 2, generator=seeded(0))
        >>> mean = lambda data, rng: torch.nn.Linear(2, 2)  # what trains a model on the data
        >>> transfer_attack(
        ...     target, x, torch.zeros(5, dtype=torch.int64), x, fit=mean, rng=seeded(1)
        ... ).shape
        torch.Size([5])

    Source:
        Li & Zhang, "Membership leakage in label-only exposures", CCS 2021, algorithm 1.
    """
    config = config or TransferAttack()
    model = fit(relabelled(oracle, shadow), rng)
    if isinstance(config.statistic, SmoothedRadius):
        return smoothed_radius(model, x, y, config.statistic, box=box, rng=rng)
    return statistic_signal(model, x, y, config.statistic)
