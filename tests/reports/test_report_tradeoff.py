"""Leakage against robustness: marks where the numbers are, names where they can be read."""

import io
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from trilemma.experiments.reports import render_html, render_markdown, render_text, verdict
from trilemma.experiments.reports.labels import LONGEST, WIDTHS, Mark, Place, box, overlap, placed
from trilemma.experiments.reports.points import price
from trilemma.experiments.reports.tradeoff import HEIGHT, MARGINS, tradeoffs

Json = dict[str, Any]
NAMES = [f"model number {k} (9{k}.0 %)" for k in range(8)]


def marks(figure: Any) -> list[Json]:
    """The marks of models: what has error bars."""
    return [trace for trace in figure.data if "error_x" in trace]


def test_each_mark_stands_at_its_numbers_with_their_intervals(document: Json) -> None:
    (figure,) = tradeoffs(document)
    for trace, model in zip(marks(figure), document["models"].values(), strict=True):
        robust = model["accuracy"]["adversarial_test"]
        leak = max(
            (each["best_threshold_accuracy"] for each in model["membership"].values()),
            key=lambda metric: float(metric["value"]),
        )
        for axis, metric in (("x", robust), ("y", leak)):
            (place,), bar = trace[axis], trace[f"error_{axis}"]
            assert place == 100 * metric["value"]
            assert place - bar["arrayminus"][0] == pytest.approx(100 * metric["low"])
            assert place + bar["array"][0] == pytest.approx(100 * metric["high"])
    robust_model = document["models"]["robust"]
    assert f"{100 * robust_model['accuracy']['test']['value']:.1f} %" in str(figure.layout)


def test_each_seed_is_a_small_mark_and_all_lie_in_the_picture(any_document: Json) -> None:
    for figure in tradeoffs(any_document):
        seeds = [trace for trace in figure.data if trace["name"].endswith(", each seed")]
        assert len(seeds) == len(marks(figure))
        for trace in [*seeds, *marks(figure)]:
            for axis in "xy":
                low, high = figure.layout[f"{axis}axis"]["range"]
                assert all(low <= value <= high for value in trace[axis])
        for trace in seeds:
            assert len(trace["x"]) == len(any_document["provenance"]["seeds"])


def test_the_two_axes_on_the_side_say_the_same(document: Json) -> None:
    (figure,) = tradeoffs(document)
    left, right = (figure.layout[name]["range"] for name in ("yaxis", "yaxis2"))
    assert right == pytest.approx([2 * (end - 50) for end in left])


def test_one_model_has_nothing_to_be_compared_with(document: Json) -> None:
    del document["models"]["natural"]
    assert tradeoffs(document) == []
    assert price(document) == ""
    assert 'id="tradeoff"' not in render_html(document)


def test_models_without_a_number_are_named_not_drawn(
    named_document: Callable[[str], Json],
) -> None:
    document = named_document("crowd")
    document["models"]["a"]["accuracy"]["adversarial_test"] = {"not_evaluable": "lost"}
    (figure,) = tradeoffs(document)
    assert len(marks(figure)) == 8
    assert "Not drawn, for want of a number: a." in figure.words


def test_models_are_compared_by_attacks_that_all_have(document: Json) -> None:
    membership = document["models"]["natural"]["membership"]
    membership["only here"] = {
        **membership["confidence"],
        "best_threshold_accuracy": {"value": 0.99, "low": 0.98, "high": 1.0, "level": 0.95},
    }
    (figure,) = tradeoffs(document)
    assert max(value for trace in marks(figure) for value in trace["y"]) < 99


def test_what_is_proven_has_a_picture_of_its_own(named_document: Callable[[str], Json]) -> None:
    document = named_document("proven")
    attacked, proven = tradeoffs(document)
    assert [trace["x"][0] for trace in marks(attacked)] == [28.4, 74.2]
    # of two bounds in one ball the better counts
    assert [trace["x"][0] for trace in marks(proven)] == pytest.approx([2, 43.3])
    assert "by Dual" in proven.tables[0].rows[0][1]
    document["robustness"]["verified_dual"]["settings"] = {"ball": {"kind": "Linf", "radius": 0.2}}
    _, proven = tradeoffs(document)
    assert [trace["x"][0] for trace in marks(proven)] == pytest.approx([0, 41.3])


def test_autoattack_counts_where_all_models_have_it(named_document: Callable[[str], Json]) -> None:
    document = named_document("thorough")
    (figure,) = tradeoffs(document)
    assert [trace["x"][0] for trace in marks(figure)] == pytest.approx([1.0, 72.0])
    del document["models"]["natural"]["accuracy"]["autoattack_test"]
    (figure,) = tradeoffs(document)
    assert [trace["x"][0] for trace in marks(figure)] == [28.4, 74.2]


def test_the_price_is_told_in_every_form(document: Json) -> None:
    said = price(document)
    leaks = [
        max(a["best_threshold_accuracy"]["value"] for a in model["membership"].values())
        for model in document["models"].values()
    ]
    assert "“robust” is right 45.80 points more often under attack than “natural”" in said
    assert f"right {100 * (leaks[1] - leaks[0]):.2f} points more often" in said
    assert said in verdict(document)["sentences"]
    console = Console(file=io.StringIO(), width=400)
    console.print(render_text(document))
    assert said in console.file.getvalue()  # type: ignore[attr-defined]
    document["verdict"] = verdict(document)
    assert said.split(",")[0] in render_markdown(document)
    assert said in render_html(document)


def test_the_price_claims_no_more_than_the_intervals(document: Json) -> None:
    wide = {"value": 0.6, "low": 0.1, "high": 0.9, "level": 0.95}
    for model in document["models"].values():
        for metrics in model["membership"].values():
            metrics["best_threshold_accuracy"] = dict(wide)
    assert price(document).endswith("which is no clear difference.")
    for model in document["models"].values():
        model["accuracy"]["adversarial_test"] = dict(wide)
    assert "None of these models is clearly more robust" in price(document)


def test_nothing_from_outside_is_markup_in_the_picture(
    named_document: Callable[[str], Json],
) -> None:
    document = named_document("proven")
    bad = "<a href='http://e.vil'>x</a>"
    for model in document["models"].values():
        model["title"] = bad
    for about in document["robustness"].values():
        about["name"] = bad
    for method in document["methods"].values():
        method["title"] = bad
    for figure in tradeoffs(document):
        drawn = str([figure.spec()["data"], figure.spec()["layout"]])
        assert "&lt;a" in drawn
        assert "<a" not in drawn


def hidden(found: list[Mark], places: list[Place], width: float, height: float) -> float:
    """The largest share of a name that another name, or another's mark, hides."""
    boxes = [box(mark, place, width, height) for mark, place in zip(found, places, strict=True)]
    area = min((b[2] - b[0]) * (b[3] - b[1]) for b in boxes)
    worst = max((overlap(one, two) for one, two in combinations(boxes, 2)), default=0.0)
    for index, mark in enumerate(found):
        x, y = mark.x * width, (1 - mark.y) * height
        spot = (x - 6, y - 6, x + 6, y + 6)
        others = [each for other, each in enumerate(boxes) if other != index]
        worst = max([worst, *(overlap(each, spot) for each in others)])
    return worst / area


@given(
    st.lists(st.tuples(st.floats(0.03, 0.97), st.floats(0.05, 0.95)), min_size=2, max_size=8),
)
@settings(max_examples=25, deadline=None)
def test_names_of_up_to_eight_models_do_not_hide_each_other(
    places: list[tuple[float, float]],
) -> None:
    found = [Mark(x=x, y=y, name=NAMES[i]) for i, (x, y) in enumerate(places)]
    chosen = placed(found, HEIGHT - MARGINS)
    for width in WIDTHS[1:]:
        assert hidden(found, chosen, width, HEIGHT - MARGINS) < 0.15


def test_names_that_all_stand_to_the_right_would_hide_each_other() -> None:
    """Negative control: the measure sees it."""
    found = [Mark(x=0.5, y=0.5 + 0.01 * k, name=NAMES[k]) for k in range(8)]
    beside = [Place(right=True, down=0.0) for _ in found]
    assert hidden(found, beside, 480, HEIGHT - MARGINS) > 0.5
    assert hidden(found, placed(found, HEIGHT - MARGINS), 480, HEIGHT - MARGINS) < 0.15


@given(st.floats(0.02, 0.98), st.floats(0.02, 0.98))
def test_a_name_alone_stands_beside_its_mark_inside_the_picture(x: float, y: float) -> None:
    mark = Mark(x=x, y=y, name=NAMES[0])
    (place,) = placed([mark], HEIGHT - MARGINS)
    assert abs(place.down) <= 17
    for width in WIDTHS[1:]:
        left, _, right, _ = box(mark, place, width, HEIGHT - MARGINS)
        assert 0 <= left < right <= width


def test_long_names_are_cut_in_the_picture_and_whole_in_its_table(
    named_document: Callable[[str], Json],
) -> None:
    (figure,) = tradeoffs(named_document("crowd"))
    texts = [each["text"] for each in figure.layout["annotations"]]
    assert max(len(text.split(" (")[0]) for text in texts) == LONGEST
    assert "wide_residual_network_" * 3 in {row[0] for row in figure.tables[0].rows}
