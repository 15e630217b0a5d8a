"""Whose adversarial examples mislead whom (Li et al. 2023, appendix C.10, figure 5)."""

from collections.abc import Mapping
from typing import Any

from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.figures import (
    Figure,
    Json,
    Table,
    axis,
    label,
    layout,
    titled,
    titles,
)
from trilemma.experiments.reports.labels import cut
from trilemma.experiments.reports.quantities import Metric, evaluable
from trilemma.experiments.reports.thefts import printed

VICTIM = "victim"
ROW, AROUND = 44, 120  # heights, in CSS pixels: of a row of cells, of what stands around them
FAINT, FULL = 0.05, 0.6  # how much of the colour cells of 0 % and 100 % have

Matrix = Mapping[str, Mapping[str, Metric]]


def matrices(document: Document) -> list[Figure]:
    """For each model: accuracy by who makes the examples (rows) and who is tried (columns)."""
    found = []
    for index, (name, model) in enumerate(document["models"].items()):
        if matrix := _matrix(model):
            heading = f"{titles(document)[name]}: adversarial examples tried on each other"
            found.append(_figure(f"transfer-{index}", heading, matrix))
    return found


def remarks(document: Document) -> list[str]:
    """In words, for each model: whose adversarial examples mislead it most, beside its own."""
    found = []
    for name, model in document["models"].items():
        matrix = _matrix(model)
        thieves = [maker for maker in matrix if maker != VICTIM]
        able = [maker for maker in thieves if evaluable(matrix[maker][VICTIM])]
        if able:
            worst = min(able, key=lambda maker: float(matrix[maker][VICTIM]["value"]))
            found.append(
                f"Of students, that of {worst} makes the adversarial examples that mislead"
                f" “{titles(document)[name]}” most: its accuracy on them is"
                f" {printed(matrix[worst][VICTIM])}, on its own {printed(matrix[VICTIM][VICTIM])}."
            )
    return found


def table(caption: str, matrix: Matrix) -> Table:
    """A row for each maker of examples, a column for each who is tried."""
    return Table(
        caption=caption,
        columns=["Examples made on", *(f"{_called(tried)} tried" for tried in matrix)],
        rows=[
            [_called(maker), *(printed(metric) for metric in row.values())]
            for maker, row in matrix.items()
        ],
    )


def _matrix(model: Mapping[str, Any]) -> Matrix:
    matrix: Matrix = model.get("extraction", {}).get("transfer", {})
    return matrix


def _called(name: str) -> str:
    return "The model" if name == VICTIM else name


def _figure(id_: str, heading: str, matrix: Matrix) -> Figure:
    names = [label(cut(_called(name))) for name in matrix]
    places = list(range(len(names)))
    ticks: Json = {"tickvals": places, "ticktext": names, "showgrid": False}
    return Figure(
        id=id_,
        title=heading,
        words="How often, in per cent, who is tried (column) is right about adversarial examples"
        " that were made on another (row); on the diagonal each is attacked by itself. Students are"
        " those after the last pass. The fainter a cell, the more its examples mislead.",
        data=[_texts(matrix, names)],
        layout=layout(
            xaxis=axis(title=_apart("Tried"), range=[-0.5, len(names) - 0.5], side="top", **ticks),
            yaxis=axis(title=_apart("Examples made on"), range=[len(names) - 0.5, -0.5], **ticks),
            shapes=[
                _shape(x, y, metric)
                for y, row in enumerate(matrix.values())
                for x, metric in enumerate(row.values())
                if evaluable(metric)
            ],
        ),
        tables=[table(heading, matrix)],
        height=ROW * len(names) + AROUND,
    )


def _apart(text: str) -> Json:
    """An axis title beyond the names along the axis."""
    return {**titled(text), "standoff": 14}


def _texts(matrix: Matrix, names: list[str]) -> Json:
    """The percentages, in their cells."""
    cells = [
        (x, y, metric)
        for y, row in enumerate(matrix.values())
        for x, metric in enumerate(row.values())
    ]
    return {
        "type": "scatter",
        "mode": "text",
        "name": "accuracy",
        "x": [x for x, _, _ in cells],
        "y": [y for _, y, _ in cells],
        "text": [f"{100 * m['value']:.0f}" if evaluable(m) else "n/a" for _, _, m in cells],
        "textfont": {"color": "--ink", "size": 14},
        "customdata": [[names[y], names[x], label(printed(m))] for x, y, m in cells],
        "hovertemplate": "made on %{customdata[0]}, %{customdata[1]} tried:"
        " %{customdata[2]}<extra></extra>",
    }


def _shape(x: int, y: int, metric: Metric) -> Json:
    """The square of a cell: shapes have the page's colours, as a heat map's scale has not."""
    share = FAINT + (FULL - FAINT) * float(metric["value"])
    return {
        "type": "rect",
        "layer": "below",
        **{"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5},
        "fillcolor": f"--series-1/{share:.3f}",
        "line": {"width": 1, "color": "--surface"},
    }
