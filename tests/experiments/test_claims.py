"""The ledger decides by its stated rule, and only from records."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.experiments.claims import decide, ledger
from trilemma.experiments.numbers import number
from trilemma.experiments.study import Claim, study

STUDY = study("song2019-table2")
WORDS = {"statement": "s", "published": "p"}


def estimate(value, half):
    return {"value": value, "low": value - half, "high": value + half, "level": 0.95}


def metric(values, error):
    seeds = [estimate(value, error) for value in values]
    return {**estimate(sum(values) / len(values), error), "seeds": seeds}


def document(error=0.01, **models):
    """Each model's accuracy of one attack, a value a seed."""
    built = {
        name: {
            "membership": {"confidence": {"best_threshold_accuracy": metric(values, error)}},
            "rows": {"members": 100, "nonmembers": 50},
        }
        for name, values in models.items()
    }
    seeds = list(range(len(next(iter(models.values())))))
    return {
        "name": "some study",
        "models": built,
        "provenance": {"seeds": seeds, "data": {"deviation": "halved images"}},
    }


def status(claim, found):
    return decide(STUDY, claim, found).status


@given(
    pairs=st.lists(st.tuples(st.floats(0.5, 0.9), st.floats(0.5, 0.9)), min_size=1, max_size=4),
    error=st.floats(1e-4, 0.1),
)
def test_reproduced_needs_every_sign_and_a_clear_mean(pairs, error):
    larger, smaller = (list(side) for side in zip(*pairs, strict=True))
    claim = Claim(**WORDS, exceeds=("one", "two"))
    found = status(claim, document(error, one=larger, two=smaller))
    differences = [a - b for a, b in pairs]
    mean = sum(differences) / len(pairs)
    limit = error * (2 / len(pairs)) ** 0.5
    if abs(mean - limit) > 1e-9:
        expected = min(differences) > 0 and mean > limit
        assert found == ("reproduced" if expected else "not reproduced")


@given(
    values=st.lists(st.sampled_from([0.5, 0.55, 0.6, 0.7, 0.8]), min_size=3, max_size=5),
    error=st.just(0.02),
)
def test_what_rises_ends_clearly_higher_and_never_falls_clearly(values, error):
    """With one seed a step is clear where it exceeds sqrt(2) times the error: 0.028."""
    names = [f"m{index}" for index in range(len(values))]
    found = document(error, **{name: [value] for name, value in zip(names, values, strict=True)})
    steps = [b - a for a, b in pairwise(values)]
    expected = values[-1] - values[0] > 0.03 and min(steps) > -0.03
    assert status(Claim(**WORDS, rises=tuple(names)), found) == (
        "reproduced" if expected else "not reproduced"
    )
    falling = Claim(**WORDS, falls=tuple(reversed(names)))
    assert status(falling, found) == ("reproduced" if expected else "not reproduced")


@given(st.lists(st.sampled_from([0.5, 0.6, 0.7, 0.8]), min_size=3, max_size=5))
def test_a_peak_stands_clearly_above_both_ends(values):
    names = [f"m{index}" for index in range(len(values))]
    found = document(0.02, **{name: [value] for name, value in zip(names, values, strict=True)})
    expected = max(values[1:-1]) > max(values[0], values[-1]) + 0.03
    assert status(Claim(**WORDS, peaks=tuple(names)), found) == (
        "reproduced" if expected else "not reproduced"
    )


@given(st.lists(st.sampled_from([0.5, 0.6, 0.7]), min_size=4, max_size=5))
def test_a_peak_may_have_to_be_one_of_some(values):
    names = tuple(f"m{index}" for index in range(len(values)))
    found = document(0.02, **{name: [value] for name, value in zip(names, values, strict=True)})
    anywhere, second = (Claim(**WORDS, peaks=names, within=one) for one in ((), names[1:2]))
    first = values[1] == max(values[1:-1])
    expected = status(anywhere, found) if first else "not reproduced"
    assert status(second, found) == expected


@given(st.lists(st.floats(0.5, 0.9), min_size=2, max_size=4), st.sampled_from([0.02, 0.2]))
def test_what_is_alike_differs_by_less_than_the_margin_and_5_points(values, error):
    names = ["one", "two", "three", "four"][: len(values)]
    found = document(error, **{name: [value] for name, value in zip(names, values, strict=True)})
    gap, most = max(values) - min(values), min(error * 2**0.5, 0.05)
    if abs(gap - most) > 1e-9:
        expected = "reproduced" if gap < most else "not reproduced"
        assert status(Claim(**WORDS, alike=tuple(names)), found) == expected


@pytest.mark.parametrize("error", [1e-6, 0.2])
def test_a_tolerance_of_the_papers_own_stands_in_the_place_of_both(error):
    found = document(error, one=[0.60, 0.62], two=[0.66, 0.68])
    for tolerance, expected in ((0.07, "reproduced"), (0.05, "not reproduced")):
        claim = Claim(**WORDS, alike=("one", "two"), tolerance=tolerance)
        assert status(claim, found) == expected
    with pytest.raises(BadInput, match="tolerance"):
        Claim(**WORDS, exceeds=("one", "two"), tolerance=0.1)


@given(st.tuples(st.floats(0.5, 0.9), st.floats(0.5, 0.9)), st.sampled_from([0.02, 0.2]))
def test_at_least_on_par_is_not_clearly_smaller_nor_by_5_points(pair, error):
    found = document(error, one=[pair[0]], two=[pair[1]])
    gap, most = pair[1] - pair[0], min(error * 2**0.5, 0.05)
    if abs(gap - most) > 1e-9:
        expected = "reproduced" if gap < most else "not reproduced"
        assert status(Claim(**WORDS, reaches=("one", "two")), found) == expected


def test_what_was_chosen_on_a_shadow_model_can_be_named():
    found = document(one=[0.6])
    found["models"]["one"]["shadow"] = {"attacks": ["a"], "accuracy": metric([0.58], 0.01)}
    assert number(found, "one:shadow.accuracy")["value"] == 0.58


def test_the_networks_deviation_stands_beside_that_of_the_data():
    declared = study("song2019-table4")
    found = document(natural=[0.6], pgd=[0.7]) | {"name": "song2019-table4-cpu"}
    said = decide(declared, declared.claims["pgd"], found).deviation
    assert said.startswith("halved images; a plain network")


def test_a_seed_against_the_rest_decides():
    steady = document(0.001, one=[0.8, 0.8], two=[0.6, 0.6])
    turned = document(0.001, one=[0.9, 0.6], two=[0.6, 0.61])
    claim = Claim(**WORDS, exceeds=("one", "two"))
    assert status(claim, steady) == "reproduced"
    assert status(claim, turned) == "not reproduced"


def test_what_was_measured_is_told_with_its_scale_and_deviation():
    claim = Claim(**WORDS, exceeds=("one", "two"))
    found = decide(STUDY, claim, document(one=[0.70, 0.72], two=[0.60, 0.62]))
    assert found.measured.startswith("one 71.00 %, two 61.00 %: ")
    assert "one - two = +10.00 points (seeds +10.00, +10.00" in found.measured
    assert found.scale == "100 members, 50 non-members, 2 seed(s)"
    assert found.deviation == "halved images"


def test_how_often_the_answers_that_an_attack_reads_are_right():
    found = document(one=[0.6])
    found["models"]["one"]["answers"] = {"eps.1": {"train": metric([0.9], 0.01)}}
    assert number(found, "one:answers.eps.1.train")["value"] == 0.9
    assert number(found, "one:answers.eps.1.test") is None
    assert number(found, "one:answers.other.train") is None


def test_numbers_of_boundary_attacks_and_of_a_closer_look():
    found = document(one=[0.6])
    at = {each: metric([each], 0.01) for each in (0.5, 0.8, 0.9)}
    found["models"]["one"] |= {
        "budgets": {
            "walk": {
                "budgets": [1, 100, 2000],
                "auc": list(at.values()),
                "norms": {"L0": at[0.5], "L2": at[0.9]},
            }
        },
        "thresholds": {
            "walk": {"percentiles": [0.0, 30.0], "f1_by_percentile": [at[0.5], at[0.8]]}
        },
        "analysis": {"sides": {"target": {"ace": {"train": at[0.9]}}}},
    }
    expected = {
        "norms.walk.L0": 0.5,
        "queries.walk.1": 0.5,
        "queries.walk.100": 0.8,
        "queries.walk.2000": 0.9,
        "queries.walk.most": 0.9,
        "f1.walk.30": 0.8,
        "ace.target.train": 0.9,
    }
    for name, value in expected.items():
        assert number(found, f"one:{name}")["value"] == value
    for name in (
        "norms.walk.L3",
        "queries.walk.101",
        "queries.other.most",
        "f1.walk.20",
        "ace.copy.train",
        "f1.other.30",
    ):
        assert number(found, f"one:{name}") is None


def test_what_is_no_share_is_told_as_it_is():
    found = document(one=[0.6])
    far, near = metric([1.0755, 1.1], 0.01), metric([0.1102, 0.2], 0.01)
    found["models"]["one"]["scores"] = {"walk": {"train": far, "test": near}}
    claim = Claim(**WORDS, exceeds=("one:scores.walk.train", "one:scores.walk.test"))
    said = decide(STUDY, claim, found).measured
    assert "one:scores.walk.train 1.08" in said
    assert "%, " not in said
    assert "+0.9653" in said
    assert "points" not in said


def test_a_model_is_as_leaky_as_its_strongest_attack():
    found = document(one=[0.6])
    weaker, stronger = metric([0.55], 0.01), metric([0.7], 0.01)
    found["models"]["one"]["membership"] |= {
        "weaker": {"best_threshold_accuracy": weaker},
        "stronger": {"best_threshold_accuracy": stronger, "auc": metric([0.75], 0.01)},
        "absent": {"best_threshold_accuracy": {"not_evaluable": "no bounds"}},
    }
    found["models"]["one"]["accuracy"] = {"train": metric([0.99], 0.01)}
    assert number(found, "one") == stronger
    assert number(found, "one:weaker") == weaker
    assert number(found, "one:stronger.auc")["value"] == 0.75
    assert number(found, "one:accuracy.train")["value"] == 0.99
    assert number(found, "0.5") == {"value": 0.5, "low": 0.5, "high": 0.5}
    for missing in ("two", "one:other", "one:absent", "one:accuracy.test", "one:stronger.tpr"):
        assert number(found, missing) is None


def test_without_a_record_nothing_is_claimed():
    assert {each.status for each in ledger(lambda study, scale: None)} == {"not run"}
    claim = Claim(**WORDS, exceeds=("one", "two"))
    found = decide(STUDY, claim, document(one=[0.7]))
    assert found.status == "not run"
    assert found.measured == "the record has no two"


def test_the_largest_scale_that_was_run_decides():
    asked = []

    def find(name, scale):
        asked.append((name, scale))
        return document(pgd=[0.6], natural=[0.5]) if scale == "cpu" else None

    decisions = [each for each in ledger(find) if each.study.name == STUDY.name]
    assert asked.index((STUDY.name, "paper")) < asked.index((STUDY.name, "cpu"))
    assert decisions[0].status == "reproduced"


@pytest.mark.parametrize("decision", ledger(), ids=lambda each: each.claim.statement[:40])
def test_a_decided_claim_tells_numbers_and_scale(decision):
    if decision.status != "not run":
        assert "points" in decision.measured
        assert "seed(s)" in decision.scale
