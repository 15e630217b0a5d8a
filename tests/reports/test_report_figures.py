"""Plots show the document's numbers; their tables and words say the same."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.experiments.reports import histograms
from trilemma.experiments.reports.certified import certified
from trilemma.experiments.reports.figures import Figure
from trilemma.experiments.reports.glance import glance
from trilemma.experiments.reports.roc import at, roc
from trilemma.experiments.reports.tradeoff import tradeoffs

Json = dict[str, Any]
counts = st.lists(st.integers(0, 50), min_size=1, max_size=12)


def figures(document: Json) -> list[Figure]:
    curve = roc(document)
    assert curve is not None
    return [
        glance(document), curve, *histograms.losses(document), *histograms.confidences(document),
        *tradeoffs(document), *certified(document), *histograms.security(document),
    ]  # fmt: skip


def test_every_figure_is_plain_json_with_words_and_a_table(any_document: Json) -> None:
    drawn = figures(any_document)
    assert len({figure.id for figure in drawn}) == len(drawn)
    for figure in drawn:
        assert json.loads(json.dumps(figure.spec(), allow_nan=False))["id"] == figure.id
        assert figure.words
        assert figure.tables
        for table in figure.tables:
            assert all(len(row) == len(table.columns) for row in table.rows)
        switched = [trace for key in figure.legend for trace in key.traces]
        assert len(switched) == len(set(switched)) <= len(figure.data)


def test_colours_are_names_that_both_themes_know(document: Json, page_file: Any) -> None:
    def walk(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set().union(*map(walk, value.values())) if value else set()
        if isinstance(value, list | tuple):
            return set().union(*map(walk, value)) if value else set()
        return {value} if isinstance(value, str) and value.startswith("--") else set()

    used = set().union(*(walk(figure.spec()) for figure in figures(document)))
    assert used >= {"--series-1", "--series-2", "--members", "--nonmembers", "--ink"}
    for name in used:
        assert f"{name}:" in page_file("page.css")
        assert f"{name}:" in page_file("dark.css")


def test_glance_shows_value_and_interval(document: Json) -> None:
    figure = glance(document)
    robust = document["models"]["robust"]
    bars, texts = figure.data[2], figure.data[3]
    test, leak = robust["accuracy"]["test"], robust["membership"]["confidence_adversarial"]
    assert bars["x"][0] == 100 * test["value"]
    assert bars["x"][0] - bars["error_x"]["arrayminus"][0] == pytest.approx(100 * test["low"])
    assert bars["x"][0] + bars["error_x"]["array"][0] == pytest.approx(100 * test["high"])
    assert bars["x"][2] == 100 * leak["advantage"]["value"]
    assert texts["text"][0] == f"{100 * test['value']:.2f} %"
    places = [y for trace in figure.data[::2] for y in trace["y"]]
    assert len(set(places)) == len(places)  # no bar on another


def test_glance_without_a_number(named_document: Callable[[str], Json]) -> None:
    figure = glance(named_document("incomplete"))
    assert figure.data[3]["text"][1] == "n/a"
    assert "the attack failed with seed 1" in figure.tables[0].rows[1][2]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=12), st.floats(0, 1))
def test_reading_a_curve_equals_brute_force(steps: list[tuple[int, int]], level: float) -> None:
    walked = np.cumsum([(0, 0), *steps], axis=0)
    fpr, tpr = (walked / np.maximum(walked[-1], 1)).T.tolist()
    assert at(fpr, tpr, level) == max(y for x, y in zip(fpr, tpr, strict=True) if x <= level)


def test_roc_axis_ends_at_one_row(named_document: Callable[[str], Json]) -> None:
    figure = roc(named_document("recorded"))
    assert figure is not None
    low_x, low_y = (figure.layout[f"{side}axis"]["range"][0] for side in "xy")
    assert 10**low_x == pytest.approx(1 / 514, rel=0.06)
    assert 10**low_y == pytest.approx(1 / 1900, rel=0.06)
    columns = figure.tables[0].columns
    assert "FPR 0.2 %" in columns
    assert "FPR 0.1 %" not in columns  # finer than one of 514 non-members
    assert len(figure.data) == 3
    assert all(x > 0 and y > 0 for t in figure.data for x, y in zip(t["x"], t["y"], strict=True))


def test_nothing_is_interpolated(any_document: Json) -> None:
    """Between two thresholds there is none: curves and outlines are staircases."""
    lines = [t for f in figures(any_document) for t in f.data if t.get("mode") == "lines"]
    assert {t["line"].get("shape", "linear") for t in lines if t["name"] != "guessing"} == {"hv"}


def test_a_curve_that_begins_late_says_so(document: Json) -> None:
    assert "begins with a rise" not in roc(document).words  # type: ignore[union-attr]
    for model in document["models"].values():
        for curve in model["curves"].values():
            curve["roc"] = {"fpr": [0.0, 0.5, 1.0], "tpr": [0.0, 0.75, 1.0]}
    figure = roc(document)
    assert figure is not None
    assert "begins with a rise" in figure.words
    assert figure.data[1]["x"][:2] == [0.5, 0.5]


def test_no_curves_no_figure(document: Json) -> None:
    for model in document["models"].values():
        model["curves"] = {}
    assert roc(document) is None
    assert histograms.losses(document) == []


def one_histogram(document: Json, histogram: Json) -> Figure:
    document["models"] = {"natural": document["models"]["natural"]}
    document["models"]["natural"]["curves"] = {"confidence": {"seed": 0, "loss": histogram}}
    (figure,) = histograms.losses(document)
    return figure


@given(counts)
def test_shares_sum_to_one(bins: list[int]) -> None:
    found = histograms.shares(bins)
    assert sum(found) == pytest.approx(1.0 if any(bins) else 0.0)
    assert [share > 0 for share in found] == [count > 0 for count in bins]


@pytest.mark.parametrize(
    ("edges", "last"),
    [
        ([0.0, 0.5, 1.0, 1.5], "1 to 1.5"),
        ([0.0, 0.5, 1.0, None], "1 and more"),
        ([0.0, 0.1, 1.0, 10.0], "1 to 10"),
        ([0, 1, 2, 3], "2 to 3"),
    ],
)
def test_histogram_of_any_bins(edges: list[Any], last: str, document: Json) -> None:
    figure = one_histogram(
        document, {"edges": edges, "members": [7, 2, 1], "nonmembers": [0, 0, 4]}
    )
    bars, outline = figure.data
    assert bars["y"] == pytest.approx([70, 20, 10])
    assert outline["y"] == [0, 0, 100, 100]
    assert figure.tables[0].rows[-1] == [last, "1", "4"]
    assert figure.layout["xaxis"]["range"] == [0, pytest.approx(3)]


def test_an_open_last_bin_is_named_so(document: Json) -> None:
    bins = {"edges": [0.0, 1.0, 2.0], "members": [1, 1], "nonmembers": [1, 1], "open_ended": True}
    figure = one_histogram(document, {**bins, "zero_members": 0.25, "zero_nonmembers": 0.0})
    assert figure.tables[0].rows[-1][0] == "1 and more"
    assert "everything above" in figure.words
    assert "exactly 0: 25.00 % and 0.00 %" in figure.words


def test_ticks_stand_where_their_values_are(document: Json) -> None:
    for figure in histograms.losses(document):
        axis = figure.layout["xaxis"]
        for place, name in zip(axis["tickvals"], axis["ticktext"], strict=True):
            assert place * 0.2 == pytest.approx(float(name))  # the sample's bins are 0.2 wide


def test_models_share_a_scale_unless_it_dwarfs_one(document: Json) -> None:
    def scale(factor: float) -> list[tuple[float, str]]:
        model = document["models"]["robust"]["curves"]["confidence"]
        model["loss"]["edges"] = [factor * k for k in range(31)]
        drawn = [f for f in histograms.losses(document) if f.id.startswith("loss-0")]
        widths = (0.2, factor)
        return [
            (f.layout["xaxis"]["range"][1] * w, f.words) for f, w in zip(drawn, widths, strict=True)
        ]

    (one, _), (other, _) = scale(0.4)
    assert one == pytest.approx(other) == pytest.approx(12)
    (one, words), (other, _) = scale(4.0)
    assert (one, other) == (pytest.approx(6), pytest.approx(120))
    assert "differs from model to model" in words


def test_logarithmic_range_holds_every_bar(any_document: Json) -> None:
    for figure in [*histograms.losses(any_document), *histograms.confidences(any_document)]:
        assert figure.log_range is not None
        low, high = figure.log_range
        heights = [y for trace in figure.data for y in trace["y"] if y > 0]
        assert low < math.log10(min(heights))
        assert math.log10(max(heights)) < high


def test_plotly_reads_no_markup_in_names(named_document: Callable[[str], Json]) -> None:
    names = {trace.get("name", "") for f in figures(named_document("hostile")) for trace in f.data}
    assert any("&lt;/script&gt;" in name for name in names)
    assert not any("<" in name for name in names)
