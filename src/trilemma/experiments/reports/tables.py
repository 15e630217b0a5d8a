"""The models side by side, and each seed by itself, as tables of printed numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trilemma.experiments.methods import OPERATING
from trilemma.experiments.reports import closer, security, sensitivity
from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.figures import attacks, method_title, titles
from trilemma.experiments.reports.promises import KIND, promises
from trilemma.experiments.reports.quantities import (
    MEMBERSHIP,
    Metric,
    Quantity,
    Shown,
    accuracies,
    quantity,
    shown,
)

ABSENT: Metric = {"not_evaluable": "not part of this audit"}
LEFT_OUT = "Single members left out of the training"
TOLD = "Secure and insecure test rows"
CLOSER = "A closer look"
RANKS = (  # order of the metrics; what is not here follows in the document's own order
    *("best_threshold_accuracy", "held_out_threshold_accuracy", "class_threshold_accuracy"),
    *("shadow_threshold_accuracy", "random_threshold_accuracy", "advantage", "auc"),
    *("tpr_at_fpr_0.1", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001"),
    *("precision_at_prior_0.5", "precision_at_prior_0.1", "precision_at_prior_0.01"),
    *OPERATING,
    "epsilon_lower_bound",
)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number in a table, and where it lies between 0 and 1 for a small drawing.

    Args:
        shown: as printed.
        spans: (low, value, high) in per cent of the drawing's width; None without a drawing.
    """

    shown: Shown
    spans: tuple[float, float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric over models or seeds.

    Args:
        chance: what guessing reaches, printed; empty where guessing has no value.
        chance_at: the same in per cent of the drawing's width.
    """

    label: str
    meaning: str
    chance: str
    chance_at: float | None
    cells: Sequence[Cell]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows under one heading."""

    title: str
    rows: Sequence[Row]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of groups."""

    caption: str
    columns: Sequence[str]
    groups: Sequence[Group]


def side_by_side(document: Document) -> Grid:
    """Each metric of each attack, one column a model."""
    models = list(document["models"].values())
    groups = [
        Group(
            title="The model itself",
            rows=[
                _row(kind, [model["accuracy"].get(name, ABSENT) for model in models])
                for name, kind in accuracies(document).items()
            ]
            + _promised(models),
        )
    ]
    told = [
        _row(kind, [security.numbers(model).get(name, ABSENT) for model in models])
        for name, kind in security.quantities(document, security.ALL).items()
    ]
    groups += [Group(title=TOLD, rows=told)] if told else []
    changed = [
        _row(kind, [sensitivity.numbers(model).get(name, ABSENT) for model in models])
        for name, kind in sensitivity.quantities(document, sensitivity.ALL).items()
    ]
    groups += [Group(title=LEFT_OUT, rows=changed)] if changed else []
    seen = [
        _row(kind, [closer.numbers(model).get(name, ABSENT) for model in models])
        for name, kind in closer.quantities(document, closer.ALL).items()
    ]
    groups += [Group(title=CLOSER, rows=seen)] if seen else []
    groups += [
        Group(title=method_title(document, attack), rows=list(_attack(attack, models)))
        for attack in attacks(document)
    ]
    levels = sorted({100 * level for level in _levels(document["models"])})
    level = " and ".join(f"{level:g}" for level in levels) or "95"
    return Grid(
        caption=f"Each number with its {level} % interval below",
        columns=list(titles(document).values()),
        groups=groups,
    )


def each_seed(document: Document) -> Iterator[Grid]:
    """For each model with several seeds: each metric, one column a seed."""
    seeds = document["provenance"]["seeds"]
    own = {**accuracies(document), **security.QUANTITIES, **sensitivity.QUANTITIES}
    own |= closer.quantities(document, closer.ALL)
    for name, model in document["models"].items():
        parts = {"The model itself": model["accuracy"]}
        parts |= {TOLD: security.numbers(model), LEFT_OUT: sensitivity.numbers(model)}
        parts |= {CLOSER: closer.numbers(model)}
        parts |= {method_title(document, a): m for a, m in model["membership"].items()}
        groups = [
            Group(title=title, rows=list(_seeds(metrics, own, len(seeds))))
            for title, metrics in parts.items()
        ]
        kept = [group for group in groups if group.rows]
        if kept:
            yield Grid(
                caption=f"{titles(document)[name]}, each seed",
                columns=[f"seed {seed}" for seed in seeds],
                groups=kept,
            )


def each_label(document: Document) -> Iterator[Grid]:
    """For each attack: its accuracy on each label's rows, one column a model."""
    kind = MEMBERSHIP["class_threshold_accuracy"]
    models = list(document["models"].values())
    for attack in attacks(document):
        found = [model.get("labels", {}).get(attack, {}) for model in models]
        labels = sorted({label for each in found for label in each}, key=int)
        rows = [
            replace(_row(kind, [each.get(label, ABSENT) for each in found]), label=f"label {label}")
            for label in labels
        ]
        if rows:
            title = method_title(document, attack)
            yield Grid(
                caption=f"{title}, each label",
                columns=list(titles(document).values()),
                groups=[Group(title=kind.label, rows=rows)],
            )


def metric_names(document: Document) -> list[str]:
    """The membership metrics that the document has, in the order of the tables."""
    found = {
        metric: None
        for model in document["models"].values()
        for metrics in model["membership"].values()
        for metric in metrics
    }
    return [name for name in RANKS if name in found] + [n for n in found if n not in RANKS]


def _attack(attack: str, models: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    found = [model["membership"].get(attack, {}) for model in models]
    names = {name: None for metrics in found for name in metrics}
    above = [""] * len(found)
    for name in [n for n in RANKS if n in names] + [n for n in names if n not in RANKS]:
        metrics = [each.get(name, ABSENT) for each in found]
        reasons = [str(metric.get("not_evaluable", "")) for metric in metrics]
        yield _row(
            quantity(name),
            [
                {"not_evaluable": "as above"} if why and why == before else metric
                for metric, why, before in zip(metrics, reasons, above, strict=True)
            ],
        )
        above = reasons


def _promised(models: Sequence[Mapping[str, Any]]) -> list[Row]:
    cells = [Cell(shown=each) for each in promises(models)]
    row = Row(label=KIND.label, meaning=KIND.meaning, chance="", chance_at=None, cells=cells)
    return [row] if cells else []


def _seeds(metrics: Mapping[str, Metric], own: Mapping[str, Quantity], count: int) -> Iterator[Row]:
    for name, metric in metrics.items():
        seeds = metric.get("seeds", [])
        if count > 1 and len(seeds) == count:
            yield _row(own.get(name) or quantity(name), seeds)


def _row(kind: Quantity, metrics: Sequence[Metric]) -> Row:
    return Row(
        label=kind.label,
        meaning=kind.meaning,
        chance="" if kind.chance is None else f"{kind.chance * kind.factor:g}{kind.unit}",
        chance_at=None if kind.chance is None else 100 * kind.chance,
        cells=[_cell(kind, metric) for metric in metrics],
    )


def _cell(kind: Quantity, metric: Metric) -> Cell:
    bounded = kind.unit or kind.chance == 0.5  # shares, and AUCs
    if "not_evaluable" in metric or metric["high"] is None or not bounded:
        return Cell(shown=shown(metric, kind))
    low, value, high = (
        min(100.0, max(0.0, 100 * float(metric[part]))) for part in ("low", "value", "high")
    )
    return Cell(shown=shown(metric, kind), spans=(low, value, high))


def _levels(models: Mapping[str, Any]) -> Iterator[float]:
    for model in models.values():
        for metrics in (model["accuracy"], *model["membership"].values()):
            yield from (metric["level"] for metric in metrics.values() if "level" in metric)
