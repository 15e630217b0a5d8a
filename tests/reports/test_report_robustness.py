"""Accuracy under attack in the reports: called after its attack, on its rows, and doubted."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from trilemma.experiments.reports import render_html, render_junit, render_markdown, render_text
from trilemma.experiments.reports.figures import method_title
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
        "Accuracy on training rows, PGD-20, Linf 0.1",
        "Accuracy on test rows, PGD-20, Linf 0.1",
        "Accuracy on 128 training rows, AutoAttack, Linf 0.1",
        "Accuracy on test rows, AutoAttack, Linf 0.1",  # on all of them
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


@pytest.fixture
def proven(named_document: Callable[[str], Json]) -> Json:
    return named_document("proven")


def test_what_was_proven_is_named_after_the_bounds(document: Json, proven: Json) -> None:
    assert not any(name.startswith("verified") for name in accuracies(document))
    named = accuracies(proven)
    assert named["verified_test"].label == "Accuracy on test rows, verified by Interval, Linf 0.1"
    assert named["verified_dual_train"].short == "Verified (Dual), train"


def test_numbers_of_different_balls_are_told_apart_in_every_form(proven: Json) -> None:
    """What holds in one ball says nothing about another, and must not look as if it did."""
    proven["robustness"]["verified"]["settings"] = {"ball": {"kind": "Linf", "radius": 8 / 255}}
    proven["robustness"]["verified_dual"]["settings"] = {"ball": {"kind": "L2", "radius": 1}}
    named = accuracies(proven)
    assert [named[f"{prefix}_test"].short for prefix in proven["robustness"]] == [
        "PGD-20, Linf 0.1, test",
        "Verified (Interval), Linf 0.03137, test",
        "Verified (Dual), L2 1, test",
    ]
    console = Console(file=io.StringIO(), width=200)
    console.print(render_text(proven))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Verified (Interval), Linf 0.03137, test" in printed
    for page in (render_html(proven), render_markdown(proven)):
        assert "Accuracy on test rows, PGD-20, Linf 0.1" in page
        assert "Accuracy on test rows, verified by Interval, Linf 0.03137" in page
        assert "Accuracy on test rows, verified by Dual, L2 1" in page


def test_what_has_no_ball_names_none(proven: Json) -> None:
    proven["robustness"]["adversarial"]["settings"] = {"steps": 3}
    named = accuracies(proven)
    assert named["adversarial_test"].label == "Accuracy on test rows, PGD-20"
    assert named["verified_test"].short == "Verified (Interval), test"


def test_a_name_from_outside_stays_a_name(proven: Json) -> None:
    proven["robustness"]["verified"]["name"] = "a|b<i>\x1b[2J"
    proven["robustness"]["verified"]["settings"] = {"ball": {"kind": "<b>", "radius": 1}}
    assert "a\\|b&lt;i&gt;" in render_markdown(proven)
    assert "<b>" not in render_markdown(proven) + render_html(proven)
    console = Console(file=io.StringIO(), width=200)
    console.print(render_text(proven))
    assert "\x1b[2J" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_every_form_tells_what_was_proven(proven: Json) -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(render_text(proven))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Verified (Interval), test" in printed
    assert "Shadow threshold" in printed
    for text in (printed, render_html(proven), render_markdown(proven)):
        assert "41.30 %" in text  # of the robust model, by intervals
        assert "43.30 %" in text  # and by the dual
        assert "53.10 %" in text  # at a threshold from a shadow model
    held = {"text": "accuracy.verified_test < 0.5", "model": "robust", "holds": True}
    condition = {**held, "metric": "accuracy.verified_test.value", "observed": 0.413}
    assert "accuracy.verified_test.value is 0.413" in render_junit(proven, [condition])


def test_sentences_tell_what_is_provable_and_in_which_ball(proven: Json) -> None:
    said = " ".join(verdict(proven)["sentences"])
    assert "of them under attack, and 41.30 % of them provably. " in said
    assert "Chosen on a shadow model, attack (“Confidence on benign inputs (I_B)”) and" in said
    proven["robustness"]["verified"]["settings"] = {"ball": {"kind": "L2", "radius": 1}}
    assert "41.30 % of them provably (in another ball)" in " ".join(verdict(proven)["sentences"])


def test_labels_and_judged_rows_are_on_the_page(proven: Json) -> None:
    page = render_html(proven)
    assert "Confidence on benign inputs (I_B), each label" in page
    places = [page.index(f">label {label}<") for label in (0, 2, 10)]
    assert places == sorted(places)
    assert "(9 to 9 of each side); 281 members and 279 non-members are left" in page


def test_two_attacks_of_one_name_are_told_apart_by_their_ids(proven: Json) -> None:
    title = proven["methods"]["confidence"]["title"]
    assert method_title(proven, "confidence") == title
    proven["methods"]["confidence_adversarial"]["title"] = title
    assert method_title(proven, "confidence_adversarial") == f"{title}: confidence_adversarial"
    assert method_title(proven, "confidence") == f"{title}: confidence"
