"""Certified radii and secure rows in the reports: the document's numbers, in every form."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from trilemma.experiments.reports import histograms, render_html, render_markdown, render_text
from trilemma.experiments.reports.certified import by_radius, certified
from trilemma.experiments.reports.security import counts, numbers, quantities

Json = dict[str, Any]


@pytest.fixture
def proven(named_document: Callable[[str], Json]) -> Json:
    return named_document("proven")


def test_the_curves_are_the_documents_and_claim_nothing_between_radii(proven: Json) -> None:
    figures = certified(proven)
    assert [figure.id for figure in figures] == ["certified-verified", "certified-noise"]
    for figure in figures:
        id_ = figure.id.removeprefix("certified-")
        curves = [trace for trace in figure.data if trace["mode"] == "lines+markers"]
        assert len(curves) == 4
        expected = [
            [100 * metric["value"] for metric in model["certified"][id_][part]]
            for model in proven["models"].values()
            for part in ("train", "test")
        ]
        assert [trace["y"] for trace in curves] == expected
        for trace in curves:
            assert trace["line"]["shape"] == "vh"  # up to a radius what holds at it
            assert trace["y"] == sorted(trace["y"], reverse=True)
        # members and non-members of a model share its colour, and differ in their lines
        assert [t["line"]["dash"] for t in curves] == ["dash", "solid"] * 2
        assert curves[0]["line"]["color"] == curves[1]["line"]["color"]
        switched = sorted(trace for key in figure.legend for trace in key.traces)
        assert switched == list(range(len(figure.data)))


def test_the_attacks_accuracy_stands_at_its_radius_where_the_norm_is_the_same(proven: Json) -> None:
    bounds, noise = certified(proven)
    marks = [trace for trace in bounds.data if "symbol" in trace["marker"]]
    assert [trace["x"] for trace in marks] == [[0.1]] * 4
    accuracy = proven["models"]["robust"]["accuracy"]
    assert [t["y"][0] for t in marks[2:]] == [
        100 * accuracy[f"adversarial_{part}"]["value"] for part in ("test", "train")
    ]
    assert not [trace for trace in noise.data if "symbol" in trace["marker"]]  # Linf beside L2
    assert "no bounds can prove more" in bounds.words
    assert "up to chance" in noise.words
    proven["robustness"]["adversarial"]["settings"] = {}
    assert len(certified(proven)[0].data) == 4


def test_rows_drawn_at_random_are_counted(proven: Json) -> None:
    assert (
        "Drawn at random for this: 256 members and 300 non-members." in certified(proven)[0].words
    )
    for model in proven["models"].values():
        model["rows"] = {"members": 256, "nonmembers": 300}
    assert "at random" not in certified(proven)[0].words


def test_many_models_are_drawn_without_intervals(proven: Json) -> None:
    assert any("error_y" in trace for trace in certified(proven)[0].data)
    model = proven["models"]["robust"]
    proven["models"] |= {name: {**model, "title": name} for name in "abc"}
    assert not any("error_y" in trace for trace in certified(proven)[0].data)
    assert len(certified(proven)[0].tables[0].rows) == 10  # they are in the table


def test_tables_in_text_and_markdown_have_the_shares(proven: Json) -> None:
    shares = proven["models"]["robust"]["certified"]["verified"]["test"]
    (rows, _) = by_radius(proven)
    assert [radius for radius, _ in rows.brief] == pytest.approx([0, 0.05, 0.1, 0.2])
    assert [metrics[1] for _, metrics in rows.rows] == shares
    markdown = render_markdown(proven)
    console = Console(file=io.StringIO(), width=120)
    console.print(render_text(proven))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Test rows certified by Interval, by L∞ radius" in markdown
    assert "radius 0.1" in printed
    for place in (0, 2, 4, 7):
        assert f"{100 * shares[place]['value']:.2f} %" in printed
    for share in shares:
        assert f"**{100 * share['value']:.2f} %**" in markdown


def test_a_model_that_was_not_certified_has_a_gap(proven: Json) -> None:
    del proven["models"]["natural"]["certified"]
    rows, _ = by_radius(proven)
    assert all("not_evaluable" in metrics[0] for _, metrics in rows.rows)
    assert "robust" in render_html(proven)
    assert len(certified(proven)[0].legend) == 1


def test_the_pictures_are_in_the_page_only_where_there_is_something(
    proven: Json, document: Json
) -> None:
    page = render_html(proven)
    for id_ in ("certified-verified", "certified-noise", "security-0", "security-1"):
        assert f'id="plot-{id_}"' in page
    for id_ in ("tradeoff-adversarial", "tradeoff-verified"):
        assert f'id="plot-{id_}"' in page
    old = render_html(document)
    for section in ("certified", "secure"):
        assert f'<section id="{section}"' in page
        assert f'<section id="{section}"' not in old
    for name in document["models"]:  # figure 1: the losses of every model and attack
        assert f"{name}: Confidence on benign inputs (I_B), loss" in old


def test_names_from_outside_are_no_markup_in_the_curves(proven: Json) -> None:
    bad = "<a href='http://e.vil'>x</a>"
    for model in proven["models"].values():
        model["title"] = bad
        for entry in model["certified"].values():
            entry["ball"]["kind"] = bad
    for about in [*proven["robustness"].values(), *proven["certificates"].values()]:
        about["name"] = bad
        about["settings"] = {"ball": {"kind": bad, "radius": 0.1}}
    for figure in certified(proven):
        drawn = str([figure.spec()["data"], figure.spec()["layout"]])
        assert "&lt;a" in drawn
        assert "<a" not in drawn


def test_secure_and_insecure_losses_are_drawn_as_shares_of_their_rows(proven: Json) -> None:
    first, _ = histograms.security(proven)
    bars, outline = first.data
    assert (bars["name"], outline["name"]) == ("Secure", "Insecure")
    assert bars["y"] == pytest.approx([75, 20, 5, *[0] * 9])
    assert outline["y"][0] == pytest.approx(8)
    assert sum(outline["y"][:-1]) == pytest.approx(100)
    assert "200 secure non-members and 100 insecure ones of seed 0" in first.words
    assert first.tables[0].rows[0][1:] == ["150", "8"]
    del proven["models"]["natural"]["security"]["loss"]
    assert len(histograms.security(proven)) == 1


def test_the_separation_is_in_every_form_with_its_interval_or_its_reason(proven: Json) -> None:
    assert list(quantities(proven)) == ["security_auc"]
    assert set(numbers(proven["models"]["robust"])) == {
        "security_auc", "security_best_threshold_accuracy", "security_auc_among_right"
    }  # fmt: skip
    console = Console(file=io.StringIO(), width=120)
    console.print(render_text(proven))
    for text in (console.file.getvalue(), render_html(proven), render_markdown(proven)):  # type: ignore[attr-defined]
        assert "0.9065" in text  # of the robust model
    assert "0 secure and 9 insecure rows" in render_html(proven)
    assert "200 of 300 non-members are secure; 22 of the other 100 are wrong" in counts(proven)[0]


def test_where_no_model_has_such_a_number_there_is_no_row_of_gaps(proven: Json) -> None:
    for model in proven["models"].values():
        why = {"not_evaluable": "no perturbation budget was declared (--eps)"}
        model["security"] = {
            **dict.fromkeys(("auc", "best_threshold_accuracy", "auc_among_right"), why),
            "rows": [],
        }
    assert quantities(proven) == {}
    assert counts(proven) == []
    assert "Secure and insecure" not in render_html(proven)
