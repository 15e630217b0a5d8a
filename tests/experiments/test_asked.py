"""Attacks that only some of the models suffer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from trilemma.attacks.membership import METHODS
from trilemma.core.box import UNIT
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.experiments.audit import audit
from trilemma.experiments.graph import key
from trilemma.experiments.parts import candidates
from trilemma.experiments.reports import render_html, render_text, validate
from trilemma.experiments.specs import experiment
from trilemma.experiments.stages import stream
from trilemma.experiments.trained import plan_trained
from trilemma.oracles import Local
from trilemma.training.recipes import build

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


@pytest.mark.parametrize(
    "attack",
    [
        {"kind": "SmoothedRadius", "smoothing": {"samples": 20}},
        {"kind": "NoiseRobustness", "noise": {"kind": "GaussianNoise", "sigma": 0.1}, "copies": 10},
    ],
)
def test_an_attack_that_spends_much_on_a_row_judges_some_of_them(store, attack):
    spec = {
        "name": "some",
        "data": {"kind": "Digits", "members": 40, "nonmembers": 30},
        "models": {"m": {"recipe": {"kind": "MLP", "epochs": 3, "hidden": [8]}}},
        "attacks": {"a": attack},
        "searched_rows": 12,
    }
    document = audit(spec, store)
    assert document["failures"] == []
    (cell,), _ = plan_trained(spec)
    stage = cell.attacks["a"].scores
    found = store.read(key(stage)).arrays
    assert found["member"].tolist() == [True] * 12 + [False] * 12
    parts = store.read(key(stage.split))
    x, y, member = candidates(parts)
    assert (found["member"] == member[found["row"]]).all()
    model = build(stage.source.model.recipe, tuple(x.shape[1:]), 10, seeded(0))
    weights = store.read(key(stage.source)).arrays
    model.load_state_dict({name: torch.from_numpy(np.array(w)) for name, w in weights.items()})
    row, rng = found["row"], seeded(stream("attack", 0))
    signal = METHODS[type(stage.attack)].signal
    oracle = Local(model.eval(), classes=10)
    expected = signal(oracle, x[row], y[row], stage.attack, box=UNIT, rng=rng)
    np.testing.assert_array_equal(found["score"], expected.numpy())
    assert key(stage) != key(replace(stage, rows=None))
