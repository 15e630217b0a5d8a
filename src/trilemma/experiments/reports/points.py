"""Models as points: how robust each is, and what it gives away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.figures import method_title, titles
from trilemma.experiments.reports.quantities import (
    Metric,
    evaluable,
    shared_attacks,
    strongest,
)
from trilemma.metrics import difference


@dataclass(frozen=True, kw_only=True)
class Point:
    """One model that has both numbers.

    Args:
        index: among all models, for its colour.
        robust: accuracy under attack, or proven.
        how: by which the latter was proven; empty under attack.
        leak, advantage: of the strongest attack.
        attack: that attack, in words.
        test: accuracy on test rows as they are.
    """

    index: int
    name: str
    robust: Metric
    how: str
    leak: Metric
    advantage: Metric
    attack: str
    test: Metric | None


def price(document: Document) -> str:
    """What the most robust model gives away beside the least robust one; empty where none differ.

    Of the numbers under attack, which all kinds of models have.
    """
    points = points_of(document, [attacked_accuracy(document)])
    if len(points) < 2:
        return ""
    least, most = (end(points, key=lambda p: float(p.robust["value"])) for end in (min, max))
    if not difference(most.robust, least.robust).clear:
        return "None of these models is clearly more robust than the others under attack."
    leaks = difference(most.leak, least.leak)
    clear = leaks.clear or difference(least.leak, most.leak).clear
    return (
        f"Robustness and privacy: “{most.name}” is right"
        f" {100 * difference(most.robust, least.robust).mean:.2f} points more often under attack"
        f" than “{least.name}”, and the strongest attack on its members is right"
        f" {100 * abs(leaks.mean):.2f} points {'more' if leaks.mean > 0 else 'less'} often"
        f"{'' if clear else ', which is no clear difference'}."
    )


def attacked_accuracy(document: Document) -> str:
    """The costly attack's accuracy where all models have it, as at a glance."""
    models = document["models"].values()
    every = models and all(evaluable(m["accuracy"].get("autoattack_test")) for m in models)
    return "autoattack_test" if every else "adversarial_test"


def proven_accuracies(document: Document) -> list[str]:
    """The verified accuracies in the ball of the first of them."""
    names = [
        f"{prefix}_test"
        for prefix in document.get("robustness", {})
        if prefix.split("_")[0] == "verified"
    ]
    return [name for name in names if ball_of(document, name) == ball_of(document, names[0])]


def ball_of(document: Document, name: str) -> str:
    """Where an accuracy was measured or proven, to follow its name; empty where it is unknown."""
    settings = document["robustness"][name.removesuffix("_test")].get("settings", {})
    ball = settings.get("ball")
    known = isinstance(ball, Mapping) and isinstance(ball.get("radius"), int | float)
    return f", {ball['kind']} {ball['radius']:.4g}" if known else ""


def points_of(document: Document, names: Sequence[str]) -> list[Point]:
    """The models with a number of robustness (the highest of `names`) and one of leakage."""
    common = shared_attacks(document)
    points = []
    for index, (name, model) in enumerate(document["models"].items()):
        attack = strongest(model["membership"], among=common)
        able = {n: model["accuracy"][n] for n in names if evaluable(model["accuracy"].get(n))}
        if attack is None or not able:
            continue
        best = max(able, key=lambda n: float(able[n]["value"]))
        leak = model["membership"][attack]
        about = document.get("robustness", {}).get(best.removesuffix("_test"), {})
        points.append(
            Point(
                index=index,
                name=titles(document)[name],
                robust=able[best],
                how=str(about.get("name", "")) if len(names) > 1 else "",
                leak=leak["best_threshold_accuracy"],
                advantage=leak.get("advantage", {"not_evaluable": "not part of this audit"}),
                attack=method_title(document, attack),
                test=model["accuracy"].get("test"),
            )
        )
    return points
