"""Losses and confidences of members and non-members, of secure and insecure rows (figs. 1, 7).

Song, Shokri and Mittal, CCS 2019.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from trilemma.experiments.reports.document import Document, Number
from trilemma.experiments.reports.figures import (
    Figure,
    Json,
    Table,
    attacks,
    axis,
    curves,
    drawn_seed,
    layout,
    method_title,
    titled,
    titles,
)

DWARFED = 4  # axes that would be stretched more than this stay different


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of two samples.

    Args:
        key: under which its counts stand.
        name: for legends and tables.
        words: what its rows are, in a sentence.
        ink: name of the CSS variable with its colour.
    """

    key: str
    name: str
    words: str
    ink: str


Sides = tuple[Side, Side]
MEMBERSHIP: Sides = (
    Side(key="members", name="Members", words="members", ink="--members"),
    Side(key="nonmembers", name="Non-members", words="non-members", ink="--nonmembers"),
)
SECURITY: Sides = (
    Side(key="secure", name="Secure", words="secure non-members", ink="--secure"),
    Side(key="insecure", name="Insecure", words="insecure ones", ink="--insecure"),
)


def losses(document: Document) -> list[Figure]:
    """Cross-entropy in nats: one plot a model and attack."""
    return _all(document, "loss", "loss", "Cross-entropy loss (nats)")


def confidences(document: Document) -> list[Figure]:
    """Confidence in the true label: one plot a model and attack."""
    return _all(document, "histogram", "confidence", "Confidence in the true label")


def security(document: Document) -> list[Figure]:
    """Losses of secure and of insecure non-members as they are: one plot a model (fig. 7)."""
    drawn = [
        Panel(
            id=f"security-{index}",
            group="security",
            title=f"{titles(document)[name]}: loss, secure and insecure non-members",
            caption=f"{titles(document)[name]}, non-members",
            histogram=model["security"]["loss"],
            seed=drawn_seed(document, model["security"]["loss"]),
        )
        for index, (name, model) in enumerate(document["models"].items())
        if "loss" in model.get("security", {})
    ]
    return panels(drawn, "loss", "Cross-entropy loss (nats)", SECURITY)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One histogram; those of a group share a scale, unless that dwarfs one of them.

    Args:
        id: unique in the page.
        group: of a shared scale.
        title: of the plot.
        caption: of its table.
        histogram: as in the document.
        seed: whose rows are counted; None for those of recorded predictions.
    """

    id: str
    group: str
    title: str
    caption: str
    histogram: Json
    seed: int | None


def _all(document: Document, part: str, what: str, unit: str) -> list[Figure]:
    order = attacks(document)
    drawn = sorted(curves(document, part), key=lambda each: (order.index(each[2]), each[0]))
    every = []
    for index, model, attack, curve in drawn:
        name, method = titles(document)[model], method_title(document, attack)
        every.append(
            Panel(
                id=f"{part}-{order.index(attack)}-{index}",
                group=attack,
                title=f"{name}: {method}, {what}",
                caption=f"{name}, {method}",
                histogram=curve[part],
                seed=drawn_seed(document, curve),
            )
        )
    return panels(every, what, unit, MEMBERSHIP)


def panels(drawn: Sequence[Panel], what: str, unit: str, sides: Sides) -> list[Figure]:
    """One plot a histogram, all with the same upward axis.

    Args:
        drawn: the histograms.
        what: is counted, in a sentence.
        unit: of it, for the axis.
        sides: of each histogram.
    """
    top = max((_top(panel.histogram, sides) for panel in drawn), default=1.0)
    least = min((_least(panel.histogram, sides) for panel in drawn), default=1.0)
    reaches = _reaches(drawn)
    figures = []
    for panel in drawn:
        histogram, reach = panel.histogram, reaches[panel.group]
        figures.append(
            Figure(
                id=panel.id,
                title=panel.title,
                words=_words(histogram, panel.seed, what, sides, shared=reach > 0),
                data=[_bars(histogram, sides[0]), _stairs(histogram, sides[1])],
                layout=layout(
                    barmode="overlay",
                    bargap=0,
                    xaxis=_bins(histogram, unit, reach or _end(histogram["edges"])),
                    yaxis=axis(
                        title=titled("Share of rows"),
                        ticksuffix=" %",
                        range=[0, 105 * top],
                        nticks=6,
                    ),
                ),
                tables=[_table(panel.caption, histogram, unit, sides)],
                height=280,
                log_range=(math.log10(50 * least), math.log10(130 * top)),
            )
        )
    return figures


def shares(counts: Sequence[Number]) -> list[float]:
    """Counts as shares of their sum; zeros stay zeros where there is nothing."""
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def _top(histogram: Json, sides: Sides) -> float:
    return max(max(shares(histogram[side.key]), default=0.0) for side in sides) or 1.0


def _least(histogram: Json, sides: Sides) -> float:
    """The smallest share that is not 0: where a logarithmic axis must begin."""
    some = [share for side in sides for share in shares(histogram[side.key]) if share > 0]
    return min(some, default=1.0)


def _bars(histogram: Json, side: Side) -> Json:
    """One side as filled bars."""
    counts = histogram[side.key]
    return {
        "type": "bar",
        "name": side.name,
        "x": [index + 0.5 for index in range(len(counts))],
        "y": [100 * share for share in shares(counts)],
        "width": 1,
        "marker": {"color": side.ink, "line": {"width": 0}},
        **_hover(histogram, side.key),
    }


def _stairs(histogram: Json, side: Side) -> Json:
    """The other one as the outline of its bars, so that neither side covers the other."""
    part = [100 * share for share in shares(histogram[side.key])]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": side.name,
        "x": list(range(len(part) + 1)),
        "y": [*part, *part[-1:]],
        "line": {"shape": "hv", "color": side.ink, "width": 2.5},
        **_hover(histogram, side.key),
    }


def _hover(histogram: Json, side: str) -> Json:
    named = zip(_names(histogram), histogram[side], strict=False)
    return {
        "customdata": [[bin_, f"{count:g}"] for bin_, count in named],
        "hovertemplate": "%{customdata[0]}: %{customdata[1]} rows, %{y:.2f} %"
        "<extra>%{fullData.name}</extra>",
    }


def _bins(histogram: Json, unit: str, reach: Number) -> Json:
    """An axis of bin numbers, named by the edges' values.

    Args:
        reach: the value at which the axis ends, for bins of one width.
    """
    edges = histogram["edges"]
    width = _width(edges)
    if width is None:  # bins of any kind, drawn equally wide
        step = max(1, round((len(edges) - 1) / 5))
        places = list(range(0, len(edges), step))
        names = [_edge(edges[place]) for place in places]
        end = float(len(edges) - 1)
    else:
        values = _round_values(edges[0], reach)
        places = [(value - edges[0]) / width for value in values]
        names = [f"{value:g}" for value in values]
        end = (reach - edges[0]) / width
    return axis(title=titled(unit), range=[0, end], tickvals=places, ticktext=names, showgrid=False)


def _width(edges: Sequence[Number | None]) -> float | None:
    """The width of all bins but an open last one; None where it differs or is unknown."""
    closed = [edge for edge in edges if edge is not None]
    widths = [high - low for low, high in pairwise(closed)]
    if not widths or max(widths) - min(widths) > 1e-6 * max(widths) or max(widths) <= 0:
        return None
    return (closed[-1] - closed[0]) / len(widths)


def _end(edges: Sequence[Number | None]) -> float:
    """Where the last bin ends, or would if it were as wide as the others."""
    width = _width(edges)
    return (edges[0] or 0.0) + (len(edges) - 1) * width if width else 0.0


def _reaches(drawn: Sequence[Panel]) -> dict[str, float]:
    """Group -> where its axes end: at one value for all models, unless that dwarfs one of them."""
    ends: dict[str, list[float]] = {}
    for panel in drawn:
        ends.setdefault(panel.group, []).append(_end(panel.histogram["edges"]))
    return {a: max(each) if max(each) <= DWARFED * min(each) else 0.0 for a, each in ends.items()}


def _round_values(low: Number, high: Number) -> list[float]:
    """Some five round numbers from `low` to `high`."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= 0.999 * raw)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _edge(edge: Number | None) -> str:
    return "∞" if edge is None else f"{edge:.3g}"


def _names(histogram: Json) -> list[str]:
    """The bins in words."""
    edges = list(histogram["edges"])
    if histogram.get("open_ended"):
        edges[-1] = None
    return [
        f"{_edge(low)} and more" if high is None else f"{_edge(low)} to {_edge(high)}"
        for low, high in pairwise(edges)
    ]


def _words(histogram: Json, seed: int | None, what: str, sides: Sides, *, shared: bool) -> str:
    words = " and ".join(f"{sum(histogram[side.key]):g} {side.words}" for side in sides)
    words += f" of seed {seed}." if seed is not None else "."
    if not shared:
        words += " The axis differs from model to model."
    if histogram.get("open_ended") or histogram["edges"][-1] is None:
        words += " The last bin also holds everything above it."
    middle = [f"{_median_bin(histogram, s.key)} ({s.name.lower()})" for s in sides]
    words += f" Medians in the bins {', '.join(middle)}."
    zero = [100 * histogram.get(f"zero_{side.key}", 0.0) for side in sides]
    if any(zero):
        words += f" {what.capitalize()} exactly 0: {zero[0]:.2f} % and {zero[1]:.2f} %."
    return words


def _median_bin(histogram: Json, side: str) -> str:
    """The bin in which the median lies."""
    counts = histogram[side]
    seen, half = 0.0, sum(counts) / 2
    for name, count in zip(_names(histogram), counts, strict=False):
        seen += count
        if seen >= half and seen:
            return name
    return "n/a"


def _table(caption: str, histogram: Json, unit: str, sides: Sides) -> Table:
    member, other = (histogram[side.key] for side in sides)
    return Table(
        caption=f"{caption}: rows a bin",
        columns=[unit, *(side.name for side in sides)],
        rows=[
            [bin_, f"{one:g}", f"{two:g}"]
            for bin_, one, two in zip(_names(histogram), member, other, strict=False)
        ],
    )
