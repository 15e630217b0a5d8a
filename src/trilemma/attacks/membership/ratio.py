"""RMIA and BASE: a row's probability against what reference models give it on average."""

import math
from dataclasses import dataclass as plain
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch.nn.functional import logsigmoid

from trilemma.attacks.membership.references import (
    Group,
    Membership,
    Signals,
    check_enough,
    check_references,
    groups,
)
from trilemma.core.errors import BadInput
from trilemma.core.types import PerRow

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class BASE:
    r"""Probability against its average (BASE).

    .. math:: \Lambda = \log p_y - \log \bar p_y, \quad
        \bar p_y = \tfrac12 (\bar p_{in} + \bar p_{out})

    with the mean of the row's probability over the reference models that were trained with it, and
    over the others. Offline :math:`\bar p_{in}` is taken to be :math:`a \bar p_{out} + 1 - a`.

    Args:
        offline: a in [0, 1], where only reference models without the row are looked at; None is
            online.

    Source: Lassila et al., "Practical Bayes-optimal membership inference attacks", NeurIPS 2025;
    the average as in Zarifzadeh et al., ICML 2024, section 3 and appendix B.
    """

    REVISION: ClassVar[int] = 1

    offline: Share | None = None


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class RMIA:
    r"""Share of a population dominated (RMIA).

    .. math:: \Lambda = \Pr_z \left( \frac{p(x)}{\bar p(x)} \ge \gamma \frac{p(z)}{\bar p(z)}
        \right)

    over rows z of a population that the target was not trained with. It orders rows as `BASE`
    does, in as many steps as there are z, and is calibrated: of rows that are like z, a share t
    scores above 1 - t.

    Args:
        offline: as for `BASE`.
        gamma: by which factor z must be dominated.

    Source: Zarifzadeh, Liu & Shokri, "Low-cost high-power membership inference attacks", ICML
    2024, section 3.
    """

    REVISION: ClassVar[int] = 1

    offline: Share | None = None
    gamma: Annotated[float, Field(gt=0)] = 1.0


@plain(frozen=True)
class Population:
    """Signals about rows z that the target was not trained with.

    Args:
        target_signal: (z,).
        shadow_signals: (r, z).
        shadow_membership: (r, z).
    """

    target_signal: PerRow
    shadow_signals: Signals
    shadow_membership: Membership


def base(
    target_signal: PerRow,
    shadow_signals: Signals,
    shadow_membership: Membership,
    config: BASE | None = None,
) -> PerRow:
    """How much surer the target is of a row than reference models are on average.

    Args:
        target_signal: (n,) log-odds of the probability of each row's label.
        shadow_signals: (r, n) of r reference models.
        shadow_membership: (r, n) which rows each was trained with.
        config: variant.

    Returns:
        (n,) float64 in nats; larger means likelier a member.

    Raises:
        BadInput: shapes that do not fit; a signal that is not finite; a row without reference
            models that have, or have not, seen it.

    Source:
        Lassila et al., NeurIPS 2025.
    """
    config = config or BASE()
    check_references(target_signal, shadow_signals, shadow_membership)
    usual = _average(
        *groups(logsigmoid(shadow_signals.double()), shadow_membership), config.offline
    )
    return logsigmoid(target_signal.double()) - usual


def rmia(
    target_signal: PerRow,
    shadow_signals: Signals,
    shadow_membership: Membership,
    config: RMIA | None = None,
    *,
    population: Population | None = None,
) -> PerRow:
    """How much of a population each row's likelihood ratio dominates.

    Args:
        target_signal, shadow_signals, shadow_membership: as for `base`.
        config: variant.
        population: rows z; None takes the rows themselves, members and all, which lowers the
            scores of all and leaves their order.

    Returns:
        (n,) float64 shares in [0, 1]; larger means likelier a member.

    Raises:
        BadInput: as `base`; an empty population.

    Source:
        Zarifzadeh, Liu & Shokri, ICML 2024, section 3.
    """
    config = config or RMIA()
    plain_ratio = BASE(offline=config.offline)
    own = base(target_signal, shadow_signals, shadow_membership, plain_ratio)
    others = own
    if population is not None:
        z = population
        others = base(z.target_signal, z.shadow_signals, z.shadow_membership, plain_ratio)
    if not len(others):
        raise BadInput("population", "is empty", "Give rows that the target was not trained with")
    dominated = torch.searchsorted(others.sort().values, own - math.log(config.gamma), right=True)
    return dominated / others.new_tensor(len(others))


def _average(seen: Group, unseen: Group, offline: float | None) -> PerRow:
    """log of the mean probability over models with and without the row, each half."""
    fix = "Train more, each with a random half of the rows"
    check_enough(unseen, 1, "without them", fix)
    if offline is None:
        check_enough(seen, 1, "with them", f"{fix}; or go offline")
        return torch.logaddexp(seen.log_mean_exp, unseen.log_mean_exp) - math.log(2)
    # ((1 + a) p + 1 - a) / 2
    without = unseen.log_mean_exp + math.log((1 + offline) / 2)
    if offline == 1:
        return without
    return torch.logaddexp(without, without.new_tensor(math.log((1 - offline) / 2)))
