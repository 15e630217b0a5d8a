"""Metrics as the audit document holds them, and several seeds as one."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trilemma.core.errors import BadInput
from trilemma.metrics.leakage import MembershipMetrics


def to_json(
    metrics: MembershipMetrics,
    fprs: Sequence[float] = (0.001, 0.01, 0.1),
    priors: Sequence[float] = (0.5, 0.1, 0.01),
) -> dict[str, Any]:
    """All metrics under the audit document's ids.

    Args:
        metrics: of one attack on one model with one seed.
        fprs: false positive rates of the `tpr_at_fpr_<fpr>` entries, in [0, 1].
        priors: shares of members of the `precision_at_prior_<prior>` entries, in (0, 1).

    Returns:
        id -> `Estimate.to_json()` or `NotEvaluable.to_json()`.

    Raises:
        BadInput: an fpr or prior out of range.
    """
    named = {
        "best_threshold_accuracy": metrics.best_threshold_accuracy,
        "held_out_threshold_accuracy": metrics.held_out_threshold_accuracy,
        "auc": metrics.auc,
        "advantage": metrics.advantage,
        **{f"tpr_at_fpr_{_plain(fpr)}": metrics.tpr_at(fpr) for fpr in fprs},
        **{f"precision_at_prior_{_plain(prior)}": metrics.precision_at(prior) for prior in priors},
        "epsilon_lower_bound": metrics.epsilon_lower_bound,
    }
    return {name: metric.to_json() for name, metric in named.items()}


def combine(per_seed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One record of a metric from those of several seeds.

    Args:
        per_seed: one record a seed, `{"value", "low", "high", "level"}` or `{"not_evaluable"}`;
            a null `high` is infinite.

    Returns:
        value: the seeds' mean; low and high: the widest of their intervals; `seeds`: each record,
        in the order given. If a seed is not evaluable, nor is the whole, with the reason. A single
        record is returned as it is.

    Raises:
        BadInput: no records, or intervals at different levels.

    Example:
        >>> one = {"value": 0.5, "low": 0.4, "high": 0.6, "level": 0.95}
        >>> two = {"value": 0.7, "low": 0.6, "high": 0.8, "level": 0.95}
        >>> both = combine([one, two])
        >>> both["value"], both["low"], both["high"], len(both["seeds"])
        (0.6, 0.4, 0.8, 2)
    """
    if not per_seed:
        raise BadInput("seeds", "there are no records to combine", "Give one record a seed or more")
    if len(per_seed) == 1:
        return dict(per_seed[0])
    reasons = [record["not_evaluable"] for record in per_seed if "not_evaluable" in record]
    if reasons:
        distinct = "; ".join(dict.fromkeys(reasons))
        of = "" if len(reasons) == len(per_seed) else f"{len(reasons)} of {len(per_seed)} seeds: "
        return {"not_evaluable": of + distinct}
    levels = {record["level"] for record in per_seed}
    if len(levels) > 1:
        raise BadInput("seeds", f"have intervals at different levels {sorted(levels)}")
    low = min(record["low"] for record in per_seed)
    highs = [math.inf if record["high"] is None else record["high"] for record in per_seed]
    mean = math.fsum(record["value"] for record in per_seed) / len(per_seed)
    return {
        "value": min(max(mean, low), max(highs)),  # rounding must not leave the interval
        "low": low,
        "high": max(highs) if math.isfinite(max(highs)) else None,
        "level": levels.pop(),
        "seeds": [{k: v for k, v in record.items() if k != "seeds"} for record in per_seed],
    }


def _plain(number: float) -> str:
    return np.format_float_positional(number, trim="-")
