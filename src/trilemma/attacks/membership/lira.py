"""LiRA: the likelihood ratio of a row's signal with and without it (Carlini et al. 2022)."""

import math
from typing import ClassVar, TypeAlias

import torch
from pydantic.dataclasses import dataclass

from trilemma.attacks.membership.references import (
    Group,
    Membership,
    Signals,
    check_enough,
    check_references,
    groups,
)
from trilemma.core.types import PerRow

SETTLED = 1e9  # degrees of freedom of what is known: Student's distribution is then normal
ROUNDS = 50  # of Newton's method, which needs a few


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class PerRowVariance:
    """Each row's own variance: with fewer than 64 reference models it is mostly noise."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class PooledVariance:
    """One variance for all rows, the mean of theirs ("fixed variance")."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class ModeratedVariance:
    r"""Each row's variance drawn to what is usual, as far as few models leave it unknown.

    With the row's own :math:`s^2` of d degrees of freedom, and variances over rows distributed as
    :math:`d_0 s_0^2 / \chi^2_{d_0}`, the posterior mean of :math:`1/\sigma^2` is
    :math:`1 / \tilde s^2`, and the next signal has Student's distribution:

    .. math:: \tilde s^2 = \frac{d_0 s_0^2 + d s^2}{d_0 + d}, \quad
        \frac{s - \bar s}{\tilde s \sqrt{1 + 1/m}} \sim t_{d_0 + d}

    d_0 and s_0 are those of which the rows' own variances have the moments of their logarithms.
    From :math:`d_0 = 0` (each row's own) to infinity (pooled) the data decide.

    Source: Smyth, "Linear models and empirical Bayes methods", 2004, section 6.2; for membership
    inference Brännvall, "Exponential-family membership inference", arXiv 2603.11799.
    """


Variance: TypeAlias = PerRowVariance | PooledVariance | ModeratedVariance


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class LiRA:
    r"""Likelihood ratio with and without the row (LiRA).

    .. math:: \Lambda = \log p(s \mid \mu_{in}, \sigma_{in}^2)
        - \log p(s \mid \mu_{out}, \sigma_{out}^2)

    with the signal's mean and variance over the reference models that were trained with the row,
    and over the others. Offline, where no reference model has seen the rows, it is how far the
    signal lies above what is usual without the row: :math:`(s - \mu_{out}) / \sigma_{out}`.

    Args:
        offline: look only at reference models without the row.
        variance: how it is estimated.

    Source: Carlini et al., "Membership inference attacks from first principles", IEEE S&P 2022,
    algorithm 1 and section V.
    """

    REVISION: ClassVar[int] = 1

    offline: bool = False
    variance: Variance = ModeratedVariance()


def lira(
    target_signal: PerRow,
    shadow_signals: Signals,
    shadow_membership: Membership,
    config: LiRA | None = None,
) -> PerRow:
    """How much likelier a row's signal is of a model trained with the row than of one without.

    Args:
        target_signal: (n,) finite signals of the target, larger for members, about as scattered
            as a normal distribution: the log-odds of a confidence are, the confidence is not.
        shadow_signals: (r, n) of r reference models.
        shadow_membership: (r, n) which rows each was trained with.
        config: variant.

    Returns:
        (n,) float64, larger means likelier a member: a log-likelihood ratio in nats; offline a
        number of standard deviations.

    Raises:
        BadInput: shapes that do not fit; a signal that is not finite; a row with too few reference
            models with or without it (two).

    Example:
        >>> target, references = torch.tensor([2.0, 0.0]), torch.randn(8, 2)
        >>> lira(target, references, torch.zeros(8, 2, dtype=torch.bool), LiRA(offline=True)).shape
        torch.Size([2])

    Source:
        Carlini et al., IEEE S&P 2022, algorithm 1; offline section V-C (there the normal
        distribution's function of what is returned here).
    """
    config = config or LiRA()
    check_references(target_signal, shadow_signals, shadow_membership)
    target_signal = target_signal.double()
    seen, unseen = groups(shadow_signals.double(), shadow_membership)
    fix = "Train more, each with a random half of the rows; or pool the variance"
    check_enough(unseen, 2, "without them", fix)
    if config.offline:
        mean, scale, _ = _predicted(unseen, config.variance)
        return (target_signal - mean) / scale
    check_enough(seen, 2, "with them", f"{fix}; or go offline")
    return _log_density(target_signal, seen, config.variance) - _log_density(
        target_signal, unseen, config.variance
    )


def _log_density(s: PerRow, group: Group, variance: Variance) -> PerRow:
    """Of what the next signal is, given the group's; but for a constant that no row changes."""
    mean, scale, freedom = _predicted(group, variance)
    z = (s - mean) / scale
    if not bool((freedom < SETTLED).any()):
        return -z.square() / 2 - scale.log()
    # Student's, of which the constant depends on a row's degrees of freedom
    gone = torch.lgamma((freedom + 1) / 2) - torch.lgamma(freedom / 2) - freedom.log() / 2
    usual = math.log(2) / 2  # of the normal distribution, in the same place
    return gone + usual - (freedom + 1) / 2 * torch.log1p(z.square() / freedom) - scale.log()


def _predicted(group: Group, variance: Variance) -> tuple[PerRow, PerRow, PerRow]:
    """Mean, scale and degrees of freedom of the next signal about each row."""
    settled = torch.full_like(group.mean, SETTLED)
    tiny = torch.finfo(group.signals.dtype).tiny
    match variance:
        case PerRowVariance():
            own = group.squares / (group.many - 1)
            return group.mean, own.clamp(min=tiny).sqrt(), settled
        case PooledVariance():
            pooled = group.squares.sum() / (group.many - 1).sum()
            return group.mean, pooled.clamp(min=tiny).sqrt().expand_as(settled), settled
        case ModeratedVariance():
            d = group.many - 1
            usual, d_0 = prior(group.squares / d, d)
            if not math.isfinite(d_0):
                moderated, freedom = torch.full_like(settled, usual), settled
            else:
                moderated, freedom = (d_0 * usual + group.squares) / (d_0 + d), d_0 + d
            spread = moderated * (1 + 1 / group.many)
            return group.mean, spread.clamp(min=tiny).sqrt(), freedom


def prior(variances: PerRow, d: PerRow) -> tuple[float, float]:
    r"""s_0^2 and d_0 of the distribution of variances over rows; d_0 may be infinite.

    With :math:`e = \log s^2 - \psi(d/2) + \log(d/2)`, the mean of e is
    :math:`\log s_0^2 - \psi(d_0/2) + \log(d_0/2)`, and its variance :math:`\psi'(d/2) +
    \psi'(d_0/2)`. Rows without any variance say nothing about the others'.

    Source:
        Smyth 2004, section 6.2.
    """
    some = variances > 0
    if int(some.sum()) < 2:
        return float(variances.mean()), math.inf
    e = (variances.log() - torch.digamma(d / 2) + (d / 2).log())[some]
    over = float(e.var() - torch.polygamma(1, d / 2)[some].mean())
    if over <= 0:  # no wider than chance alone makes it
        return float((variances * d).sum() / d.sum()), math.inf
    half = _inverse_trigamma(over)
    d_0 = 2 * half
    mean = e.mean() + torch.digamma(e.new_tensor(half)) - math.log(half)
    return float(mean.exp()), d_0


def _inverse_trigamma(value: float) -> float:
    """x of which trigamma(x) is `value` > 0: Newton's method on its reciprocal, which is convex."""
    x = torch.tensor(0.5 + 1 / value, dtype=torch.float64)
    for _ in range(ROUNDS):
        slope = torch.polygamma(1, x)
        step = slope * (1 - slope / value) / torch.polygamma(2, x)
        x = x + step
        if abs(float(step)) < 1e-10 * float(x):
            break
    return float(x)
