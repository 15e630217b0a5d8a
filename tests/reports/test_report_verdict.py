"""The verdict says what the numbers say, and no more."""

import itertools
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.experiments.reports import verdict
from trilemma.metrics import difference

Json = dict[str, Any]
METRICS = ("best_threshold_accuracy", "held_out_threshold_accuracy", "auc")


def interval(low: float, value: float, high: float) -> Json:
    return {"value": value, "low": low, "high": high, "level": 0.95}


def model(best: Json, held_out: Json, auc: Json) -> Json:
    return {
        "title": "x",
        "accuracy": {"test": interval(0.8, 0.9, 0.95), "adversarial_test": {"not_evaluable": "-"}},
        "membership": {"loss": dict(zip(METRICS, (best, held_out, auc), strict=True))},
        "self_tests": {},
    }


def audit(**models: Json) -> Json:
    return {
        "status": "complete",
        "failures": [],
        "models": {name: {**each, "title": name} for name, each in models.items()},
        "methods": {"loss": {"title": "Loss"}},
        "self_tests": {},
        "provenance": {"seeds": [0, 1], "data": {}},
    }


LEAKS = model(interval(0.6, 0.65, 0.7), interval(0.58, 0.62, 0.66), interval(0.6, 0.64, 0.68))
SILENT = model(interval(0.5, 0.52, 0.55), interval(0.46, 0.5, 0.54), interval(0.46, 0.51, 0.56))
CLOSE = model(interval(0.54, 0.59, 0.64), interval(0.5, 0.56, 0.6), interval(0.51, 0.57, 0.6))


def everything(said: Json) -> str:
    return " ".join([said["headline"], *said["sentences"], *said["warnings"]])


def test_one_model() -> None:
    said = verdict(audit(m=LEAKS))
    assert said["headline"] == (
        "An attacker who sees the answers of “m” tells rows it was trained on from others with"
        " 65.00 % accuracy; guessing gives 50 %."
    )
    (sentence,) = said["sentences"]
    assert "“m” labels correctly 90.00 % of the test rows. " in sentence
    assert "“Loss”, tells its members from non-members" in sentence
    assert "an accuracy of 65.00 % (95 % interval 60.00 to 70.00)" in sentence
    assert "more than luck: with a threshold chosen on other rows" in sentence


def test_a_clear_difference() -> None:
    said = verdict(audit(quiet=SILENT, loud=LEAKS))
    assert said["headline"].startswith("“loud” gives away more")
    assert "65.00 % of the time instead of 52.00 %" in said["headline"]
    assert said["sentences"][-1].startswith("“loud” leaks more than “quiet”")
    # the margin: the intervals' inner halves, 5 and 2.5 points, added in squares
    assert "right 13.00 points more often, and" in said["sentences"][-1]
    assert "explains up to 5.83 points" in said["sentences"][-1]


def test_no_clear_difference() -> None:
    said = verdict(audit(a=CLOSE, b=LEAKS))
    assert said["headline"].startswith("No clear difference")
    assert "59.00 % to 65.00 % of the time" in said["headline"]
    assert said["sentences"][-1].startswith("No clear difference between “b” and “a”")
    assert "right 6.00 points more often, but" in said["sentences"][-1]


def test_silence_is_no_proof() -> None:
    said = verdict(audit(m=SILENT))
    assert "not shown to beat guessing" in said["sentences"][0]
    assert "nor does it show that nothing leaks" in said["sentences"][0]
    assert said["headline"].startswith("No attack here is shown to tell rows that “m”")


def test_luck_without_sober_numbers() -> None:
    none = {"not_evaluable": "too few rows"}
    said = verdict(audit(m=model(interval(0.6, 0.7, 0.8), none, none)))
    assert "cannot be told from these rows" in said["sentences"][0]


def test_many_models_are_ranked() -> None:
    said = verdict(audit(a=SILENT, b=CLOSE, c=LEAKS, d=SILENT))
    assert said["sentences"][0] == "The strongest attack is shown to beat guessing on “b”, “c”."
    assert "“a”, “d”" in said["sentences"][1]
    assert said["sentences"][2].startswith(
        "From the least to the most, by the strongest attack on each: “a” 52.00 %, “d” 52.00 %,"
        " “b” 59.00 %, “c” 65.00 %. Of the 6 pairs, 4 differ clearly."
    )


def test_models_are_compared_by_what_all_have() -> None:
    """An attack that only one model suffered must not make that model look worse."""
    both = audit(a=SILENT, b=SILENT)
    both["models"]["b"]["membership"] = {
        "loss": SILENT["membership"]["loss"],
        "gap": LEAKS["membership"]["loss"],
    }
    said = verdict(both)
    assert said["headline"].startswith("No clear difference")
    assert said["sentences"][-1].startswith("No clear difference")
    assert "“gap”" in said["sentences"][1]  # what is known about b alone is still said
    assert "compared only by attacks that all of them have" in said["warnings"][0]


def test_nothing_to_say() -> None:
    none = {"not_evaluable": "-"}
    assert "no membership result" in verdict(audit())["headline"]
    assert "no membership result" in verdict(audit(m=model(none, none, none)))["headline"]


def test_incomplete_comes_first(named_document: Callable[[str], Json]) -> None:
    said = named_document("incomplete")["verdict"]
    assert said["headline"].startswith("This audit is incomplete: “attack robust by confidence_ad")
    assert (
        "(MemoryError: 2.0 GiB for an array of shape (300, 1, 8, 8)), and 1 more"
        in (said["headline"])
    )
    assert "second line" not in said["headline"]
    assert "2 stages failed" in everything(said)


@pytest.mark.parametrize("scope", ["data", "model"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("blind", "differ without asking any model"),
        ("duplicates", "both sides of the split"),
        ("null", "null run"),
        ("normalisation", "another range"),
        ("determinism", "identical inputs differently"),
        ("new", "self-test 'new' warns"),
    ],
)
def test_self_tests_that_warn(scope: str, name: str, words: str) -> None:
    document = audit(m=LEAKS)
    check = {name: {"status": "warn", "summary": "AUC 0.7"}}
    (document if scope == "data" else document["models"]["m"])["self_tests"] = check
    (warning,) = verdict(document)["warnings"]
    assert words in warning
    assert warning.endswith(": AUC 0.7.")
    assert warning.startswith("“m”: ") == (scope == "model")


def test_other_warnings() -> None:
    document = audit(m=LEAKS)
    document["self_tests"] = {"blind": {"status": "not_evaluable", "summary": "-"}}
    document["provenance"] = {"seeds": [3], "data": {"deviation": "JPEG copies"}}
    document["models"]["m"]["membership"]["loss"] |= {
        "tpr_at_fpr_0.001": {"not_evaluable": "300 non-members"}
    }
    warnings = verdict(document)["warnings"]
    assert warnings[0] == "Self-tests that could not be answered here: blind."
    assert warnings[1] == "Members found at 0.1 % false alarms is not evaluable: 300 non-members."
    assert warnings[2].startswith("There is a single seed")
    assert warnings[3] == "The data differ from their canonical release: JPEG copies."
    document["provenance"]["seeds"] = []
    assert verdict(document)["warnings"][2].startswith("The predictions were recorded")


@pytest.mark.parametrize(
    ("low", "classes", "said"),
    [(0.09, 10, True), (0.1, 10, True), (0.11, 10, False), (0.3, 2, True), (0.0, None, False)],
)
def test_a_model_that_guesses_is_not_praised(low: float, classes: int | None, said: bool) -> None:
    document = audit(guess=SILENT, good=LEAKS)
    document["provenance"]["data"] = {} if classes is None else {"classes": classes}
    document["models"]["guess"]["accuracy"] = {"test": interval(low, low + 0.02, low + 0.3)}
    found = [each for each in verdict(document)["warnings"] if "beat a guess" in each]
    assert bool(found) == said
    for warning in found:  # nothing is said of the other, which beats a guess
        assert warning.startswith("“guess”: its accuracy on test rows, ")
        assert f"a guess among {classes} classes ({100 / classes:.2f} %)" in warning
    document["models"]["guess"]["accuracy"] = {"test": {"not_evaluable": "lost"}}
    assert not any("beat a guess" in each for each in verdict(document)["warnings"])


numbers = st.lists(st.floats(0.5, 1), min_size=3, max_size=3).map(lambda x: interval(*sorted(x)))


@given(st.lists(numbers, min_size=2, max_size=3))
def test_a_difference_is_claimed_exactly_where_it_is_clear(best: list[Json]) -> None:
    models = {f"m{i}": model(each, each, each) for i, each in enumerate(best)}
    said = verdict(audit(**models))
    for (i, one), (j, other) in itertools.combinations(enumerate(best), 2):
        apart = difference(one, other).clear or difference(other, one).clear
        names = [{f"“m{i}”", f"“m{j}”"}]
        claims = [s for s in said["sentences"] if "leaks more than" in s]
        found = [set(re.findall("“m.”", claim)) for claim in claims]
        assert any(each in names for each in found) == apart


def test_no_bands_no_certificates(any_document: Json) -> None:
    text = json.dumps(any_document["verdict"]).lower()
    for word in ("high risk", "low risk", "certified", "safe", "secure", "compliant"):
        assert word not in text


def test_the_old_verdict_is_not_looked_at(document: Json) -> None:
    old = document.pop("verdict")
    assert verdict(document) == old
    assert verdict({**document, "verdict": {"headline": "lies"}}) == old
