"""Accuracy under attack in the reports: called after its attack, on its rows, and doubted."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from trilemma.experiments.reports import render_html, render_junit, render_markdown, render_text
from trilemma.experiments.reports.glance import glance
from trilemma.experiments.reports.quantities import ACCURACIES, accuracies
from trilemma.experiments.reports.verdict import verdict

Json = dict[str, Any]


@pytest.fixture
def thorough(named_document: Callable[[str], Json]) -> Json:
    return named_document("thorough")


def test_accuracies_are_called_after_their_attacks_and_rows(thorough: Json) -> None:
    found = accuracies(thorough)
    assert [kind.label for kind in found.values()] == [
        "Accuracy on training rows",
        "Accuracy on test rows",
        "Accuracy on training rows, PGD-20",
        "Accuracy on test rows, PGD-20",
        "Accuracy on 128 training rows, AutoAttack",
        "Accuracy on test rows, AutoAttack",  # on all of them
    ]
    assert found["autoattack_train"].short == "AutoAttack, 128 train"
    assert all(len(kind.short) < 23 for kind in found.values())  # what the terminal has room for


def test_a_document_without_names_has_none_and_recorded_models_share_none(
    document: Json, thorough: Json
) -> None:
    assert accuracies(document) == dict(ACCURACIES)
    thorough["models"]["natural"]["description"] = {"recorded": "old.npz"}
    assert accuracies(thorough)["adversarial_test"] == ACCURACIES["adversarial_test"]


def test_every_form_has_both_numbers_and_the_warning(thorough: Json) -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(render_text(thorough))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "PGD-20, test" in printed
    assert "AutoAttack, test" in printed
    for text in (printed, render_html(thorough), render_markdown(thorough)):
        assert "72.00 %" in text  # of the robust model under AutoAttack
        assert "74.20 %" in text  # and under PGD
        assert "looks like gradient masking" in text
    assert "1.00 % under AutoAttack" in render_junit(thorough, [])


def test_only_the_model_whose_gradients_are_masked_is_doubted(thorough: Json) -> None:
    doubts = [said for said in verdict(thorough)["warnings"] if "masking" in said]
    assert len(doubts) == 1
    assert doubts[0].startswith("“natural”: ")
    assert "may understate" in doubts[0]
    for about in thorough["models"].values():
        about["self_tests"]["gradient_masking"]["status"] = "pass"
    assert not any("masking" in said for said in verdict(thorough)["warnings"])


def test_the_sentences_tell_both(thorough: Json) -> None:
    said = " ".join(verdict(thorough)["sentences"])
    assert "74.20 % of them under attack (72.00 % under AutoAttack)" in said


def test_the_glance_shows_autoattack_where_all_models_have_it(thorough: Json) -> None:
    assert "under AutoAttack 72.00 %" in glance(thorough).words
    thorough["models"]["natural"]["accuracy"]["autoattack_test"] = {"not_evaluable": "lost"}
    assert "under attack 74.20 %" in glance(thorough).words


def test_no_ball_is_said_and_old_documents_are_still_read(document: Json, thorough: Json) -> None:
    assert "Accuracy under attack</h3>" not in render_html(document)  # it does not tell
    assert "Accuracy under attack</h3>" in render_html(thorough)
    thorough["robustness"] = {}
    assert "It was not measured: no ball" in render_html(thorough)
