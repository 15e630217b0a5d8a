"""Losses and confidences of members and non-members (Song et al. 2019, fig. 1)."""

import math
from collections.abc import Sequence
from itertools import pairwise

from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.figures import (
    Figure,
    Json,
    Table,
    attacks,
    axis,
    curves,
    layout,
    method_title,
    titled,
    titles,
)

SIDES = ("members", "nonmembers")


def losses(document: Document) -> list[Figure]:
    """Cross-entropy in nats: one plot a model and attack."""
    return _all(document, "loss", "loss", "Cross-entropy loss (nats)")


def confidences(document: Document) -> list[Figure]:
    """Confidence in the true label: one plot a model and attack."""
    return _all(document, "histogram", "confidence", "Confidence in the true label")


def _all(document: Document, part: str, what: str, unit: str) -> list[Figure]:
    order = attacks(document)
    drawn = sorted(curves(document, part), key=lambda each: (order.index(each[2]), each[0]))
    top = max((_top(curve[part]) for _, _, _, curve in drawn), default=1.0)
    least = min((_least(curve[part]) for _, _, _, curve in drawn), default=1.0)
    figures = []
    for index, model, attack, curve in drawn:
        name, method = titles(document)[model], method_title(document, attack)
        histogram = curve[part]
        figures.append(
            Figure(
                id=f"{part}-{order.index(attack)}-{index}",
                title=f"{name}: {what} · {method}",
                words=_words(histogram, curve.get("seed"), what),
                data=[_bars(histogram), _stairs(histogram)],
                layout=layout(
                    barmode="overlay",
                    bargap=0,
                    xaxis=_bins(histogram["edges"], unit),
                    yaxis=axis(
                        title=titled("Share of rows"),
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
    return max(max(shares(histogram[side]), default=0.0) for side in SIDES) or 1.0


def _least(histogram: Json) -> float:
    """The smallest share that is not 0: where a logarithmic axis must begin."""
    some = [share for side in SIDES for share in shares(histogram[side]) if share > 0]
    return min(some, default=1.0)


def _bars(histogram: Json) -> Json:
    """Members as filled bars."""
    counts = histogram["members"]
    return {
        "type": "bar",
        "name": "Members",
        "x": [index + 0.5 for index in range(len(counts))],
        "y": [100 * share for share in shares(counts)],
        "width": 1,
        "marker": {"color": "--members", "line": {"width": 0}},
        **_hover(histogram, "members"),
    }


def _stairs(histogram: Json) -> Json:
    """Non-members as the outline of their bars, so that neither side covers the other."""
    part = [100 * share for share in shares(histogram["nonmembers"])]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "Non-members",
        "x": list(range(len(part) + 1)),
        "y": [*part, *part[-1:]],
        "line": {"shape": "hv", "color": "--nonmembers", "width": 2.5},
        **_hover(histogram, "nonmembers"),
    }


def _hover(histogram: Json, side: str) -> Json:
    named = zip(_names(histogram["edges"]), histogram[side], strict=False)
    return {
        "customdata": [[bin_, f"{count:g}"] for bin_, count in named],
        "hovertemplate": "%{customdata[0]}: %{customdata[1]} rows, %{y:.2f} %"
        "<extra>%{fullData.name}</extra>",
    }


def _bins(edges: Sequence[float | None], unit: str) -> Json:
    """Bins of equal width in print, named by their edges, which may be spaced in any way."""
    step = max(1, round((len(edges) - 1) / 5))
    shown = list(range(0, len(edges), step))
    return axis(
        title=titled(unit),
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
        for low, high in pairwise(edges)
    ]


def _words(histogram: Json, seed: int | None, what: str) -> str:
    counts = {key: sum(histogram[key]) for key in SIDES}
    words = f"{counts['members']:g} members and {counts['nonmembers']:g} non-members"
    words += f" of seed {seed}." if seed is not None else "."
    middle = [_median_bin(histogram, key) for key in SIDES]
    words += f" Medians in the bins {middle[0]} (members), {middle[1]} (non-members)."
    if histogram.get("zero_members") or histogram.get("zero_nonmembers"):
        zero = [100 * histogram.get(f"zero_{key}", 0.0) for key in SIDES]
        words += f" {what.capitalize()} exactly 0: {zero[0]:.2f} % and {zero[1]:.2f} %."
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
