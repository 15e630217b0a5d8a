"""The differential privacy that the scores rule out."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from trilemma.core.errors import BadInput
from trilemma.metrics.estimate import Estimate
from trilemma.metrics.held_out import Halves, judge
from trilemma.metrics.rates import Flagged
from trilemma.metrics.roc import roc


def epsilon_lower_bound(split: Halves, *, delta: float = 0.0, level: float = 0.95) -> Estimate:
    r"""Smallest epsilon with which (epsilon, delta)-differential privacy is still consistent.

    For any threshold, (epsilon, delta)-differential privacy implies

    .. math:: \epsilon \ge \log\frac{TPR - \delta}{FPR}
              \quad\text{and}\quad \epsilon \ge \log\frac{TNR - \delta}{FNR}.

    Threshold and direction are chosen on one half of the rows (the best by approximate bounds).
    On the other half the numerator is replaced by its exact lower and the denominator by its
    exact upper bound, each with error (1 - level) / 2; so the bound holds with probability
    >= level, and scores that carry no information give a positive bound with probability
    <= 1 - level.

    The guarantee takes the rows' scores for independent draws, as when every row is scored by a
    model of its own. For many rows of one model it describes how far apart that model holds the
    two samples; it is not a proof about the training method, and never an upper bound.

    Args:
        split: halves of the scores, two or more rows a side.
        delta: the delta of the privacy definition, in [0, 1).
        level: one-sided confidence, in (0, 1).

    Returns:
        Value and low: the certified lower bound, in nats, clipped at 0. High: the upper end, at
        the same one-sided level, of the same log ratio; infinite where the denominator's rate may
        be 0.

    Raises:
        BadInput: delta outside [0, 1), or a level outside (0, 1).

    Source:
        Kairouz, Oh and Viswanath, "The composition theorem for differential privacy", ICML 2015
        (the region of error rates); Nasr et al., "Adversary instantiation: lower bounds for
        differentially private machine learning", IEEE S&P 2021 (Clopper-Pearson).
    """
    if not 0 <= delta < 1:
        raise BadInput("delta", f"is {delta!r}", "Give a number in [0, 1)")
    threshold, by_flags = _choose(split, delta, level)
    low, high = _ends(judge(split, threshold), by_flags, delta, level)
    return Estimate(low, low, high, level)


def _ends(flagged: Flagged, by_flags: bool, delta: float, level: float) -> tuple[float, float]:
    """Bounds on one of the two log ratios, clipped at 0."""
    tpr, fpr = flagged.tpr(level), flagged.fpr(level)
    if by_flags:
        low, high = _log_ratio(tpr.low - delta, fpr.high), _log_ratio(tpr.high - delta, fpr.low)
    else:
        low = _log_ratio(1 - fpr.high - delta, 1 - tpr.low)
        high = _log_ratio(1 - fpr.low - delta, 1 - tpr.high)
    return low, max(low, high)


def _log_ratio(above: float, below: float) -> float:
    if above <= 0:
        return 0.0
    return max(0.0, math.log(above) - math.log(below)) if below > 0 else math.inf


def _choose(split: Halves, delta: float, level: float) -> tuple[object, bool]:
    """Threshold, and whether flags (TPR / FPR) or their absence (TNR / FNR) say more."""
    curve = roc(split.choose_members, split.choose_nonmembers)
    z = float(ndtri((1 + level) / 2))
    fpr_high = _wilson_high(curve.alarms, curve.nonmembers, z)
    fnr_high = _wilson_high(curve.members - curve.hits, curve.members, z)
    ratios = np.stack([(1 - fnr_high - delta) / fpr_high, (1 - fpr_high - delta) / fnr_high])
    direction, index = np.unravel_index(ratios.argmax(), ratios.shape)
    return curve.scores[index], bool(direction == 0)


def _wilson_high(hits: NDArray[np.int64], trials: int, z: float) -> NDArray[np.float64]:
    """Upper score bound: good enough to choose with, and closed-form for all thresholds at once."""
    rate, slack = hits / trials, z * z / trials
    width = np.sqrt(slack * (rate * (1 - rate) + slack / 4))
    return np.asarray((rate + slack / 2 + width) / (1 + slack))
