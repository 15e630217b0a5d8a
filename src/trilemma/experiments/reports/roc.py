"""ROC curves on logarithmic axes: what an attacker finds at few false alarms."""

import math
from bisect import bisect_right
from collections.abc import Sequence

from trilemma.experiments.reports.document import Document, Number
from trilemma.experiments.reports.figures import (
    DASHES,
    Figure,
    Json,
    Key,
    Table,
    axis,
    colour,
    curves,
    label,
    layout,
    method_title,
    titled,
    titles,
)

Drawn = tuple[int, str, str, Json]

TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
MINOR = [digit * tick for tick in TICKS[:-1] for digit in (2, 3, 4, 5, 6, 7, 8, 9)]
STEPS = (1e-5, 1e-4, 1e-3, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def roc(document: Document) -> Figure | None:
    """All models and attacks; the axes end at one row, below which nothing can be seen."""
    drawn = list(curves(document, "roc"))
    if not drawn:
        return None
    attacks = list(dict.fromkeys(attack for _, _, attack, _ in drawn))
    fewest = _floor(document, "nonmembers")
    lowest = min(fewest, _floor(document, "members"))
    names = titles(document)
    traces = [_chance(lowest)]
    keys = [Key(name="guessing", ink="--muted", traces=[0], dash="dot")]
    for index, model, attack, curve in drawn:
        name = f"{names[model]} · {method_title(document, attack)}"
        dash = DASHES[attacks.index(attack) % len(DASHES)]
        keys.append(Key(name=name, ink=colour(index), traces=[len(traces)], dash=dash))
        traces.append(_trace(name, colour(index), dash, curve["roc"], fewest))
    return Figure(
        id="roc",
        title="ROC curves of every attack on every model, on logarithmic axes",
        words=_words(document, drawn, fewest),
        data=traces,
        layout=layout(
            xaxis=_log("False alarms (FPR)", fewest),
            yaxis=_log("Members found (TPR)", lowest),
        ),
        tables=[_table(document, drawn, fewest)],
        legend=keys,
        height=440,
    )


def at(fpr: Sequence[Number], tpr: Sequence[Number], level: Number) -> Number:
    """The highest TPR at an FPR of at most `level`, without interpolation; `fpr` ascends."""
    reached = tpr[: bisect_right(fpr, level)]
    return max(reached, default=0.0)


def _floor(document: Document, side: str) -> float:
    counts = [model["rows"].get(side) for model in document["models"].values()]
    return 1 / max([count for count in counts if count], default=1000)


def _trace(name: str, ink: str, dash: str, curve: Json, floor: Number) -> Json:
    """A staircase; what is reached without any false alarm comes in from the left edge."""
    points = [
        (max(x, floor / 4), y) for x, y in zip(curve["fpr"], curve["tpr"], strict=True) if y > 0
    ]
    rise = [(points[0][0], 1e-9)] if _late(curve, floor) else []
    return {
        "type": "scatter",
        "mode": "lines",
        "name": label(name),
        "x": [x for x, _ in rise + points],
        "y": [y for _, y in rise + points],
        "line": {"shape": "hv", "color": ink, "dash": dash, "width": 2},
        "hovertemplate": "FPR %{x:.2%}, TPR %{y:.2%}<extra>%{fullData.name}</extra>",
    }


def _late(curve: Json, floor: Number) -> bool:
    """Whether the curve begins inside the picture: the highest score is shared by many rows."""
    begins = [x for x, y in zip(curve["fpr"], curve["tpr"], strict=True) if y > 0]
    return bool(begins) and begins[0] > floor


def _chance(floor: Number) -> Json:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "guessing",
        "x": [floor / 4, 1],
        "y": [floor / 4, 1],
        "line": {"color": "--muted", "width": 1.5, "dash": "dot"},
        "hoverinfo": "skip",
    }


def _log(title: str, floor: Number) -> Json:
    return axis(
        type="log",
        title=titled(title),
        range=[math.log10(floor) - 0.02, 0.03],
        tickvals=list(TICKS),
        ticktext=[f"{100 * tick:g} %" for tick in TICKS],
        minor={
            "tickvals": MINOR,
            "showgrid": True,
            "gridcolor": "--plot-minor",
            "ticks": "outside",
        },
    )


def _words(document: Document, drawn: Sequence[Drawn], floor: Number) -> str:
    words = (
        f"{len(drawn)} {'curve' if len(drawn) == 1 else 'curves'} on logarithmic axes: the share"
        " of members found (TPR) against the share of non-members taken for members (FPR). Guessing"
        " is the dotted diagonal; a curve above it on the left finds some members with hardly any"
        f" false alarm. The axis ends at {100 * floor:.2g} %: one non-member."
    )
    if any(_late(curve["roc"], floor) for *_, curve in drawn):
        words += (
            " A curve that begins with a rise further right cannot do with fewer false alarms: too"
            " many rows share the highest score."
        )
    if len(document["provenance"]["seeds"]) > 1:
        words += " The rows are those of one seed, named in the table."
    return words


def _table(document: Document, drawn: Sequence[Drawn], floor: Number) -> Table:
    names = titles(document)
    levels = [step for step in STEPS if step >= floor]
    many = len(document["provenance"]["seeds"]) > 1
    rows = []
    for _, model, attack, curve in drawn:
        seed = f" (seed {curve['seed']})" if many and curve.get("seed") is not None else ""
        fpr, tpr = curve["roc"]["fpr"], curve["roc"]["tpr"]
        values = [f"{100 * at(fpr, tpr, level):.2f} %" for level in levels]
        rows.append([f"{names[model]}, {method_title(document, attack)}{seed}", *values])
    return Table(
        caption="Members found (TPR) at a given share of false alarms (FPR), read off the curves",
        columns=["Model, attack", *(f"FPR {100 * level:g} %" for level in levels)],
        rows=rows,
    )
