"""Accuracy, robustness and privacy of every model in one picture."""

from collections.abc import Mapping, Sequence
from typing import Any

from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.figures import (
    Figure,
    Json,
    Key,
    Table,
    axis,
    colour,
    label,
    layout,
)
from trilemma.experiments.reports.quantities import (
    ACCURACIES,
    AUTOATTACK,
    MEMBERSHIP,
    Metric,
    Quantity,
    evaluable,
    in_words,
    shown,
    strongest,
)

Row = tuple[str, str, Quantity]

ROWS: Sequence[Row] = (
    ("Accuracy", "on test rows", ACCURACIES["test"]),
    ("Robustness", "accuracy under attack", ACCURACIES["adversarial_test"]),
    ("Leakage", "membership advantage", MEMBERSHIP["advantage"]),
)
COSTLY: Row = ("Robustness", "accuracy under AutoAttack", AUTOATTACK["autoattack_test"])
FEW = 4  # more models than this are not told one by one
HEADING = 1.1  # height of a group's heading, in bars
MISSING: Metric = {"not_evaluable": "no attack could be evaluated"}


def glance(document: Document) -> Figure:
    """Horizontal bars with their intervals: three groups, one bar a model."""
    models = list(document["models"].items())
    costly = bool(models) and all(
        evaluable(model["accuracy"].get("autoattack_test")) for _, model in models
    )
    rows = (ROWS[0], COSTLY, ROWS[2]) if costly else ROWS
    found = [_three(model, "autoattack" if costly else "adversarial") for _, model in models]
    names = [str(model.get("title", name)) for name, model in models]
    size = len(models) + HEADING
    data: list[Json] = []
    for index, metrics in enumerate(found):
        places = [group * size + HEADING + index for group in range(len(ROWS))]
        data += [_bars(index, names[index], metrics, places), _values(metrics, places)]
    return Figure(
        id="glance",
        title="Accuracy, robustness and membership leakage of each model",
        words=_words(names, found, rows),
        data=data,
        layout=layout(
            barmode="overlay",
            xaxis=axis(
                range=[0, 124],
                tickvals=[0, 25, 50, 75, 100],
                ticktext=["0 %", "25 %", "50 %", "75 %", "100 %"],
            ),
            yaxis=axis(
                range=[len(ROWS) * size - 0.4, -0.2],
                showgrid=False,
                showticklabels=False,
                showline=False,
                ticks="",
            ),
            annotations=[_heading(group * size + 0.58, row) for group, row in enumerate(rows)],
        ),
        tables=[_table(names, found, rows)],
        legend=[
            Key(name=name, ink=colour(index), traces=[2 * index, 2 * index + 1])
            for index, name in enumerate(names)
        ],
        height=round(60 + 30 * len(ROWS) * size),
    )


def _three(model: Mapping[str, Any], attacked: str) -> list[Metric]:
    attack = strongest(model["membership"])
    leak = model["membership"][attack].get("advantage", MISSING) if attack else MISSING
    return [model["accuracy"]["test"], model["accuracy"][f"{attacked}_test"], leak]


def _bars(index: int, name: str, metrics: Sequence[Metric], places: Sequence[float]) -> Json:
    ends = [_ends(metric) for metric in metrics]
    words = [in_words(metric, row[2]) for metric, row in zip(metrics, ROWS, strict=True)]
    return {
        "type": "bar",
        "orientation": "h",
        "name": label(name),
        "y": list(places),
        "x": [
            value if evaluable(metric) else None
            for metric, (_, value, _) in zip(metrics, ends, strict=True)
        ],
        "width": 0.74,
        "marker": {"color": colour(index), "opacity": 0.7},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - value for _, value, high in ends],
            "arrayminus": [value - low for low, value, _ in ends],
            "color": "--ink",
            "thickness": 1.5,
            "width": 4,
        },
        "customdata": [label(text) for text in words],
        "hovertemplate": "%{customdata}<extra>%{fullData.name}</extra>",
    }


def _values(metrics: Sequence[Metric], places: Sequence[float]) -> Json:
    """The number of each bar, to the right of its interval."""
    return {
        "type": "scatter",
        "mode": "text",
        "x": [high + 1.5 for _, _, high in map(_ends, metrics)],
        "y": list(places),
        "text": [shown(m, row[2]).value for m, row in zip(metrics, ROWS, strict=True)],
        "textposition": "middle right",
        "textfont": {"color": "--ink"},
        "hoverinfo": "skip",
    }


def _ends(metric: Metric) -> tuple[float, float, float]:
    """(low, value, high) in per cent; zeros where there is no number."""
    if not evaluable(metric):
        return 0.0, 0.0, 0.0
    value = 100 * float(metric["value"])
    high = value if metric["high"] is None else 100 * float(metric["high"])
    return 100 * float(metric["low"]), value, high


def _heading(place: float, row: Row) -> Json:
    return {
        "xref": "paper",
        "x": 0,
        "xanchor": "left",
        "y": place,
        "yanchor": "bottom",
        "text": f"<b>{row[0]}</b>  {row[1]}",
        "showarrow": False,
        "font": {"color": "--ink", "size": 13},
    }


def _words(names: Sequence[str], found: Sequence[Sequence[Metric]], rows: Sequence[Row]) -> str:
    if len(names) > FEW:
        return f"{len(names)} models; the table below has their numbers."
    parts = []
    for name, (test, robust, leak) in zip(names, found, strict=True):
        parts.append(
            f"{name}: accuracy {shown(test, ROWS[0][2]).value},"
            f" {rows[1][1].removeprefix('accuracy ')} {shown(robust, rows[1][2]).value},"
            f" membership advantage of its strongest attack {shown(leak, ROWS[2][2]).value}"
        )
    return "; ".join(parts) + "."


def _table(names: Sequence[str], found: Sequence[Sequence[Metric]], rows: Sequence[Row]) -> Table:
    return Table(
        caption="Accuracy, robustness and leakage, with intervals",
        columns=["Model", *(row[2].label for row in rows)],
        rows=[
            [name, *(in_words(m, row[2]) for m, row in zip(metrics, rows, strict=True))]
            for name, metrics in zip(names, found, strict=True)
        ],
    )
