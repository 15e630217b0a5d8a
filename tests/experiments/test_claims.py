"""The ledger decides by its stated rule, and only from records."""

import copy

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trilemma.experiments.claims import CLAIMS, STUDIES, decide, ledger, record, studies
from trilemma.experiments.methods import METRICS
from trilemma.experiments.specs import experiment

CLAIM = CLAIMS[1]  # I_A above I_B of one model


def estimate(value, half):
    return {"value": value, "low": value - half, "high": value + half, "level": 0.95}


def metric(values, error):
    seeds = [estimate(value, error) for value in values]
    return {**estimate(sum(values) / len(values), error), "seeds": seeds}


def document(larger, smaller, error=0.01):
    membership = {
        "confidence": {"best_threshold_accuracy": metric(smaller, error)},
        "confidence_adversarial": {"best_threshold_accuracy": metric(larger, error)},
    }
    model = {"membership": membership, "rows": {"members": 100, "nonmembers": 50}}
    seeds = list(range(len(larger)))
    return {
        "models": {"robust": model, "natural": copy.deepcopy(model)},
        "provenance": {"seeds": seeds, "data": {"deviation": "halved images"}},
    }


@given(
    pairs=st.lists(st.tuples(st.floats(0.5, 0.9), st.floats(0.5, 0.9)), min_size=1, max_size=4),
    error=st.floats(1e-4, 0.1),
)
def test_reproduced_needs_every_sign_and_a_clear_mean(pairs, error):
    larger, smaller = zip(*pairs, strict=True)
    found = decide(CLAIM, document(larger, smaller, error))
    differences = [a - b for a, b in pairs]
    mean = sum(differences) / len(pairs)
    limit = error * (2 / len(pairs)) ** 0.5
    if abs(mean - limit) > 1e-9:
        expected = min(differences) > 0 and mean > limit
        assert found.status == ("reproduced" if expected else "not reproduced")


def test_what_was_measured_is_told_with_its_scale_and_deviation():
    found = decide(CLAIM, document([0.70, 0.72], [0.60, 0.62]))
    assert "71.00 % against 61.00 %: +10.00 points (seeds +10.00, +10.00" in found.measured
    assert found.scale == "100 members, 50 non-members, 2 seed(s)"
    assert found.deviation == "halved images"


def test_without_a_record_nothing_is_claimed():
    assert {each.status for each in ledger(lambda study: None)} == {"not run"}
    incomplete = document([0.7], [0.6])
    membership = incomplete["models"]["robust"]["membership"]
    membership["confidence"]["best_threshold_accuracy"] = {"not_evaluable": "failed"}
    assert decide(CLAIM, incomplete).status == "not run"


def test_claims_are_told_apart_and_name_studies_that_exist():
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    assert {claim.study for claim in CLAIMS} <= set(studies())


@pytest.mark.parametrize("study", studies())
def test_a_study_is_a_valid_experiment_with_the_models_its_claims_compare(study):
    declared = experiment(yaml.safe_load((STUDIES / f"{study}.yaml").read_text()))
    for claim in CLAIMS:
        if claim.study == study:
            for model, attacks in (claim.larger, claim.smaller):
                assert model in declared.models
                assert set(attacks) <= set(declared.attacks)


@pytest.mark.parametrize("study", [study for study in studies() if record(study)])
def test_a_shipped_record_is_of_the_study_as_declared(study):
    document = record(study)
    assert document["status"] == "complete"
    assert document["provenance"]["spec"] == yaml.safe_load((STUDIES / f"{study}.yaml").read_text())
    for model in document["models"].values():
        for attack in model["membership"].values():
            # a record may be older than the newest metrics
            assert {"best_threshold_accuracy", "auc"} <= set(attack) <= set(METRICS)
