"""How losses and confidences of members and non-members are distributed (Song et al. 2019, fig. 1)."""

import math
from collections.abc import Sequence

from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.figures import (
    Figure,
    Json,
    Table,
    axis,
    curves,
    label,
    layout,
    method_title,
    titles,
)

SIDES = (
    ("members", "Members", "--members", ""),
    ("nonmembers", "Non-members", "--nonmembers", "/"),
)


def losses(document: Document) -> list[Figure]:
    """Cross-entropy in nats: one plot a model and attack."""
    return _all(document, "loss", "Loss", "Cross-entropy loss (nats)")


def confidences(document: Document) -> list[Figure]:
    """Confidence in the true label: one plot a model and attack."""
    return _all(document, "histogram", "Confidence", "Confidence in the true label")


def _all(document: Document, part: str, what: str, unit: str) -> list[Figure]:
    drawn = list(curves(document, part))
    top = max((_top(curve[part]) for _, _, _, curve in drawn), default=1.0)
    least = min((_least(curve[part]) for _, _, _, curve in drawn), default=1.0)
    figures = []
    for index, model, attack, curve in drawn:
        name, method = titles(document)[model], method_title(document, attack)
        histogram = curve[part]
        figures.append(
            Figure(
                id=f"{part}-{index}-{list(document['models'][model]['curves']).index(attack)}",
                title=f"{name}: {what.lower()} by {method}",
                words=_words(histogram, curve.get("seed"), what),
                data=[_bars(histogram, side) for side in SIDES],
                layout=layout(
                    barmode="overlay",
                    bargap=0,
                    xaxis=_bins(histogram["edges"], unit),
                    yaxis=axis(
                        title={"text": "Share of rows"},
                        ticksuffix=" %",
                        range=[0, 105 * top],
                        nticks=6,
                    ),
                ),
                tables=[_table(name, method, histogram, unit)],
                height=280,
                log_range=(math.log10(50 * least), math.log10(130 * top)),
            )
        )
    return figures


def shares(counts: Sequence[float]) -> list[float]:
    """Counts as shares of their sum; zeros stay zeros where there is nothing."""
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def _top(histogram: Json) -> float:
    return max(max(shares(histogram[side[0]]), default=0.0) for side in SIDES) or 1.0


def _least(histogram: Json) -> float:
    """The smallest share that is not 0: where a logarithmic axis must begin."""
    some = [share for side in SIDES for share in shares(histogram[side[0]]) if share > 0]
    return min(some, default=1.0)


def _bars(histogram: Json, side: tuple[str, str, str, str]) -> Json:
    key, name, ink, pattern = side
    counts = histogram[key]
    part = shares(counts)
    return {
        "type": "bar",
        "name": name,
        "x": [index + 0.5 for index in range(len(counts))],
        "y": [100 * share for share in part],
        "width": 1,
        "opacity": 0.72 if key == "members" else 0.8,
        "marker": {
            "color": ink,
            "line": {"width": 0},
            "pattern": {"shape": pattern, "size": 5, "solidity": 0.35, "fillmode": "overlay"},
        },
        "customdata": [
            [bin_, f"{count:g}"]
            for bin_, count in zip(_names(histogram["edges"]), counts, strict=False)
        ],
        "hovertemplate": "%{customdata[0]}: %{customdata[1]} rows, %{y:.2f} %"
        f"<extra>{label(name)}</extra>",
    }


def _bins(edges: Sequence[float | None], unit: str) -> Json:
    """Bins of equal width in print, named by their edges, which may be spaced in any way."""
    step = max(1, round((len(edges) - 1) / 5))
    shown = list(range(0, len(edges), step))
    return axis(
        title={"text": unit},
        range=[0, len(edges) - 1],
        tickvals=shown,
        ticktext=[_edge(edges[index]) for index in shown],
        showgrid=False,
    )


def _edge(edge: float | None) -> str:
    return "∞" if edge is None else f"{edge:.3g}"


def _names(edges: Sequence[float | None]) -> list[str]:
    return [
        f"{_edge(low)} and more" if high is None else f"{_edge(low)} to {_edge(high)}"
        for low, high in zip(edges, edges[1:], strict=False)
    ]


def _words(histogram: Json, seed: int | None, what: str) -> str:
    counts = {key: sum(histogram[key]) for key, *_ in SIDES}
    words = f"{counts['members']:g} members and {counts['nonmembers']:g} non-members"
    words += f" of seed {seed}." if seed is not None else "."
    middle = [_median_bin(histogram, key) for key, *_ in SIDES]
    words += f" The median member lies at {middle[0]}, the median non-member at {middle[1]}."
    if "zero_members" in histogram and "zero_nonmembers" in histogram:
        words += (
            f" {what} exactly 0: {100 * histogram['zero_members']:.2f} % of the members,"
            f" {100 * histogram['zero_nonmembers']:.2f} % of the non-members."
        )
    return words


def _median_bin(histogram: Json, side: str) -> str:
    """The bin in which the median lies."""
    counts = histogram[side]
    seen, half = 0.0, sum(counts) / 2
    for name, count in zip(_names(histogram["edges"]), counts, strict=False):
        seen += count
        if seen >= half and seen:
            return name
    return "n/a"


def _table(name: str, method: str, histogram: Json, unit: str) -> Table:
    member, other = histogram["members"], histogram["nonmembers"]
    return Table(
        caption=f"{name}, {method}: rows a bin",
        columns=[unit, "Members", "Non-members"],
        rows=[
            [bin_, f"{one:g}", f"{two:g}"]
            for bin_, one, two in zip(_names(histogram["edges"]), member, other, strict=False)
        ],
    )
