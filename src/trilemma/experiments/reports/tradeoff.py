"""What robustness costs in privacy: every model's leakage against its robustness."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.figures import (
    Figure,
    Json,
    Table,
    axis,
    colour,
    label,
    layout,
    titled,
    titles,
)
from trilemma.experiments.reports.labels import Mark, Place, cut, placed
from trilemma.experiments.reports.points import (
    Point,
    attacked_accuracy,
    ball_of,
    points_of,
    proven_accuracies,
)
from trilemma.experiments.reports.quantities import (
    ACCURACIES,
    MEMBERSHIP,
    VERIFIED,
    Metric,
    Quantity,
    accuracies,
    evaluable,
    in_words,
)

FEW = 4  # more models than this are told by the table alone
HEIGHT, MARGINS = 430, 78  # CSS pixels, of which the axes and their titles take so many
BEST, ADVANTAGE = MEMBERSHIP["best_threshold_accuracy"], MEMBERSHIP["advantage"]


def tradeoffs(document: Document) -> list[Figure]:
    """Leakage against robustness under attack, and against proven robustness.

    None of a kind of robustness that fewer than two models have.
    """
    kinds, attacked = accuracies(document), attacked_accuracy(document)
    found = [_figure(document, attacked, kinds[attacked], points_of(document, [attacked]))]
    proven = proven_accuracies(document)
    if proven:
        kind = kinds[proven[0]]
        if len(proven) > 1:  # by several bounds
            name = f"{VERIFIED['test'].label}{ball_of(document, proven[0])}"
            kind = replace(kind, label=name, short=name)
        found.append(_figure(document, "verified", kind, points_of(document, proven)))
    return [figure for figure in found if figure is not None]


def _figure(document: Document, id_: str, kind: Quantity, points: Sequence[Point]) -> Figure | None:
    if len(points) < 2:
        return None
    across = _range([end for point in points for end in _ends(point.robust)])
    top = _range([0.5, *(end for point in points for end in _ends(point.leak))])[1]
    up = [50 - 0.03 * (top - 50), top]
    data = [_guessing(across)]
    for point in points:
        data += [*_seeds(point), _mark(point, kind)]
    return Figure(
        id=f"tradeoff-{id_.removesuffix('_test')}",
        title=f"Leakage against robustness: {kind.label}",
        words=_words(document, points, kind),
        data=[*data, _advantages(up)],
        layout=layout(
            xaxis=axis(
                title=titled(f"{label(_short(kind))} → more robust"), ticksuffix=" %", range=across
            ),
            yaxis=axis(
                title=titled("Accuracy of the strongest attack → leaks more"),
                ticksuffix=" %",
                range=up,
            ),
            yaxis2=axis(
                title=titled("Advantage"),
                overlaying="y",
                side="right",
                ticksuffix=" %",
                range=[2 * (end - 50) for end in up],
                showgrid=False,
            ),
            annotations=_names(points, across, up),
        ),
        tables=[_table(points, kind)],
        height=HEIGHT,
    )


def _short(kind: Quantity) -> str:
    """`PGD-20, Linf 0.1`: the axis has no room for more."""
    return kind.label.replace("Accuracy on test rows", "Test accuracy")


def _ends(metric: Metric) -> tuple[float, float]:
    high = metric["value"] if metric["high"] is None else metric["high"]
    return float(metric["low"]), float(high)


def _range(values: Sequence[float]) -> list[float]:
    """In per cent, with some air around."""
    low, high = 100 * min(values), 100 * max(values)
    air = max(2.0, 0.08 * (high - low))
    return [max(low - air, -2.0), min(high + air, 102.0)]


def _mark(point: Point, kind: Quantity) -> Json:
    lines = [
        f"{_short(kind)}: {in_words(point.robust, kind)}"
        + (f" by {point.how}" if point.how else ""),
        f"Strongest attack, {point.attack}: {in_words(point.leak, BEST)}",
        f"Advantage: {in_words(point.advantage, ADVANTAGE)}",
    ]
    if point.test is not None:
        lines.append(
            f"Accuracy on test rows as they are: {in_words(point.test, ACCURACIES['test'])}"
        )
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(point.name),
        "x": [100 * point.robust["value"]],
        "y": [100 * point.leak["value"]],
        "error_x": _bar(point.robust, point.index),
        "error_y": _bar(point.leak, point.index),
        "marker": {
            "size": 13,
            "color": colour(point.index),
            "line": {"color": "--surface", "width": 1.5},
        },
        "customdata": ["<br>".join(map(label, lines))],
        "hovertemplate": "%{customdata}<extra>%{fullData.name}</extra>",
    }


def _bar(metric: Metric, index: int) -> Json:
    low, high = _ends(metric)
    value = float(metric["value"])
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * (high - value)],
        "arrayminus": [100 * (value - low)],
        "color": colour(index),
        "thickness": 1.3,
        "width": 4,
    }


def _seeds(point: Point) -> Iterator[Json]:
    """Each seed as a small mark."""
    pairs = zip(point.robust.get("seeds", ()), point.leak.get("seeds", ()), strict=False)
    able = [(one, two) for one, two in pairs if evaluable(one) and evaluable(two)]
    if len(able) > 1:
        yield {
            "type": "scatter",
            "mode": "markers",
            "name": f"{label(point.name)}, each seed",
            "x": [100 * one["value"] for one, _ in able],
            "y": [100 * two["value"] for _, two in able],
            "marker": {"size": 6, "color": colour(point.index), "opacity": 0.55},
            "hovertemplate": "%{x:.2f} %, %{y:.2f} %<extra>%{fullData.name}</extra>",
        }


def _guessing(across: Sequence[float]) -> Json:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "guessing",
        "x": list(across),
        "y": [50, 50],
        "line": {"color": "--muted", "width": 1.5, "dash": "dot"},
        "hoverinfo": "skip",
    }


def _advantages(up: Sequence[float]) -> Json:
    """Nothing to see: an axis is drawn only where something stands on it."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "",
        "x": [None],
        "y": [2 * (up[0] - 50)],
        "yaxis": "y2",
        "hoverinfo": "skip",
    }


def _names(points: Sequence[Point], across: Sequence[float], up: Sequence[float]) -> list[Json]:
    """Each model's name beside its mark, with a line to it where they stand apart."""
    marks = [
        Mark(
            x=_share(100 * float(point.robust["value"]), across),
            y=_share(100 * float(point.leak["value"]), up),
            name=_named(point),
        )
        for point in points
    ]
    places = placed(marks, HEIGHT - MARGINS)
    return [_name(*each) for each in zip(points, marks, places, strict=True)]


def _name(point: Point, mark: Mark, place: Place) -> Json:
    return {
        "x": 100 * point.robust["value"],
        "y": 100 * point.leak["value"],
        "text": label(mark.name),
        "ax": 11 if place.right else -11,
        "ay": place.down,
        "xanchor": "left" if place.right else "right",
        "yanchor": "middle",
        "showarrow": True,
        "arrowhead": 0,
        "arrowwidth": 1,
        "arrowcolor": colour(point.index),
        "standoff": 7,
        "bgcolor": "--surface",
        "borderpad": 1,
        "font": {"color": "--ink", "size": 12.5},
    }


def _named(point: Point) -> str:
    """`robust (98.1 %)`: the test accuracy in brackets."""
    test = point.test
    rest = f" ({100 * test['value']:.1f} %)" if test and evaluable(test) else ""
    return cut(point.name) + rest


def _share(value: float, ends: Sequence[float]) -> float:
    return (value - ends[0]) / (ends[1] - ends[0])


def _words(document: Document, points: Sequence[Point], kind: Quantity) -> str:
    said = (
        "Further right a model withstands more, further up it gives away more about its members;"
        " the dotted line is guessing, bottom right is best. In brackets the accuracy on test rows"
        " as they are; lines are the intervals"
    )
    several = len(document["provenance"]["seeds"]) > 1
    said += ", small marks the single seeds." if several else "."
    if any(point.how for point in points):
        said += " Of several bounds the one that proves most counts."
    if len(points) <= FEW:
        numbers = (
            f"{p.name} {kind.show(p.robust['value'])} and {BEST.show(p.leak['value'])}"
            for p in points
        )
        said += f" Robustness and leakage: {'; '.join(numbers)}."
    lost = [t for t in titles(document).values() if t not in {point.name for point in points}]
    if lost:
        said += f" Not drawn, for want of a number: {', '.join(lost)}."
    return said


def _table(points: Sequence[Point], kind: Quantity) -> Table:
    return Table(
        caption=f"Leakage against robustness: {kind.label}",
        columns=[
            "Model",
            kind.label,
            BEST.label,
            ADVANTAGE.label,
            "Strongest attack",
            "Test accuracy",
        ],
        rows=[
            [
                point.name,
                in_words(point.robust, kind) + (f" by {point.how}" if point.how else ""),
                in_words(point.leak, BEST),
                in_words(point.advantage, ADVANTAGE),
                point.attack,
                in_words(point.test, ACCURACIES["test"]) if point.test else "n/a",
            ]
            for point in sorted(points, key=lambda p: -float(p.robust["value"]))
        ],
    )
