"""The verdict: what the numbers say, in plain words and without thresholds of our own."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from trilemma.experiments.reports.cautions import cautions
from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.points import price
from trilemma.experiments.reports.quantities import (
    ACCURACIES,
    AUTOATTACK,
    MEMBERSHIP,
    VERIFIED,
    Metric,
    evaluable,
    in_words,
    shared_attacks,
    strongest,
)
from trilemma.metrics import difference

BEST = MEMBERSHIP["best_threshold_accuracy"]
SOBER = ("held_out_threshold_accuracy", "auc")  # do not choose their threshold on the same rows
PAIRS = 3  # more models than this are ranked in one sentence instead of pair by pair


def verdict(document: Document) -> dict[str, Any]:
    """Headline, sentences and warnings for a document, whose own `verdict` is not looked at.

    Models are compared by the strongest of the attacks that could be evaluated on all of them, and
    are said to differ only where the difference is clear (`metrics.difference`). An attack is said
    to beat guessing only where the interval of its accuracy at a held-out threshold, or of its
    AUC, lies above that of guessing.

    Args:
        document: an audit document, with or without `verdict`.

    Returns:
        `{"headline": str, "sentences": [str], "warnings": [str]}`.
    """
    leaks = _leaks(document)
    headline = _headline(document, leaks)
    few = len(document["models"]) <= PAIRS
    sentences = [*(_models(document) if few else _luck(document)), *_comparisons(leaks)]
    sentences += filter(None, [price(document)])
    if document["status"] == "incomplete":
        sentences.insert(0, headline)
        headline = incomplete(document)
    return {
        "headline": headline,
        "sentences": sentences,
        "warnings": [*_unequal(document), *cautions(document)],
    }


def incomplete(document: Document) -> str:
    """The first line of an audit that lost something: what, and why."""
    failures = document["failures"]
    if not failures:
        return "This audit is incomplete."
    first, more = failures[0], len(failures) - 1
    rest = f", and {more} more {'stage' if more == 1 else 'stages'}" if more else ""
    return (
        f"This audit is incomplete: {quoted(first['stage'])} was lost"
        f" ({first_line(first['error'])}){rest}."
    )


def quoted(title: object) -> str:
    """A name from outside, marked as such."""
    return f"“{title}”"


def first_line(text: str, limit: int = 200) -> str:
    """The first line of an error message, cut to `limit` characters."""
    line = (text.strip().splitlines() or [""])[0].strip()
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _able(model: Mapping[str, Any]) -> set[str]:
    return {
        attack
        for attack, metrics in model["membership"].items()
        if evaluable(metrics.get("best_threshold_accuracy"))
    }


def _leaks(document: Document) -> dict[str, Metric]:
    """Title -> accuracy of the strongest attack, among those that all leaking models have."""
    common = shared_attacks(document)
    found = {}
    for name, model in document["models"].items():
        attack = strongest(model["membership"], among=common)
        if attack is not None:
            found[model.get("title", name)] = model["membership"][attack]["best_threshold_accuracy"]
    return found


def _unequal(document: Document) -> Iterator[str]:
    able = [_able(model) for model in document["models"].values()]
    if any(each != able[0] for each in able):
        yield (
            "Not every attack could be evaluated on every model: models are compared only by"
            " attacks that all of them have."
        )


def _headline(document: Document, leaks: Mapping[str, Metric]) -> str:
    if not leaks:
        if any(map(_able, document["models"].values())):
            return "These models have no attack in common by which they could be compared."
        return "This audit has no membership result: no attack could be evaluated."
    if len(leaks) == 1:
        ((title, metric),) = leaks.items()
        if not _shown(document):
            return (
                f"No attack here is shown to tell rows that {quoted(title)} was trained on from"
                f" others: the best is right {BEST.show(metric['value'])} of the time; guessing"
                " gives 50 %."
            )
        return (
            f"An attacker who sees the answers of {quoted(title)} tells rows it was trained on from"
            f" others with {BEST.show(metric['value'])} accuracy; guessing gives 50 %."
        )
    order = sorted(leaks, key=lambda title: float(leaks[title]["value"]))
    low, high = (BEST.show(leaks[title]["value"]) for title in (order[0], order[-1]))
    if difference(leaks[order[-1]], leaks[order[0]]).clear:
        return (
            f"{quoted(order[-1])} gives away more about who was in its training data than"
            f" {quoted(order[0])}: an attacker is right {high} of the time instead of {low};"
            " guessing gives 50 %."
        )
    return (
        "No clear difference in what these models give away about who was in their training data:"
        f" an attacker is right {low} to {high} of the time; guessing gives 50 %."
    )


def _models(document: Document) -> Iterator[str]:
    for name, model in document["models"].items():
        parts = [
            *_usefulness(document, model["accuracy"]),
            *_leak(document, model["membership"]),
            *_shadow(document, model),
        ]
        yield f"{quoted(model.get('title', name))} {'. '.join(parts)}."


def _luck(document: Document) -> Iterator[str]:
    """Many models: only on which of them an attack beats guessing; the tables say the rest."""
    groups: dict[str, list[str]] = {"shown": [], "not shown": [], "not evaluable": []}
    for name, model in document["models"].items():
        attack = strongest(model["membership"])
        beats = None if attack is None else _beats(model["membership"][attack])
        group = {True: "shown", False: "not shown", None: "not evaluable"}[beats]
        groups[group].append(quoted(model.get("title", name)))
    for words, titles in (
        ("The strongest attack is shown to beat guessing on", groups["shown"]),
        ("It is not shown to beat guessing, nor that nothing leaks, on", groups["not shown"]),
        ("Whether it does cannot be evaluated on", groups["not evaluable"]),
    ):
        if titles:
            yield f"{words} {', '.join(titles)}."


def _beats(metrics: Mapping[str, Metric]) -> bool | None:
    """Whether an interval that does not choose its own threshold lies above guessing."""
    able = [metrics[name] for name in SOBER if evaluable(metrics.get(name))]
    return any(metric["low"] > 0.5 for metric in able) if able else None


def _shown(document: Document) -> bool:
    """Whether some attack on some model beats guessing."""
    attacks = [a for model in document["models"].values() for a in model["membership"].values()]
    return any(map(_beats, attacks))


def _usefulness(document: Document, accuracy: Mapping[str, Metric]) -> Iterator[str]:
    test, attacked = accuracy.get("test"), accuracy.get("adversarial_test")
    parts = []
    if test is not None and evaluable(test):
        parts.append(f"{ACCURACIES['test'].show(test['value'])} of the test rows")
    if attacked is not None and evaluable(attacked):
        shown_ = ACCURACIES["adversarial_test"].show(attacked["value"])
        costly, proven = accuracy.get("autoattack_test"), accuracy.get("verified_test")
        parts.append(
            f"{shown_} of them under attack" if parts else f"{shown_} of the attacked rows"
        )
        if costly is not None and evaluable(costly):
            left = AUTOATTACK["autoattack_test"].show(costly["value"])
            parts[-1] += f" ({left} under AutoAttack)"
        if proven is not None and evaluable(proven):
            balls = [
                document.get("robustness", {}).get(prefix, {}).get("settings", {}).get("ball")
                for prefix in ("adversarial", "verified")
            ]
            where = "" if balls[0] == balls[1] else " (in another ball)"
            parts.append(f"{VERIFIED['test'].show(proven['value'])} of them provably{where}")
    if parts:
        listed = f"{', '.join(parts[:-1])}, and {parts[-1]}" if parts[1:] else parts[0]
        yield f"labels correctly {listed}"


def _leak(document: Document, membership: Mapping[str, Mapping[str, Metric]]) -> Iterator[str]:
    attack = strongest(membership)
    if attack is None:
        yield "What it leaks could not be evaluated"
        return
    metrics = membership[attack]
    method = document["methods"].get(attack, {}).get("title", attack)
    yield (
        f"The strongest attack, {quoted(method)}, tells its members from non-members with"
        f" an accuracy of {in_words(metrics['best_threshold_accuracy'], BEST)} at the best"
        " threshold, where guessing gives 50 %"
    )
    yield _evidence(metrics)


def _shadow(document: Document, model: Mapping[str, Any]) -> Iterator[str]:
    """What an attacker finds who chose attack and threshold on a shadow model."""
    found = model.get("shadow", {})
    if found and evaluable(found["accuracy"]):
        names = dict.fromkeys(
            document["methods"].get(attack, {}).get("title", attack) for attack in found["attacks"]
        )
        chosen = " or ".join(map(quoted, names))
        said = in_words(found["accuracy"], MEMBERSHIP["shadow_threshold_accuracy"])
        yield f"Chosen on a shadow model, attack ({chosen}) and threshold find members with {said}"


def _evidence(metrics: Mapping[str, Metric]) -> str:
    """Whether the attack beats guessing, by numbers that do not choose their own threshold."""
    said = {
        "held_out_threshold_accuracy": "with a threshold chosen on other rows its accuracy is {}",
        "auc": "its AUC is {}, where guessing gives 0.5",
    }
    able = {
        name: (metrics[name], words.format(in_words(metrics[name], MEMBERSHIP[name])))
        for name, words in said.items()
        if evaluable(metrics.get(name))
    }
    for metric, words in able.values():
        if metric["low"] > 0.5:
            return f"That is more than luck: {words}"
    if not able:
        return "Whether that is more than luck cannot be told from these rows"
    both = " and ".join(words for _, words in able.values())
    return f"That is not shown to beat guessing ({both}), nor does it show that nothing leaks"


def _comparisons(leaks: Mapping[str, Metric]) -> Iterator[str]:
    if 2 <= len(leaks) <= PAIRS:
        for one, other in combinations(leaks, 2):
            yield _pair(one, other, leaks)
    elif len(leaks) > PAIRS:
        yield _ranking(leaks)


def _pair(one: str, other: str, leaks: Mapping[str, Metric]) -> str:
    less, more = sorted((one, other), key=lambda title: float(leaks[title]["value"]))
    found = difference(leaks[more], leaks[less])
    points, margin = f"{100 * found.mean:.2f}", f"{100 * found.margin:.2f}"
    each = " with every seed," if len(found.seeds) > 1 else ""
    if found.clear:
        return (
            f"{quoted(more)} leaks more than {quoted(less)}: its strongest attack is right {points}"
            f" points more often,{each} and the choice of rows explains up to {margin} points."
        )
    why = (
        f"the choice of rows alone explains up to {margin} points"
        if found.mean <= found.margin
        else "not so with every seed"
    )
    return (
        f"No clear difference between {quoted(more)} and {quoted(less)}: on the former the"
        f" strongest attack is right {points} points more often, but {why}."
    )


def _ranking(leaks: Mapping[str, Metric]) -> str:
    order = sorted(leaks, key=lambda title: float(leaks[title]["value"]))
    listed = ", ".join(f"{quoted(title)} {BEST.show(leaks[title]['value'])}" for title in order)
    pairs = list(combinations(order, 2))
    clear = sum(difference(leaks[more], leaks[less]).clear for less, more in pairs)
    return (
        f"From the least to the most, by the strongest attack on each: {listed}. Of the"
        f" {len(pairs)} pairs, {clear} differ clearly."
    )
