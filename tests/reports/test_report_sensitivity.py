"""What leaving members out changed, in every form of the report."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from trilemma.experiments.reports import render_html, render_markdown, render_text, validate
from trilemma.experiments.reports.sensitivity import QUANTITIES, numbers, sensitivities
from trilemma.experiments.reports.tables import each_seed, side_by_side

Json = dict[str, Any]
WHY = "how this model was trained is not declared"


@pytest.fixture
def retrained(named_document: Callable[[str], Json]) -> Json:
    return named_document("retrained")


def printed(document: Json) -> str:
    console = Console(file=io.StringIO(), width=130)
    console.print(render_text(document))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_lines_are_the_points_of_all_seeds_in_ascending_order(retrained: Json) -> None:
    (figure,) = sensitivities(retrained)
    assert [key.name for key in figure.legend] == [
        f"{model}, {part}" for model in ("natural", "robust") for part in ("left out", "stayed")
    ]
    for index, name in enumerate(("natural", "robust")):
        values = retrained["models"][name]["sensitivity"]["values"]
        for trace, part in zip(figure.data[2 * index :], ("left_out", "stayed"), strict=False):
            every = sorted(value for seed in values for value in seed[part])
            assert trace["y"] == [*every, every[-1]]
            assert trace["x"] == list(range(181))
            assert trace["line"]["color"] == f"--series-{index + 1}"
    assert figure.data[0]["line"]["dash"] != figure.data[1]["line"]["dash"]


def test_the_words_and_the_table_say_the_same(retrained: Json) -> None:
    (figure,) = sensitivities(retrained)
    assert (
        "180 training points of each model, left out in 18 retrainings over 3 seeds" in figure.words
    )
    assert "natural 0.3800 (95 % interval 0.3400 to 0.4200)" in figure.words
    (table,) = figure.tables
    assert [row[0] for row in table.rows] == [key.name for key in figure.legend]
    for row, trace in zip(table.rows, figure.data, strict=True):
        assert row[1] == f"{trace['y'][0]:.4f}"
        assert row[5] == f"{trace['y'][-1]:.4f}"
        middle = (trace["y"][89] + trace["y"][90]) / 2
        assert row[3] == f"{middle:.4f}"
        assert [float(cell) for cell in row[1:]] == sorted(float(cell) for cell in row[1:])


def test_every_form_has_the_numbers_and_the_reason(retrained: Json) -> None:
    page, summary, terminal = render_html(retrained), render_markdown(retrained), printed(retrained)
    for text in (page, summary, terminal):
        assert "0.3800" in text  # the influence
        assert "-0.0200" in text  # the mean, below 0
        assert WHY in text
    for kind in QUANTITIES.values():
        assert kind.label in page
        assert len(kind.short) < 23  # what the terminal has room for
    assert "Influence: sensitivity less noise" in summary
    assert 'id="plot-sensitivity"' in page
    grid = next(g for g in side_by_side(retrained).groups if "left out" in g.title)
    assert len(grid.rows) == len(QUANTITIES)
    assert all(cell.spans is None for row in grid.rows for cell in row.cells)  # no share of 100 %
    seeds = [g for table in each_seed(retrained) for g in table.groups if "left out" in g.title]
    assert len(seeds) == 2


def test_without_it_no_form_speaks_of_it(document: Json) -> None:
    assert sensitivities(document) == []
    assert numbers(document["models"]["natural"]) == {}
    for text in (render_html(document), render_markdown(document), printed(document)):
        assert "nfluence" not in text
        assert "left out" not in text


def test_where_no_model_could_be_retrained_there_are_reasons_and_no_picture(
    retrained: Json,
) -> None:
    del retrained["models"]["natural"], retrained["models"]["robust"]
    validate(retrained)
    assert sensitivities(retrained) == []
    page = render_html(retrained)
    assert 'id="sensitivity"' not in page
    assert WHY in page


def test_one_seed_is_not_called_several(retrained: Json) -> None:
    for about in retrained["models"].values():
        about["sensitivity"]["values"] = about["sensitivity"]["values"][:1]
    (figure,) = sensitivities(validate(retrained))
    assert "left out in 6 retrainings. " in figure.words


@pytest.mark.parametrize("part", ["left_out", "stayed"])
def test_points_that_cannot_be_are_refused(retrained: Json, part: str) -> None:
    points = retrained["models"]["natural"]["sensitivity"]["values"][0][part]
    points[-1] = 1.5
    with pytest.raises(ValueError, match=f"{part} > 59: is 1.5, not at most 1"):
        validate(retrained)
    del points[1:]
    points[0] = 0.5
    with pytest.raises(ValueError, match="has 1 items, fewer than 2"):
        validate(retrained)
