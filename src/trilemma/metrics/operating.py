"""What a rule finds at a declared cost: a false positive rate, a share of members."""

from trilemma.core.errors import BadInput
from trilemma.metrics.estimate import Estimate, Metric, NotEvaluable
from trilemma.metrics.rates import Flagged, rate
from trilemma.metrics.roc import Roc


def tpr_at(curve: Roc, fpr: float, level: float = 0.95) -> Metric:
    """Largest true positive rate among the thresholds whose empirical FPR is <= `fpr`.

    No interpolation: tied scores are flagged together or not at all. Given the non-members, the
    number of members found is binomial, so that the interval is exact for the true positive rate
    of the threshold that they fix; the threshold's own false positive rate is the measured one.

    Args:
        curve: every threshold's counts.
        fpr: in [0, 1].
        level: of the interval, in (0, 1).

    Returns:
        The share of members found; not evaluable where `fpr` < 1 / non-members.

    Raises:
        BadInput: fpr outside [0, 1].
    """
    if not 0 <= fpr <= 1:
        raise BadInput("fpr", f"is {fpr!r}", "Give a false positive rate in [0, 1]")
    if 1 / curve.nonmembers > fpr:
        return NotEvaluable(too_fine(fpr, curve.nonmembers))
    allowed = curve.alarms / curve.nonmembers <= fpr
    hits = int(curve.hits[allowed].max(initial=0))
    return rate(hits, curve.members, level)


def precision_at(flagged: Flagged, prior: float, level: float = 0.95) -> Metric:
    """Positive predictive value PPV = prior TPR / (prior TPR + (1 - prior) FPR).

    Args:
        flagged: what a fixed rule flagged.
        prior: share of members, in (0, 1), in the population that the rule is used on.
        level: of the interval, in (0, 1).

    Returns:
        The share of members among the flagged; the interval from the exact intervals of both
        rates at the Bonferroni level (1 + level) / 2. Not evaluable where nothing is flagged.

    Raises:
        BadInput: prior outside (0, 1).

    Example:
        >>> half = Flagged(hits=50, members=100, alarms=25, nonmembers=100)
        >>> round(precision_at(half, 0.5).value, 4), round(precision_at(half, 0.01).value, 4)
        (0.6667, 0.0198)
    """
    if not 0 < prior < 1:
        raise BadInput("prior", f"is {prior!r}", "Give a share of members inside (0, 1)")
    if flagged.hits + flagged.alarms == 0:
        return NotEvaluable(
            f"the threshold flags none of {flagged.members} members and {flagged.nonmembers}"
            " non-members, so that there is no flag to be right or wrong"
        )
    tpr, fpr = flagged.tpr((1 + level) / 2), flagged.fpr((1 + level) / 2)
    return Estimate(
        _ppv(prior, tpr.value, fpr.value),
        _ppv(prior, tpr.low, fpr.high),
        _ppv(prior, tpr.high, fpr.low),
        level,
    )


def _ppv(prior: float, tpr: float, fpr: float) -> float:
    right = prior * tpr
    return right / (right + (1 - prior) * fpr)


def too_fine(fpr: float, nonmembers: int, whose: str = "", *, beside: int = 0) -> str:
    """Why so few rows say nothing about so low a rate.

    Args:
        fpr: the rate.
        nonmembers: how many there are.
        whose: they are.
        beside: rows that count with them.

    Example:
        >>> too_fine(0.01, 50)
        'a false positive rate of 0.01 needs 100 non-members or more; there are 50'
    """
    rows = f"non-members {whose}".strip()
    asked = f"a false positive rate of {fpr:g}"
    if fpr < 1e-12:
        return f"{asked} is finer than any sample resolves; there are {nonmembers} {rows}"
    needed = round(1 / fpr)
    needed += 1 / needed > fpr
    return f"{asked} needs {needed - beside} {rows} or more; there are {nonmembers}"
