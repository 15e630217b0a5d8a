"""The verdict: what the numbers say, in plain words and without thresholds of our own."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.quantities import (
    ACCURACIES,
    MEMBERSHIP,
    Metric,
    evaluable,
    in_words,
    shown,
    strongest,
)
from trilemma.experiments.reports.cautions import cautions

BEST = MEMBERSHIP["best_threshold_accuracy"]
PAIRS = 3  # more models than this are ranked in one sentence instead of pair by pair


def verdict(document: Document) -> dict[str, Any]:
    """Headline, sentences and warnings for a document, whose own `verdict` is not looked at.

    Two models are said to differ only where the intervals of their strongest attacks do not
    overlap; an attack is said to beat guessing only where the interval of its AUC or of its
    accuracy at a held-out threshold lies above that of guessing.

    Args:
        document: an audit document, with or without `verdict`.

    Returns:
        `{"headline": str, "sentences": [str], "warnings": [str]}`.
    """
    found = _strongest_of(document)
    headline = _headline(document, found)
    sentences = [*_models(document, found), *_comparisons(found)]
    if document["status"] == "incomplete":
        sentences.insert(0, headline)
        headline = incomplete(document)
    return {
        "headline": headline,
        "sentences": sentences,
        "warnings": list(cautions(document)),
    }


def quoted(title: object) -> str:
    """A name from outside, marked as such."""
    return f"“{title}”"


def first_line(text: str, limit: int = 200) -> str:
    """The first line of an error message, cut to `limit` characters."""
    line = (text.strip().splitlines() or [""])[0].strip()
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _strongest_of(document: Document) -> dict[str, Metric]:
    """Model title -> best-threshold accuracy of its strongest attack."""
    found = {}
    for name, model in document["models"].items():
        attack = strongest(model["membership"])
        if attack is not None:
            found[model.get("title", name)] = model["membership"][attack]["best_threshold_accuracy"]
    return found


def _headline(document: Document, found: Mapping[str, Metric]) -> str:
    if not found:
        return (
            "This audit has no membership result: no attack could be evaluated on"
            " any of its models."
        )
    if len(found) == 1:
        ((title, metric),) = found.items()
        return (
            f"An attacker who sees the answers of {quoted(title)} tells rows it was trained on from"
            f" others with {BEST.show(metric['value'])} accuracy; guessing gives 50 %."
        )
    order = sorted(found, key=lambda title: float(found[title]["value"]))
    least, most = order[0], order[-1]
    low, high = (BEST.show(found[title]["value"]) for title in (least, most))
    if _apart(found[least], found[most]):
        return (
            f"{quoted(most)} gives away more about who was in its training data than"
            f" {quoted(least)}: an attacker is right {high} of the time against {low};"
            " guessing gives 50 %."
        )
    return (
        f"No clear difference in what these models give away about their training data: an attacker"
        f" is right between {low} and {high} of the time, with overlapping intervals;"
        " guessing gives 50 %."
    )


def incomplete(document: Document) -> str:
    """The first line of an audit that lost something: what, and why."""
    failures = document["failures"]
    if not failures:
        return "This audit is incomplete."
    first = failures[0]
    more = len(failures) - 1
    return (
        f"This audit is incomplete: {first['stage']!r} was lost"
        f" ({first_line(first['error'])})"
        + (f", and {more} more {'stage' if more == 1 else 'stages'}." if more else ".")
    )


def _models(document: Document, found: Mapping[str, Metric]) -> Iterator[str]:
    for name, model in document["models"].items():
        title = model.get("title", name)
        yield from _usefulness(title, model["accuracy"])
        if title in found:
            yield _leak(document, title, model["membership"])
        else:
            yield f"What {quoted(title)} leaks could not be evaluated."


def _usefulness(title: str, accuracy: Mapping[str, Metric]) -> Iterator[str]:
    parts = []
    if evaluable(accuracy.get("test")):
        parts.append(f"{ACCURACIES['test'].show(accuracy['test']['value'])} of the test rows")
    if evaluable(accuracy.get("adversarial_test")):
        attacked = ACCURACIES["adversarial_test"].show(accuracy["adversarial_test"]["value"])
        parts.append(f"{attacked} of them once they are adversarially perturbed")
    if parts:
        yield f"{quoted(title)} labels {' and '.join(parts)} correctly."


def _leak(document: Document, title: str, membership: Mapping[str, Mapping[str, Metric]]) -> str:
    attack = strongest(membership)
    metrics = membership[str(attack)]
    method = document["methods"].get(attack, {}).get("title", attack)
    metric = metrics["best_threshold_accuracy"]
    return (
        f"The strongest attack on {quoted(title)} is {quoted(method)}: at its best threshold it"
        f" tells members from non-members with {in_words(metric, BEST)} accuracy, where guessing"
        f" gives 50 %. {_evidence(metrics)}"
    )


def _evidence(metrics: Mapping[str, Metric]) -> str:
    """Whether the attack beats guessing, by numbers that do not choose their threshold."""
    kinds = {name: MEMBERSHIP[name] for name in ("held_out_threshold_accuracy", "auc")}
    able = {name: metrics[name] for name in kinds if evaluable(metrics.get(name))}
    if not able:
        return "Whether that is more than luck cannot be evaluated on these rows."
    said = " and ".join(
        {
            "held_out_threshold_accuracy": "with a threshold chosen on other rows it reaches ",
            "auc": "its AUC is ",
        }[name]
        + in_words(metric, kinds[name])
        for name, metric in able.items()
    )
    if any(metric["low"] > 0.5 for metric in able.values()):
        return f"This is more than luck: {said}."
    return (
        f"It is not shown to beat guessing ({said}); this does not show either that nothing"
        " leaks."
    )


def _comparisons(found: Mapping[str, Metric]) -> Iterator[str]:
    if 2 <= len(found) <= PAIRS:
        for one, other in combinations(found, 2):
            yield _pair(one, other, found)
    elif len(found) > PAIRS:
        yield _ranking(found)


def _pair(one: str, other: str, found: Mapping[str, Metric]) -> str:
    less, more = sorted((one, other), key=lambda title: float(found[title]["value"]))
    ranges = [shown(found[title], BEST).interval for title in (more, less)]
    if _apart(found[less], found[more]):
        return (
            f"{quoted(more)} leaks more than {quoted(less)}: the intervals of their strongest"
            f" attacks ({ranges[0]} and {ranges[1]} %) do not overlap."
        )
    return (
        f"No clear difference between {quoted(more)} and {quoted(less)}: the intervals of their"
        f" strongest attacks ({ranges[0]} and {ranges[1]} %) overlap."
    )


def _ranking(found: Mapping[str, Metric]) -> str:
    order: Sequence[str] = sorted(found, key=lambda title: float(found[title]["value"]))
    listed = ", ".join(f"{quoted(title)} {BEST.show(found[title]['value'])}" for title in order)
    pairs = list(combinations(order, 2))
    clear = sum(_apart(found[less], found[more]) for less, more in pairs)
    return (
        f"From the least to the most, by the strongest attack on each: {listed}. Of the"
        f" {len(pairs)} pairs, {clear} have intervals that do not overlap."
    )


def _apart(less: Metric, more: Metric) -> bool:
    return less["high"] is not None and float(more["low"]) > float(less["high"])
