"""Models with data of their own: Li & Zhang's targets, which differ in the number of members."""

import pytest

from trilemma.core.errors import BadInput
from trilemma.experiments import finished
from trilemma.experiments.audit import audit
from trilemma.experiments.claims import decide
from trilemma.experiments.graph import key
from trilemma.experiments.reports import render_html, validate
from trilemma.experiments.specs import experiment
from trilemma.experiments.study import Claim, study
from trilemma.experiments.trained import plan_trained

RECIPE = {"kind": "MLP", "epochs": 5, "hidden": [8]}
ROBUST = {
    "kind": "Adversarial",
    "attack": {"kind": "PGD", "ball": {"kind": "Linf", "radius": 0.1}, "steps": 2},
}
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
    assert "Digits(members=40, nonmembers=30)" in render_html(document)
    assert "data" not in document["models"]["many"]["description"]


def test_every_models_data_are_told_by_their_deviations(store):
    """Where two data sets differ from their releases, both say so."""
    other = {"kind": "BreastCancer", "members": 40, "nonmembers": 30}
    files = {"m": {"recipe": RECIPE, "data": other}}
    spec = {**SPEC, "models": {**SPEC["models"], **files}}
    document = audit(spec, store)
    alone = [
        audit({**SPEC, "data": data, "models": {"m": {"recipe": RECIPE}}}, store)
        for data in (SPEC["data"], files["m"]["data"])
    ]
    names = [each["provenance"]["data"]["name"] for each in alone]
    assert document["provenance"]["data"]["name"] == ", ".join(names)
    found = [each["provenance"]["data"].get("deviation") for each in alone]
    both = document["provenance"]["data"]["deviation"]
    assert any(found)
    assert all(each in both for each in found if each)


def test_the_ledger_tells_the_span_of_rows(store):
    claim = Claim(statement="s", published="p", exceeds=("many", "few"))
    assert decide(study("song2019-table2"), claim, audit(SPEC, store)).scale.startswith(
        "40 to 90 members, 30 to 60 non-members"
    )


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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"copies": {"c": {"rows": 45}}}, "few has 30 shadow rows"),
        ({"copies": {"c": {"like": {"recipe": RECIPE, "data": FEW}}}}, r"copies.c.like.data"),
        ({"shadow": {"like": {"recipe": RECIPE, "attacks": ["plain"]}}}, r"shadow.like.attacks"),
        (
            {"references": {"like": {"recipe": {**RECIPE, "warmup": 5}, "objective": ROBUST}}},
            "references.like",
        ),
    ],
)
def test_what_stands_in_for_a_model_is_checked_before_any_work(change, said):
    few = {"recipe": RECIPE, "data": {**FEW, "shadow": 30}}
    spec = {**SPEC, "models": {**SPEC["models"], "few": few}}
    with pytest.raises(BadInput, match=said):
        experiment({**spec, **change})
