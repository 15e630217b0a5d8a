"""Losses and confidences of members and non-members (Song et al. 2019, fig. 1)."""

import math
from collections.abc import Sequence
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
    reaches = _reaches(drawn, part)
    figures = []
    for index, model, attack, curve in drawn:
        name, method = titles(document)[model], method_title(document, attack)
        histogram = curve[part]
        figures.append(
            Figure(
                id=f"{part}-{order.index(attack)}-{index}",
                title=f"{name}: {method}, {what}",
                words=_words(
                    histogram, drawn_seed(document, curve), what, shared=reaches[attack] > 0
                ),
                data=[_bars(histogram), _stairs(histogram)],
                layout=layout(
                    barmode="overlay",
                    bargap=0,
                    xaxis=_bins(histogram, unit, reaches[attack] or _end(histogram["edges"])),
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


def shares(counts: Sequence[Number]) -> list[float]:
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


def _reaches(drawn: Sequence[tuple[int, str, str, Json]], part: str) -> dict[str, float]:
    """Attack -> where its axes end: at one value for all models, unless that dwarfs one of them."""
    ends: dict[str, list[float]] = {}
    for _, _, attack, curve in drawn:
        ends.setdefault(attack, []).append(_end(curve[part]["edges"]))
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


def _words(histogram: Json, seed: int | None, what: str, *, shared: bool) -> str:
    counts = {key: sum(histogram[key]) for key in SIDES}
    words = f"{counts['members']:g} members and {counts['nonmembers']:g} non-members"
    words += f" of seed {seed}." if seed is not None else "."
    if not shared:
        words += " The axis differs from model to model."
    if histogram.get("open_ended") or histogram["edges"][-1] is None:
        words += " The last bin also holds everything above it."
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
    for name, count in zip(_names(histogram), counts, strict=False):
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
            for bin_, one, two in zip(_names(histogram), member, other, strict=False)
        ],
    )
