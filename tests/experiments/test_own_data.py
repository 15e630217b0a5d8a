"""Models with data of their own: Li & Zhang's targets, which differ in the number of members."""

import pytest

from trilemma.core.errors import BadInput
from trilemma.experiments import finished
from trilemma.experiments.audit import audit
from trilemma.experiments.graph import key
from trilemma.experiments.reports import render_html, validate
from trilemma.experiments.specs import experiment
from trilemma.experiments.trained import plan_trained

RECIPE = {"kind": "MLP", "epochs": 5, "hidden": [8]}
FEW = {"kind": "Digits", "members": 40, "nonmembers": 30}
SPEC = {
    "name": "sizes",
    "data": {"kind": "Digits", "members": 90, "nonmembers": 60, "shadow": 50},
    "models": {"many": {"recipe": RECIPE}, "few": {"recipe": RECIPE, "data": FEW}},
    "attacks": {"plain": {"kind": "Confidence"}},
}


def test_each_model_is_trained_and_judged_on_its_own_rows(store):
    document = audit(SPEC, store)
    validate(document)
    assert document["failures"] == []
    rows = {name: model["rows"] for name, model in document["models"].items()}
    assert rows["many"] | {} == {"members": 90, "nonmembers": 60}
    assert rows["few"] == {"members": 40, "nonmembers": 30}
    assert "few" in render_html(document)


def test_the_training_is_that_of_an_experiment_with_these_data_alone():
    cells, _ = plan_trained(SPEC)
    alone, _ = plan_trained({**SPEC, "data": FEW, "models": {"few": {"recipe": RECIPE}}})
    assert key(cells[1].source) == key(alone[0].source)
    assert key(cells[0].source) != key(cells[1].source)


def test_what_needs_shadow_rows_asks_the_models_own_data():
    spec = {**SPEC, "attacks": {"transfer": {"kind": "TransferAttack"}}}
    many, few = plan_trained(spec)[0]
    assert set(many.attacks) == {"transfer"}
    assert "no shadow rows" in few.missing["transfer"]


def test_an_experiment_needs_no_data_where_each_model_has_its_own():
    models = {"few": {"recipe": RECIPE, "data": FEW}}
    spec = {k: v for k, v in SPEC.items() if k != "data"} | {"models": models}
    assert len(plan_trained(spec)[0]) == 1
    with pytest.raises(BadInput, match="data: is missing"):
        experiment({**spec, "models": {**models, "many": {"recipe": RECIPE}}})


def test_validation_rows_are_looked_for_in_the_models_own_data():
    guarded = {"recipe": RECIPE, "defences": [{"kind": "MemGuard"}]}
    aside = {**FEW, "validation": 20}
    with pytest.raises(BadInput, match="MemGuard"):
        experiment({**SPEC, "models": {"m": guarded}})
    assert experiment({**SPEC, "models": {"m": {**guarded, "data": aside}}})


def test_a_finished_audit_is_found_by_all_its_data(store):
    document = audit(SPEC, store)
    assert finished.find(SPEC, store) == document
    models = {**SPEC["models"], "few": {"recipe": RECIPE, "data": {**FEW, "nonmembers": 31}}}
    assert finished.find({**SPEC, "models": models}, store) is None
