"""What boundary attacks find without labelled rows, in every form of the report."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from trilemma.experiments.reports import render_html, render_markdown, render_text, validate
from trilemma.experiments.reports.decided import NOTHING, percentiles, saved, tables
from trilemma.metrics import Flagged, precision_at

Json = dict[str, Any]


def entry(hits: int, alarms: int) -> Json:
    flagged = Flagged(hits=hits, members=50, alarms=alarms, nonmembers=40)
    found = {
        "accuracy": flagged.balanced_accuracy(),
        "tpr": flagged.tpr(),
        "fpr": flagged.fpr(),
        "f1": flagged.f1(),
        **{f"precision_at_prior_{p:g}": precision_at(flagged, p) for p in (0.5, 0.1, 0.01)},
    }
    return {
        "threshold": 0.125,
        "prepared": 25_100,
        **{name: each.to_json() for name, each in found.items()},
    }


def by_images(hits: int, alarms: int) -> Json:
    curve = [Flagged(hits=h, members=50, alarms=h // 2, nonmembers=40).f1() for h in (5, 30, 50)]
    return {
        **entry(hits, alarms),
        "percentile": 50.0,
        "percentiles": [0.0, 50.0, 100.0],
        "f1_by_percentile": [each.to_json() for each in curve],
    }


@pytest.fixture
def judged(named_document: Callable[[str], Json]) -> Json:
    """The first model's attack was judged by images, and early by both."""
    document = copy.deepcopy(named_document("digits"))
    first, second = document["models"].values()
    attack, other = list(first["membership"])[:2]
    early = {"budget": 2500, "queries": 400.0, "saved": 0.84, "certain": 0.5}
    first["thresholds"] = {attack: by_images(40, 10), other: {**entry(45, 15), **early}}
    second["thresholds"] = {attack: by_images(20, 20)}
    return document


def test_the_document_is_valid(judged: Json) -> None:
    validate(judged)


def test_the_tables_have_each_number(judged: Json) -> None:
    images, early = tables(judged)
    assert images.columns == ["", *(model["title"] for model in judged["models"].values())]
    cells = {row[0]: row[1:] for row in images.rows}
    assert cells["Threshold on the distance"] == ["0.125", "0.125"]
    assert [cell.split(" (")[0] for cell in cells["Members found (TPR)"]] == ["80.00 %", "40.00 %"]
    assert [cell.split(" (")[0] for cell in cells["False alarms (FPR)"]] == ["25.00 %", "50.00 %"]
    assert cells["F1"][0].startswith("80.00 %")
    assert cells["Queries about random images"] == ["25,100", "25,100"]
    assert "Queries saved" not in cells
    cells = {row[0]: row[1:] for row in early.rows}
    assert cells["Queries saved"] == ["84.0 %"]
    assert cells["Queries a row"] == ["400"]
    assert cells["of at most"] == ["2,500"]


def test_the_curve_is_f1_by_percentile(judged: Json) -> None:
    (figure,) = percentiles(judged)
    assert len(figure.data) == 2
    found = judged["models"][next(iter(judged["models"]))]["thresholds"]
    expected = next(iter(found.values()))["f1_by_percentile"]
    assert figure.data[0]["x"] == [0.0, 50.0, 100.0]
    assert figure.data[0]["y"] == [100 * each["value"] for each in expected]
    for place, each in enumerate(expected):
        high = figure.data[0]["y"][place] + figure.data[0]["error_y"]["array"][place]
        assert high == pytest.approx(100 * each["high"])
    assert figure.layout["shapes"][0]["x0"] == 50
    (table,) = figure.tables
    assert [row[0] for row in table.rows] == ["0", "50", "100"]


def test_every_form_says_what_was_saved(judged: Json) -> None:
    page, text = render_html(judged), io.StringIO()
    assert 'id="decided"' in page
    assert "84.0 %" in page
    Console(file=text, width=130).print(render_text(judged))
    assert "Queries saved" in text.getvalue()
    attack, other = list(next(iter(judged["models"].values()))["membership"])[:2]
    assert saved(judged, attack) is None
    assert saved(judged, other) == ["84.0 %", NOTHING]
    assert f"| Queries saved | 84.0 % | {NOTHING} |" in render_markdown(judged)


def test_without_such_attacks_nothing_is_said(document: Json) -> None:
    assert tables(document) == []
    assert percentiles(document) == []
    assert 'id="decided"' not in render_html(document)
    assert "Queries saved" not in render_markdown(document)
