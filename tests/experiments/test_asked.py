"""Attacks that only some of the models suffer."""

import pytest

from trilemma.core.errors import BadInput
from trilemma.experiments.audit import audit
from trilemma.experiments.graph import key
from trilemma.experiments.reports import render_html, render_text, validate
from trilemma.experiments.specs import experiment
from trilemma.experiments.trained import plan_trained

BALL = {"kind": "Linf", "radius": 0.1}
MODEL = {"recipe": {"kind": "MLP", "epochs": 1, "hidden": [8]}}
SPEC = {
    "name": "asked",
    "data": {"kind": "Digits", "members": 40, "nonmembers": 40},
    "models": {
        "natural": {**MODEL, "attacks": ["benign"]},
        "robust": MODEL,
    },
    "attacks": {
        "benign": {"kind": "Confidence"},
        "verified": {"kind": "VerifiedConfidence", "ball": BALL, "domain": {"kind": "Interval"}},
    },
}


def test_a_model_suffers_only_what_it_is_asked(store):
    document = audit(SPEC, store)
    validate(document)
    assert document["status"] == "complete"
    natural, robust = document["models"].values()
    why = {"not_evaluable": "not asked of this model"}
    assert natural["membership"]["verified"]["auc"] == why
    assert natural["accuracy"]["verified_train"] == why
    assert "certified" not in natural
    assert "value" in natural["membership"]["benign"]["auc"]
    assert all("value" in robust["membership"][id_]["auc"] for id_ in SPEC["attacks"])
    assert "value" in robust["accuracy"]["verified_train"]
    assert "certified" in robust
    assert "not asked of this model" in render_html(document)
    assert render_text(document)


def test_what_a_model_suffers_does_not_change_its_training():
    (one, other), _ = plan_trained(SPEC)
    assert key(one.source) == key(other.source)
    (whole, _), _ = plan_trained({**SPEC, "models": {"natural": MODEL, "robust": MODEL}})
    assert key(whole.attacks["benign"]) == key(one.attacks["benign"])


def test_an_attack_that_is_not_declared_is_refused():
    wrong = {**SPEC, "models": {"natural": {**MODEL, "attacks": ["benign", "typo"]}}}
    with pytest.raises(BadInput, match=r"models.natural.attacks: 'typo' is not declared"):
        experiment(wrong)
