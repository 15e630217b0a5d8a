"""Regions of labels in a plane: their borders as lines, their names as annotations."""

from collections.abc import Sequence
from itertools import groupby, pairwise

from trilemma.experiments.reports.document import Number
from trilemma.experiments.reports.figures import Json

Line = tuple[tuple[Number, Number], tuple[Number, Number]]


def borders(regions: Json, ink: str = "--plot-axis", width: float = 1.5) -> Json:
    """The sides of cells on which the label changes, as one trace.

    Args:
        regions: as in the document, under `regions` or `plane`.
        ink: name of the CSS variable with the lines' colour.
        width: of the lines, in CSS pixels.
    """
    x: list[Number | None] = []
    y: list[Number | None] = []
    for (x0, y0), (x1, y1) in lines(regions):
        x += [x0, x1, None]
        y += [y0, y1, None]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "where the label changes",
        "x": x,
        "y": y,
        "line": {"shape": "hv", "color": ink, "width": width},
        "hoverinfo": "skip",
    }


def lines(regions: Json) -> list[Line]:
    """The same as ends of straight lines, each as long as it can be."""
    cells = [unrolled(row) for row in regions["rows"]]
    x, y = (
        _edges(regions[side], count) for side, count in (("x", len(cells[0])), ("y", len(cells)))
    )
    found: list[Line] = []
    for place, (low, high) in enumerate(pairwise(cells), start=1):
        for first, last in _runs([a != b for a, b in zip(low, high, strict=True)]):
            found.append(((x[first], y[place]), (x[last], y[place])))
    columns = list(zip(*cells, strict=True))
    for place, (left, right) in enumerate(pairwise(columns), start=1):
        for first, last in _runs([a != b for a, b in zip(left, right, strict=True)]):
            found.append(((x[place], y[first]), (x[place], y[last])))
    return found


def names(regions: Json) -> list[Json]:
    """Each label where its region is widest."""
    return [
        {
            "x": x,
            "y": y,
            "text": str(label),
            "showarrow": False,
            "font": {"size": 14, "color": "--ink"},
            "bgcolor": "--surface",
            "bordercolor": "--plot-axis",
            "borderpad": 2,
            "opacity": 0.9,
        }
        for x, y, label in regions["names"]
    ]


def unrolled(row: Sequence[int]) -> list[int]:
    """A row of cells, from labels with how often each follows.

    >>> unrolled([3, 2, 1, 1])
    [3, 3, 1]
    """
    pairs = zip(row[::2], row[1::2], strict=True)
    return [label for label, count in pairs for _ in range(count)]


def _edges(ends: Sequence[Number], count: int) -> list[Number]:
    low, high = ends
    return [low + (high - low) * place / count for place in range(count + 1)]


def _runs(flags: Sequence[bool]) -> list[tuple[int, int]]:
    """(first, one past the last) of each run of true flags."""
    found, start = [], 0
    for flag, group in groupby(flags):
        end = start + len(list(group))
        if flag:
            found.append((start, end))
        start = end
    return found
