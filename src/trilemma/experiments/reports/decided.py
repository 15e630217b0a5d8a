"""What boundary attacks find by thresholds without labelled rows (Li & Zhang 2021, fig. 11)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
    method_title,
    titled,
    titles,
)
from trilemma.experiments.reports.quantities import MEMBERSHIP, Metric, evaluable, in_words, shown

SHARE = replace(MEMBERSHIP["random_threshold_accuracy"], chance=None)  # a rate, in per cent
NOTHING = "-"
Entry = Mapping[str, Any]
Drawn = tuple[int, str, Entry]  # index among all models, title, its entry


def _metric(name: str) -> Callable[[Entry], str]:
    def cell(entry: Entry) -> str:
        print_ = shown(entry[name], SHARE)
        return f"{print_.value} ({print_.interval or print_.reason})"

    return cell


def _share(name: str) -> Callable[[Entry], str]:
    return lambda entry: f"{100 * entry[name]:.1f} %" if name in entry else NOTHING


ROWS: Mapping[str, Callable[[Entry], str]] = {
    "Threshold on the distance": lambda entry: f"{entry['threshold']:.4g}",
    "Accuracy": _metric("accuracy"),
    "Members found (TPR)": _metric("tpr"),
    "False alarms (FPR)": _metric("fpr"),
    "F1": _metric("f1"),
    "Precision if half are members": _metric("precision_at_prior_0.5"),
    "Precision if 10 % are members": _metric("precision_at_prior_0.1"),
    "Queries about random images": lambda entry: f"{entry['prepared']:,.0f}",
    "Queries a row": lambda entry: f"{entry['queries']:,.0f}" if "queries" in entry else NOTHING,
    "of at most": lambda entry: f"{entry['budget']:,}" if "budget" in entry else NOTHING,
    "Queries saved": _share("saved"),
    "Rows decided for certain": _share("certain"),
}


def tables(document: Document) -> list[Table]:
    """One an attack: what its threshold finds, and what it costs, a column for each model."""
    found = []
    for attack, drawn in _drawn(document).items():
        rows = [
            [said, *(cell(entry) for _, _, entry in drawn)]
            for said, cell in ROWS.items()
            if any(cell(entry) != NOTHING for _, _, entry in drawn)
        ]
        names = [name for _, name, _ in drawn]
        caption = method_title(document, attack)
        found.append(Table(caption=caption, columns=["", *names], rows=rows))
    return found


def saved(document: Document, attack: str) -> list[str] | None:
    """The share of queries that early decisions saved, a cell for each model; None if no attack's.

    Args:
        document: the audit's.
        attack: its id.
    """
    entries = [model.get("thresholds", {}).get(attack, {}) for model in document["models"].values()]
    cells = [_share("saved")(entry) for entry in entries]
    return None if set(cells) <= {NOTHING} else cells


def percentiles(document: Document) -> list[Figure]:
    """F1 by which of the random images' distances is the threshold."""
    found = []
    for order, (attack, every) in enumerate(_drawn(document).items()):
        drawn = [each for each in every if "percentiles" in each[2]]
        if drawn:
            found.append(_figure(method_title(document, attack), order, drawn))
    return found


def _drawn(document: Document) -> dict[str, list[Drawn]]:
    found: dict[str, list[Drawn]] = {}
    for index, (name, model) in enumerate(document["models"].items()):
        for attack, entry in model.get("thresholds", {}).items():
            found.setdefault(attack, []).append((index, titles(document)[name], entry))
    return found


def _figure(attack: str, order: int, drawn: Sequence[Drawn]) -> Figure:
    used = drawn[0][2]["percentile"]
    title = f"{attack}, F1 by the threshold"
    return Figure(
        id=f"percentiles-{order}",
        title=title,
        words="Random images are taken for non-members; the threshold is the distance at the top t"
        " per cent of theirs. Few rows are called members on the left, many on the right. The"
        f" dotted line is the one that was asked for, {used:g} %; lines up and down are intervals."
        " Where half of the rows are members, calling all of them members has an F1 of 67 %.",
        data=[_line(index, name, entry) for index, name, entry in drawn],
        layout=layout(
            xaxis=axis(title=titled("Top t per cent"), range=[-3, 103], nticks=6),
            yaxis=axis(title=titled("F1, %"), range=[0, 103], nticks=6),
            shapes=[
                {
                    "type": "line",
                    "yref": "paper",
                    **{"x0": used, "x1": used, "y0": 0, "y1": 1},
                    "line": {"color": "--plot-axis", "width": 1.5, "dash": "dot"},
                }
            ],
        ),
        tables=[_table(title, drawn)],
        legend=[
            Key(name=name, ink=colour(index), traces=[place], dash="solid")
            for place, (index, name, _) in enumerate(drawn)
        ],
    )


def _line(index: int, name: str, entry: Entry) -> Json:
    both = zip(entry["percentiles"], entry["f1_by_percentile"], strict=True)
    able: list[tuple[float, Metric]] = [(at, metric) for at, metric in both if evaluable(metric)]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label(name),
        "x": [at for at, _ in able],
        "y": [100 * metric["value"] for _, metric in able],
        "line": {"color": colour(index), "width": 2.5},
        "marker": {"size": 6, "color": colour(index)},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [100 * (metric["high"] - metric["value"]) for _, metric in able],
            "arrayminus": [100 * (metric["value"] - metric["low"]) for _, metric in able],
            "color": colour(index),
            "thickness": 1,
            "width": 3,
        },
        "customdata": [in_words(metric, SHARE) for _, metric in able],
        "hovertemplate": "top %{x} %: %{customdata}<extra>%{fullData.name}</extra>",
    }


def _table(caption: str, drawn: Sequence[Drawn]) -> Table:
    asked = drawn[0][2]["percentiles"]
    cells = [entry["f1_by_percentile"] for _, _, entry in drawn]
    return Table(
        caption=caption,
        columns=["Top t per cent", *(name for _, name, _ in drawn)],
        rows=[
            [f"{at:g}", *(in_words(column[place], SHARE) for column in cells)]
            for place, at in enumerate(asked)
        ],
    )
