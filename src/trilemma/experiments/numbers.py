"""The numbers of an audit document by the names that claims call them. No torch."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Metric: TypeAlias = Mapping[str, Any]
Document: TypeAlias = Mapping[str, Any]
METRIC = "best_threshold_accuracy"
BY_SIDE = ("answers", "scores")
OUTSIDE_MEMBERSHIP = ("accuracy", "sensitivity", "security", "shadow")
LOOKED = ("ace", "distance")
PLAIN = ("scores", *LOOKED)  # parts whose numbers are no shares


def number(document: Document, name: str) -> Metric | None:
    """The metric that a claim names; None where the record does not have it.

    Args:
        name: see `study.Claim`.
    """
    if (constant := _constant(name)) is not None:
        return constant
    model, _, rest = name.partition(":")
    found = document["models"].get(model, {})
    part, _, metric = rest.partition(".")
    if part in FURTHER:
        first, _, last = metric.rpartition(".")
        return _whole(FURTHER[part](found, first, last))
    if part in OUTSIDE_MEMBERSHIP:
        return _whole(found.get(part, {}).get(metric))
    membership = found.get("membership", {})
    asked = [part] if part else list(membership)
    numbers = [_whole(membership.get(each, {}).get(metric or METRIC)) for each in asked]
    whole = [each for each in numbers if each is not None]
    if not whole or (part and len(whole) < len(numbers)):
        return None
    return max(whole, key=lambda each: float(each["value"]))


def told(name: str, value: float) -> str:
    """A number of that name in print: shares in per cent, others as they are.

    >>> told("m5:boundary.auc", 0.9378), told("m5:scores.boundary.train", 1.0755)
    ('93.78 %', '1.0755')
    >>> told("at:stolen.best.guard.thief.queries", 10000.0)
    '10000.0000'
    """
    return f"{value:.4f}" if _plain(name) else f"{100 * value:.2f} %"


def apart(name: str, value: float) -> str:
    """A difference of two such numbers, with its sign: shares in points.

    >>> apart("m5:boundary.auc", 0.0378), apart("m5:scores.boundary.train", -0.5)
    ('+3.78', '-0.5000')
    """
    return f"{value:+.4f}" if _plain(name) else f"{100 * value:+.2f}"


def unit(name: str) -> str:
    """Of such a difference: empty, or points with a blank before."""
    return "" if _plain(name) else " points"


def _plain(name: str) -> bool:
    rest = name.partition(":")[2]
    noticed = ".guard." in rest and not rest.endswith(".wrong")  # counts and factors
    return noticed or rest.partition(".")[0] in PLAIN


def _by_side(part: str) -> Callable[[Metric, str, str], Metric | None]:
    def find(model: Metric, attack: str, rows: str) -> Metric | None:
        found: Metric | None = model.get(part, {}).get(attack, {}).get(rows)
        return found

    return find


def _by_norm(model: Metric, attack: str, norm: str) -> Metric | None:
    found: Metric | None = model.get("budgets", {}).get(attack, {}).get("norms", {}).get(norm)
    return found


def _by_queries(model: Metric, attack: str, queries: str) -> Metric | None:
    """After exactly so many queries; `most` is the whole budget."""
    entry = model.get("budgets", {}).get(attack, {"budgets": []})
    budgets = [str(each) for each in entry["budgets"]]
    if queries == "most" and budgets:
        queries = budgets[-1]
    found: Metric | None = entry["auc"][budgets.index(queries)] if queries in budgets else None
    return found


def _f1(model: Metric, attack: str, percentile: str) -> Metric | None:
    entry = model.get("thresholds", {}).get(attack, {})
    both = zip(entry.get("percentiles", ()), entry.get("f1_by_percentile", ()), strict=True)
    return next((metric for each, metric in both if each == float(percentile)), None)


def _looked(number: str) -> Callable[[Metric, str, str], Metric | None]:
    def find(model: Metric, looked_at: str, rows: str) -> Metric | None:
        side = model.get("analysis", {}).get("sides", {}).get(looked_at, {})
        found: Metric | None = side.get(number, {}).get(rows)
        return found

    return find


def _stolen(model: Metric, where: str, last: str) -> Metric | None:
    """By the path below the thieves: `best.benign.final.accuracy`, `best.random.benign.victim`."""
    found: Any = model.get("extraction", {}).get("thieves", {})
    for each in (*where.split("."), last):
        found = found.get(each, {}) if isinstance(found, Mapping) else {}
    return found or None


def _exchanged(model: Metric, maker: str, tried: str) -> Metric | None:
    found: Metric | None = model.get("extraction", {}).get("transfer", {}).get(maker, {}).get(tried)
    return found


FURTHER: Mapping[str, Callable[[Metric, str, str], Metric | None]] = {
    **{part: _by_side(part) for part in BY_SIDE},
    "norms": _by_norm,
    "queries": _by_queries,
    "f1": _f1,
    **{number: _looked(number) for number in LOOKED},
    "stolen": _stolen,
    "exchange": _exchanged,
}


def _constant(name: str) -> Metric | None:
    """A limit as a metric without error."""
    try:
        limit = float(name)
    except ValueError:
        return None
    return {"value": limit, "low": limit, "high": limit}


def _whole(metric: Metric | None) -> Metric | None:
    return metric if metric is not None and "value" in metric else None
