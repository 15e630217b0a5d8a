"""What boundary attacks find with fewer queries, in other norms (Li & Zhang 2021, figs. 8, 9)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trilemma.experiments.reports.document import Document, Number
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
from trilemma.experiments.reports.quantities import (
    MEMBERSHIP,
    Metric,
    evaluable,
    in_words,
    shown,
)

FAINT = 0.15  # of a band
FEW = 3  # more models than this are drawn without intervals, and told by the table alone
KIND = MEMBERSHIP["auc"]
NAMES = {"Linf": "L∞"}
BRIEF = (1, 10, 100, 1000)  # budgets of a short table, about; and the last
ABSENT: Metric = {"not_evaluable": "not part of this audit"}
Drawn = tuple[int, str, Json]  # index among all models, title, its entry


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One attack's AUC for tables with one column a model.

    Args:
        attack: its id.
        budgets: (label, one AUC a model), by queries.
        norms: the same by norm.
    """

    attack: str
    budgets: Sequence[tuple[str, Sequence[Metric]]]
    norms: Sequence[tuple[str, Sequence[Metric]]]

    def every(self) -> Iterator[tuple[str, Sequence[Metric]]]:
        """All of them."""
        yield from self.budgets
        yield from self.norms


def budgets(document: Document) -> list[Figure]:
    """Two plots an attack: AUC by queries, and by norm."""
    return [
        figure
        for order, (attack, drawn) in enumerate(_drawn(document).items())
        for figure in (
            _by_queries(document, attack, order, drawn),
            _by_norm(document, attack, order, drawn),
        )
    ]


def rows(document: Document) -> Iterator[Rows]:
    """The numbers of each boundary attack, of a few budgets."""
    for attack, drawn in _drawn(document).items():
        entries = [m.get("budgets", {}).get(attack) for m in document["models"].values()]
        asked = drawn[0][2]["budgets"]
        places = [sum(q <= few for q in asked) - 1 for few in BRIEF if asked[0] <= few]
        few = dict.fromkeys([*places, len(asked) - 1])
        yield Rows(
            attack=attack,
            budgets=[
                (
                    f"AUC after {asked[place]:,} {'query' if asked[place] == 1 else 'queries'}",
                    [entry["auc"][place] if entry else ABSENT for entry in entries],
                )
                for place in few
            ],
            norms=[
                (
                    f"AUC in {NAMES.get(norm, norm)}",
                    [entry["norms"][norm] if entry else ABSENT for entry in entries],
                )
                for norm in drawn[0][2]["norms"]
            ],
        )


def _drawn(document: Document) -> dict[str, list[Drawn]]:
    found: dict[str, list[Drawn]] = {}
    for index, (name, model) in enumerate(document["models"].items()):
        for attack, entry in model.get("budgets", {}).items():
            found.setdefault(attack, []).append((index, titles(document)[name], entry))
    return found


def _by_queries(document: Document, attack: str, order: int, drawn: Sequence[Drawn]) -> Figure:
    few = len(drawn) <= FEW
    data: list[Json] = []
    keys = []
    for index, name, entry in drawn:
        mine = [*(_band(index, entry) if few else ()), _line(index, name, entry)]
        traces = list(range(len(data), len(data) + len(mine)))
        keys.append(Key(name=name, ink=colour(index), traces=traces, dash="solid"))
        data += mine
    most = max(entry["budgets"][-1] for _, _, entry in drawn)
    title = f"{method_title(document, attack)}, AUC by queries"
    return Figure(
        id=f"budgets-{order}",
        title=title,
        words=_words(drawn, few),
        data=data,
        layout=layout(
            xaxis=axis(
                title=titled("Queries a row"),
                type="log",
                range=[0, _log10(most)],
                tickvals=[10**power for power in range(7)],
                ticktext=[f"{10**power:,}" for power in range(7)],
            ),
            yaxis=axis(title=titled("AUC"), range=_range(drawn), nticks=7),
            shapes=[_guessing()],
        ),
        tables=[_queries_table(title, drawn)],
        legend=keys,
    )


def _by_norm(document: Document, attack: str, order: int, drawn: Sequence[Drawn]) -> Figure:
    norms = list(drawn[0][2]["norms"])
    data: list[Json] = []
    keys = []
    for turn, (index, name, entry) in enumerate(drawn):
        keys.append(Key(name=name, ink=colour(index), traces=[len(data)]))
        shift = 0.6 * ((turn + 0.5) / len(drawn) - 0.5)
        data.append(_dots(index, name, entry, [place + shift for place in range(len(norms))]))
    title = f"{method_title(document, attack)}, AUC by norm"
    measured = [label(NAMES.get(norm, norm)) for norm in norms]
    return Figure(
        id=f"norms-{order}",
        title=title,
        words="The change that turns the label, of the same run, measured in four norms: the search"
        f" itself made {NAMES.get(drawn[0][2]['norm'], drawn[0][2]['norm'])} small. Lines are the"
        " intervals, the dotted line is guessing.",
        data=data,
        layout=layout(
            xaxis=axis(
                tickvals=list(range(len(norms))),
                ticktext=measured,
                range=[-0.5, len(norms) - 0.5],
                showgrid=False,
                title=titled("Norm of the change"),
            ),
            yaxis=axis(title=titled("AUC"), range=_range(drawn), nticks=7),
            shapes=[_guessing()],
        ),
        tables=[
            Table(
                caption=title,
                columns=["Model", *measured],
                rows=[
                    [name, *(_cell(entry["norms"][norm]) for norm in norms)]
                    for _, name, entry in drawn
                ],
            )
        ],
        legend=keys,
    )


def _able(entry: Json) -> list[tuple[Number, Metric]]:
    both = zip(entry["budgets"], entry["auc"], strict=True)
    return [(queries, metric) for queries, metric in both if evaluable(metric)]


def _line(index: int, name: str, entry: Json) -> Json:
    """A staircase: between two budgets the smaller one's number holds."""
    able = _able(entry)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": label(name),
        "x": [queries for queries, _ in able],
        "y": [metric["value"] for _, metric in able],
        "line": {"shape": "hv", "color": colour(index), "width": 2.5},
        "customdata": [in_words(metric, KIND) for _, metric in able],
        "hovertemplate": "%{x:,} queries: %{customdata}<extra>%{fullData.name}</extra>",
    }


def _band(index: int, entry: Json) -> Iterator[Json]:
    """Where the intervals lie."""
    able = _able(entry)
    for end, fill in (("low", "none"), ("high", "tonexty")):
        yield {
            "type": "scatter",
            "mode": "lines",
            "name": f"{end} end of the interval",
            "x": [queries for queries, _ in able],
            "y": [metric[end] for _, metric in able],
            "line": {"shape": "hv", "width": 0, "color": colour(index)},
            "fill": fill,
            "fillcolor": f"{colour(index)}/{FAINT}",
            "hoverinfo": "skip",
        }


def _dots(index: int, name: str, entry: Json, places: Sequence[Number]) -> Json:
    both = zip(places, entry["norms"].values(), strict=True)
    able = [(place, metric) for place, metric in both if evaluable(metric)]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(name),
        "x": [place for place, _ in able],
        "y": [metric["value"] for _, metric in able],
        "marker": {"size": 9, "color": colour(index)},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [metric["high"] - metric["value"] for _, metric in able],
            "arrayminus": [metric["value"] - metric["low"] for _, metric in able],
            "color": colour(index),
            "thickness": 1.6,
            "width": 4,
        },
        "customdata": [in_words(metric, KIND) for _, metric in able],
        "hovertemplate": "%{customdata}<extra>%{fullData.name}</extra>",
    }


def _guessing() -> Json:
    return {
        "type": "line",
        "xref": "paper",
        **{"x0": 0, "x1": 1, "y0": 0.5, "y1": 0.5},
        "line": {"color": "--plot-axis", "width": 1.5, "dash": "dot"},
    }


def _range(drawn: Sequence[Drawn]) -> list[float]:
    """From a little below guessing, or below what is drawn, to a little above it."""
    every = [
        metric
        for _, _, entry in drawn
        for metric in (*entry["auc"], *entry["norms"].values())
        if evaluable(metric)
    ]
    low = min([0.5, *(float(metric["low"]) for metric in every)])
    high = max([0.6, *(float(metric["high"]) for metric in every)])
    return [max(0.0, low - 0.03), min(1.03, high + 0.03)]


def _words(drawn: Sequence[Drawn], few: bool) -> str:
    norm = drawn[0][2]["norm"]
    said = (
        "What an attacker reaches who may ask about each row so many times, read off one run:"
        " a larger budget continues the search of a smaller one. Distances are"
        f" {NAMES.get(norm, norm)}. With one query it is only known whether the label is right."
        " The dotted line is guessing"
    )
    said += ", bands are the intervals." if few else "."
    if not few:
        return said
    ends = (
        f"{name} {shown(entry['auc'][0], KIND).value} after 1 query,"
        f" {shown(entry['auc'][-1], KIND).value} after {entry['budgets'][-1]:,}"
        for _, name, entry in drawn
    )
    return f"{said} {'; '.join(ends)}."


def _queries_table(caption: str, drawn: Sequence[Drawn]) -> Table:
    asked = drawn[0][2]["budgets"]
    return Table(
        caption=caption,
        columns=["Queries a row", *(name for _, name, _ in drawn)],
        rows=[
            [f"{queries:,}", *(_cell(entry["auc"][place]) for _, _, entry in drawn)]
            for place, queries in enumerate(asked)
        ],
    )


def _cell(metric: Metric) -> str:
    print_ = shown(metric, KIND)
    return f"{print_.value} ({print_.interval or print_.reason})"


def _log10(number: Number) -> float:
    return math.log10(max(number, 2)) + 0.02
