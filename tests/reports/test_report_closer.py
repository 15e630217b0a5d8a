"""A closer look and its pictures: they show the document's numbers, in every form of the report."""

import io
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trilemma.experiments.reports import budgets as by_budget
from trilemma.experiments.reports import (
    closer,
    pictures,
    render_html,
    render_markdown,
    render_text,
    validate,
)
from trilemma.experiments.reports.regions import borders, lines, unrolled
from trilemma.experiments.reports.tables import each_seed, side_by_side

Json = dict[str, Any]
grids = st.integers(1, 6).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 2), min_size=width, max_size=width), min_size=1, max_size=6
    )
)


@pytest.fixture
def looked(named_document: Callable[[str], Json]) -> Json:
    return named_document("looked")


def every(document: Json) -> list[Any]:
    return [
        *by_budget.budgets(document), *closer.answers(document), *closer.losses(document),
        *pictures.features(document), *pictures.paths(document),
    ]  # fmt: skip


def printed(document: Json) -> str:
    console = Console(file=io.StringIO(), width=130)
    console.print(render_text(document))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_every_figure_is_plain_json_with_words_and_a_table(looked: Json) -> None:
    drawn = every(looked)
    assert len(drawn) == 2 + 2 * 4 + 4 + 3 + 1
    assert len({figure.id for figure in drawn}) == len(drawn)
    for figure in drawn:
        json.dumps(figure.spec(), allow_nan=False)
        assert figure.words
        for table in figure.tables:
            assert all(len(row) == len(table.columns) for row in table.rows)
        switched = [trace for key in figure.legend for trace in key.traces]
        assert len(switched) == len(set(switched)) <= len(figure.data)


def test_colours_are_names_that_both_themes_know(looked: Json, page_file: Any) -> None:
    text = json.dumps([figure.spec() for figure in every(looked)])
    used = {part.split('"')[0].split("/")[0] for part in text.split('"--')[1:]}
    assert used >= {"series-1", "members", "nonmembers", "insecure", "surface", "plot-axis"}
    for name in used:
        assert f"--{name}:" in page_file("page.css")
        assert f"--{name}:" in page_file("dark.css")


# AUC by queries and by norm


def test_curves_are_the_numbers_by_budget_with_their_intervals(looked: Json) -> None:
    curves, norms = by_budget.budgets(looked)
    low, high, line = curves.data[:3]
    entry = looked["models"]["natural"]["budgets"]["confidence"]
    assert line["x"] == low["x"] == high["x"] == entry["budgets"]
    assert line["y"] == [metric["value"] for metric in entry["auc"]]
    assert low["y"] == [metric["low"] for metric in entry["auc"]]
    assert high["y"] == [metric["high"] for metric in entry["auc"]]
    assert {trace["line"]["shape"] for trace in curves.data} == {"hv"}
    lowest, highest = curves.layout["yaxis"]["range"]
    assert all(lowest < y < highest for trace in curves.data for y in trace["y"])
    assert 10 ** curves.layout["xaxis"]["range"][1] >= 2500
    assert "natural 0.5000 after 1 query, 0.6000 after 2,500" in curves.words
    assert norms.data[1]["y"] == [
        metric["value"]
        for metric in looked["models"]["robust"]["budgets"]["confidence"]["norms"].values()
    ]
    assert norms.layout["xaxis"]["ticktext"] == ["L0", "L1", "L2", "L∞"]
    places = [x for trace in norms.data for x in trace["x"]]
    assert len(set(places)) == len(places)  # no mark on another


def test_many_models_have_no_bands(looked: Json) -> None:
    one = looked["models"]["natural"]
    looked["models"] = {f"m{n}": one for n in range(4)}
    curves, _ = by_budget.budgets(looked)
    assert len(curves.data) == 4
    assert "bands" not in curves.words


def test_tables_have_few_budgets_and_all_norms(looked: Json) -> None:
    (rows,) = by_budget.rows(looked)
    assert [name for name, _ in rows.budgets] == [
        *("AUC after 1 query", "AUC after 10 queries", "AUC after 100 queries"),
        *("AUC after 1,000 queries", "AUC after 2,500 queries"),
    ]
    assert [len(metrics) for _, metrics in rows.every()] == [3] * 9
    assert rows.budgets[0][1][2] == by_budget.ABSENT  # the third model has no such attack
    summary = render_markdown(looked)
    assert "| AUC after 100 queries | **0.5571** (0.5271 to 0.5871) |" in summary
    assert "| AUC in L∞ | **0.5980**" in summary
    assert "AUC after 100 queries" in printed(looked)


# single answers


def test_bars_are_confidences_and_points_cross_entropies(looked: Json) -> None:
    bars, points = closer.answers(looked)[:2]
    shown = looked["models"]["natural"]["analysis"]["sides"]["target"]["answers"]["shown"]
    assert [key.name for key in bars.legend] == [
        *("Member of label 0", "Non-member of label 0", "Member of label 2"),
        "Non-member of label 2, taken for 1",
    ]
    assert len({key.ink for key in bars.legend}) == 4
    for trace, row in zip(bars.data, shown, strict=True):
        expected = [0 if loss is None else 100 * math.exp(-loss) for loss in row["losses"]]
        assert trace["y"] == pytest.approx(expected)
    for trace, row in zip(points.data, shown, strict=True):
        assert row["predicted"] not in trace["x"]
        assert trace["y"] == [row["losses"][label] for label in trace["x"]]
        assert trace["marker"]["symbol"] == ("circle" if row["member"] else "diamond-open")
    (table,) = points.tables
    assert table.columns == ["Row", "label", "predicted", "0", "1", "2", "ACE"]
    assert table.rows[0][1:5] == ["0", "0", "-", "∞"]
    assert table.rows[0][-1] == "∞"
    assert table.rows[3][-1] == f"{shown[3]['ace']:.4f}"
    assert "members 12.000 (95 % interval 11.500 to 12.500)" in points.words


def test_losses_share_a_scale_and_say_whose_they_are(looked: Json) -> None:
    figures = closer.losses(looked)
    assert [figure.title for figure in figures] == [
        *("natural: loss", "natural, its copy: loss", "natural, its shadow model: loss"),
        "robust: loss",
    ]
    assert len({tuple(figure.layout["yaxis"]["range"]) for figure in figures}) == 1
    assert "trained on none of these rows" in figures[1].words
    assert "of its own" in figures[2].words


def test_the_numbers_are_in_every_form(looked: Json) -> None:
    page, summary, terminal = render_html(looked), render_markdown(looked), printed(looked)
    for text in (page, summary, terminal):
        assert "12.000" in text  # the model's ACE
        assert "no last linear layer" in text
        assert "it takes the model and its inputs" in text
    for kind in closer.quantities(looked, closer.ALL).values():
        assert kind.label in page
        assert len(kind.short) < 23  # what the terminal has room for
    assert "shadow" not in "".join(closer.quantities(looked))  # of the model alone in short tables
    grid = next(g for g in side_by_side(looked).groups if g.title == "A closer look")
    assert len(grid.rows) == 12
    assert all(cell.spans is None for row in grid.rows for cell in row.cells)  # no share of 100 %
    seeds = [g for table in each_seed(looked) for g in table.groups if g.title == "A closer look"]
    assert len(seeds) == 2


# features and paths


@given(grids)
def test_borders_are_where_neighbours_differ(cells: list[list[int]]) -> None:
    """Brute force: each line is cut into sides of cells, and each such side is met once."""
    height, width = len(cells), len(cells[0])
    rows = [[part for label in row for part in (label, 1)] for row in cells]
    assert [unrolled(row) for row in rows] == cells
    sides = []
    for (x0, y0), (x1, y1) in lines({"x": [0, width], "y": [0, height], "rows": rows}):
        assert x0 == x1 or y0 == y1
        sides += [
            (x0 + step * (x1 != x0), y0 + step * (y1 != y0), x0 == x1)
            for step in range(round(abs(x1 - x0) + abs(y1 - y0)))
        ]
    expected = {
        (x, y, False)
        for y in range(1, height)
        for x in range(width)
        if cells[y - 1][x] != cells[y][x]
    } | {
        (x, y, True)
        for y in range(height)
        for x in range(1, width)
        if cells[y][x - 1] != cells[y][x]
    }
    assert len(sides) == len(expected)
    assert {(round(x), round(y), up) for x, y, up in sides} == expected


def test_rows_are_marked_by_side_and_by_whether_they_are_right(looked: Json) -> None:
    figure = pictures.features(looked)[0]
    found = looked["models"]["natural"]["analysis"]["sides"]["target"]["features"]
    assert figure.data[0] == borders(found["regions"])
    right = [label == said for label, said in zip(found["label"], found["predicted"], strict=True)]
    counts = {}
    for member, well, name in ((1, True, "Members"), (0, True, "Non-members"),
                               (1, False, "Misclassified members"),
                               (0, False, "Misclassified non-members")):  # fmt: skip
        counts[name] = sum(
            m == member and r == well for m, r in zip(found["member"], right, strict=True)
        )
    assert {trace["name"]: len(trace["x"]) for trace in figure.data[1:]} == counts
    assert sum(counts.values()) == 30
    assert {trace["marker"]["symbol"] for trace in figure.data[1:]} == {
        "circle",
        "circle-open",
        "x",
    }
    assert [note["text"] for note in figure.layout["annotations"]] == ["0", "1", "2"]
    assert figure.layout["yaxis"]["scaleanchor"] == "x"
    assert "not to scale" in figure.words
    assert "members 6.000 (95 % interval 5.500 to 6.500)" in figure.words
    (table,) = figure.tables
    assert sum(int(cell) for row in table.rows for cell in row[1:]) == 30


def test_what_has_no_picture_says_why(looked: Json) -> None:
    assert [figure.title for figure in pictures.features(looked)] == [
        *("natural: features before the last layer",),
        *("natural, its copy: features before the last layer",),
        *("natural, its shadow model: features before the last layer",),
    ]
    said = pictures.unseen(looked)
    assert said[0].startswith("robust: no picture of features: model has no last linear layer")
    assert said[1] == (
        "natural, member 12: no path of QEBA: no point with another label was found."
    )
    page = render_html(looked)
    assert all(sentence in page for sentence in said)
    looked["models"]["robust"]["analysis"]["pathless"] = "the model is right about no member"
    said = pictures.unseen(validate(looked))
    assert said[-1] == "robust: no search paths: the model is right about no member."


def test_a_path_is_drawn_in_its_plane_up_to_the_ball(looked: Json) -> None:
    (figure,) = pictures.paths(looked)
    path = looked["models"]["natural"]["analysis"]["paths"][0]
    walk = figure.data[1]
    assert (walk["x"], walk["y"]) == (path["along"], path["across"])
    (ball,) = figure.layout["shapes"]
    assert (ball["x0"], ball["x1"]) == (-1.0, 1.0)
    assert "distance 4, to the last (diamond) at 1, in 600 queries (seed 0)" in figure.words
    assert len(figure.tables[0].rows) == 4
    path["norm"] = "Linf"  # whose ball is no circle in this plane
    (figure,) = pictures.paths(looked)
    assert figure.layout["shapes"] == []
    assert "circle" not in figure.words


def test_without_it_no_form_speaks_of_it(document: Json) -> None:
    assert every(document) == []
    page = render_html(document)
    for text in (page, render_markdown(document), printed(document)):
        assert "AUC after" not in text
        assert "other labels" not in text
    assert 'id="closer"' not in page
    assert 'id="queries"' not in page


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("budgets", "confidence", "norm"), "L7", "is 'L7', not one of"),
        (("analysis", "sides", "target", "answers", "shown"), [], "has 0 items"),
        (("analysis", "sides", "other"), {}, "unknown key 'other'"),
        (("analysis", "paths"), [{}], "has no 'seed'"),
        (("analysis", "sides", "target", "features", "member"), [2], "is 2, not at most 1"),
    ],
)
def test_what_cannot_be_is_refused(looked: Json, where: Any, value: Any, said: str) -> None:
    inside = looked["models"]["natural"]
    for key in where[:-1]:
        inside = inside[key]
    inside[where[-1]] = value
    with pytest.raises(ValueError, match=said):
        validate(looked)
