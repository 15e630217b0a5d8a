"""Inference networks in an audit: who learns from which rows, who is judged, what is said."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trilemma.attacks.membership import Benign, ModelInference
from trilemma.core.box import UNIT
from trilemma.core.errors import BadInput
from trilemma.data import Digits, source_digest
from trilemma.experiments.audit import audit
from trilemma.experiments.evaluation import evaluate
from trilemma.experiments.execution import run
from trilemma.experiments.fitting import fitting_rows
from trilemma.experiments.graph import key
from trilemma.experiments.inferring import Infer, Teacher, networks
from trilemma.experiments.reports import render_html, validate
from trilemma.experiments.specs import Trained, experiment
from trilemma.experiments.stages import Split, Train
from trilemma.metrics import class_decisions, class_thresholds
from trilemma.training.recipes import MLP

PGD = {"kind": "PGD", "ball": {"kind": "Linf", "radius": 0.05}, "steps": 2}
LEARNING = {"kind": "ModelInference", "fitting": 5, "hidden": [8], "epochs": 2}
SPEC = {
    "name": "inferred",
    "data": {"kind": "Digits", "members": 100, "nonmembers": 90},
    "models": {"m": {"recipe": {"kind": "MLP", "epochs": 5, "hidden": [8]}}},
    "attacks": {
        "confidence": {"kind": "Confidence"},
        "benign": {**LEARNING, "examples": {"kind": "Benign"}},
        "untargeted": {**LEARNING, "examples": {"kind": "Untargeted", "attack": PGD}},
        "targeted": {**LEARNING, "examples": {"kind": "Targeted", "attack": PGD}},
    },
}


@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=80),
    count=st.integers(1, 12),
    seed=st.integers(0, 2**62),
)
def test_as_many_of_either_side_are_known_and_as_many_are_left(rows, count, seed):
    member, label = (np.array(each) for each in zip(*rows, strict=True))
    known = fitting_rows(member, label, count, seed)
    for each in np.unique(label):
        own = label == each
        sides = [(own & (member == side)) for side in (True, False)]
        rarer = min(int(side.sum()) for side in sides)
        assert {int((side & known).sum()) for side in sides} == {min(count, rarer // 2)}
    assert (known == fitting_rows(member, label, count, seed)).all()


def test_every_row_may_be_known():
    member, label = np.arange(40) < 20, np.arange(40) % 2
    seen = {i for seed in range(60) for i in np.flatnonzero(fitting_rows(member, label, 2, seed))}
    assert seen == set(range(40))


def stage(**given_):
    data = Digits(members=60, nonmembers=60)
    split = Split(data=data, fingerprint=source_digest(data), seed=0)
    source = Train(split=split, model=Trained(recipe=MLP(hidden=(8,), epochs=2)), box=UNIT, seed=0)
    attack = ModelInference(examples=Benign(), fitting=2, hidden=(4,), epochs=2)
    common = {"split": split, "source": source, "box": UNIT, "seed": 0}
    return Infer(attack=attack, recipe=networks(attack), **common, **given_)


def test_known_rows_are_not_judged_and_all_others_are(store):
    one = stage()
    assert one.recipe == MLP(hidden=(4,), epochs=2)
    run([one], store)
    found = store.read(key(one))
    parts = store.read(key(one.split)).arrays
    label = np.concatenate([parts["members_y"], parts["nonmembers_y"]])
    known = fitting_rows(np.arange(120) < 60, label, 2, 0)
    assert found.arrays["row"].tolist() == np.flatnonzero(~known).tolist()
    assert (found.arrays["member"] == (found.arrays["row"] < 60)).all()
    assert np.isfinite(found.arrays["score"]).all()
    assert found.facts["fitted"] == dict.fromkeys(map(str, range(10)), 2)


def test_taught_by_another_model_all_rows_are_judged(store):
    one = stage()
    other = stage(teacher=Teacher(split=one.split, source=one.source))
    assert key(one) != key(other)
    run([other], store)
    found = store.read(key(other))
    assert found.arrays["row"].tolist() == list(range(120))


def test_one_rule_judges_the_teachers_other_rows_and_the_targets(store):
    """A threshold chosen on the scores of some networks says nothing about those of others."""
    one = stage()
    other = stage(teacher=Teacher(split=one.split, source=one.source))
    run([one, other], store)
    own, all_ = (store.read(key(each)) for each in (one, other))
    again = all_.arrays["score"][own.arrays["row"]]  # in other batches, which rounds otherwise
    np.testing.assert_allclose(own.arrays["score"], again, rtol=1e-5, atol=1e-5)
    assert own.facts == all_.facts


def test_too_few_rows_to_learn_from_are_said(store):
    data = Digits(members=10, nonmembers=5)
    split = Split(data=data, fingerprint=source_digest(data), seed=0)
    one = stage()
    few = Infer(
        split=split,
        source=Train(split=split, model=one.source.model, box=UNIT, seed=0),
        attack=one.attack,
        recipe=one.recipe,
        box=UNIT,
        seed=0,
    )
    assert "no label has rows enough" in run([few], store)[few].error


def test_an_audit_names_what_they_find_and_from_how_many_rows(store):
    document = validate(audit(SPEC, store))
    assert document["status"] == "complete"
    model = document["models"]["m"]
    assert set(model["judged"]) == {"benign", "untargeted", "targeted"}
    judged = model["judged"]["targeted"]
    assert sum(judged["fitted"].values()) + judged["members"] == 100
    assert sum(judged["fitted"].values()) + judged["nonmembers"] == 90
    assert set(judged["fitted"].values()) <= {3, 4, 5}
    for attack, metrics in model["membership"].items():
        overall = metrics["class_threshold_accuracy"]
        labels = model["labels"][attack]
        assert set(labels) == set(map(str, range(10)))
        assert min(m["value"] for m in labels.values()) <= overall["value"]
        assert overall["value"] <= max(m["value"] for m in labels.values())
    title = "Inference networks on predictions (model-infer)"
    assert document["methods"]["targeted"]["title"] == title
    assert "PGD" in str(document["methods"]["targeted"]["settings"]["examples"])
    page = render_html(document)
    assert f"{judged['members']} members and {judged['nonmembers']} non-members are left" in page
    assert f"{title}: targeted, each label" in page


def test_the_evaluation_chooses_thresholds_on_known_rows_only():
    rng = np.random.default_rng(0)
    label, member = rng.integers(0, 2, 80), np.arange(80) < 40
    answers = {"member": member, "label": label, "confidence": rng.random(80)}
    found = evaluate(answers, None, 3)
    known = fitting_rows(member, label, 500, 3)
    expected = class_thresholds(answers["confidence"], label, member, known).to_json()
    assert found["metrics"]["class_threshold_accuracy"] == expected["overall"]
    assert found["labels"] == expected["labels"]
    scores = rng.normal(size=80)
    found = evaluate(answers, scores, 3, threshold=0.0)
    assert found["labels"] == class_decisions(scores, label, member).to_json()["labels"]
    bare = {name: answers[name] for name in ("member", "confidence")}
    assert "without labels" in str(evaluate(bare, None, 3)["metrics"]["class_threshold_accuracy"])


def test_the_ball_of_the_examples_is_declared():
    assert experiment(SPEC).measured_under().ball.radius == 0.05
    attack = {**PGD, "ball": {"kind": "Linf", "radius": 0}}
    wrong = {**LEARNING, "examples": {"kind": "Targeted", "attack": attack}}
    with pytest.raises(BadInput, match=r"attacks.a.examples.attack.ball.radius: is 0"):
        experiment({**SPEC, "attacks": {"a": wrong}})
    free = {**LEARNING, "examples": {"kind": "Targeted", "attack": {"kind": "CarliniWagner"}}}
    with pytest.raises(BadInput, match=r"attacks.a.examples.attack.kind: must be one of PGD"):
        experiment({**SPEC, "attacks": {"a": free}})


def test_torchs_own_generator_is_left_alone(store):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    run([stage()], store)
    assert torch.equal(torch.random.get_rng_state(), before)
