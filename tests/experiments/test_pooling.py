"""Reference models trained at once are those trained alone, under the same keys."""

import numpy as np
import pytest

from trilemma.experiments.audit import audit
from trilemma.experiments.events import Failed
from trilemma.experiments.execution import run
from trilemma.experiments.graph import key
from trilemma.experiments.pooling import TrainTogether
from trilemma.experiments.stages import Temper, Train, origin
from trilemma.experiments.store import Store
from trilemma.experiments.trained import plan_trained
from trilemma.training import together

MODEL = {"recipe": {"kind": "MLP", "epochs": 3, "hidden": [12]}}
SPEC = {
    "name": "pooled",
    "data": {"kind": "Digits", "members": 61, "nonmembers": 50},
    "models": {"m": {**MODEL, "temperature": 2.0}},
    "attacks": {"lira": {"kind": "Calibrated", "method": {"kind": "BASE"}}},
    "references": {"count": 6},
}


def pool(spec=SPEC):
    (cell,), _ = plan_trained(spec)
    references = cell.attacks["lira"].scores.references
    return tuple(origin(each.source) for each in references)


def alone(train):
    return Train(**{n: getattr(train, n) for n in ("split", "model", "box", "seed", "name")})


def test_each_is_what_it_is_alone_under_its_own_key(tmp_path):
    trains = pool()
    (stage,) = {key(each.together): each.together for each in trains}.values()
    assert isinstance(stage, TrainTogether)
    one, other = Store(tmp_path / "together"), Store(tmp_path / "alone")
    assert not run(trains, one).failures()
    assert not run([alone(each) for each in trains], other).failures()
    rows = {len(one.read(key(each.split)).arrays["members_y"]) for each in trains}
    assert rows == {55, 56}  # halves of 111: trained at once are those of one length
    assert one.has(key(stage))
    assert not other.has(key(stage))
    for each in trains:
        assert key(each) == key(alone(each))
        mine, theirs = one.read(key(each)), other.read(key(each))
        assert mine.arrays.keys() == theirs.arrays.keys()
        for name, weight in theirs.arrays.items():
            np.testing.assert_allclose(mine.arrays[name], weight, rtol=1e-4, atol=1e-5)
        assert mine.facts["parameters"] == theirs.facts["parameters"]
        for epoch, again in zip(mine.facts["history"], theirs.facts["history"], strict=True):
            assert epoch["loss"] == pytest.approx(again["loss"], rel=1e-5)
            assert epoch.keys() == again.keys()


def test_what_is_trained_already_is_not_trained_again(tmp_path):
    trains, store = pool(), Store(tmp_path)
    run([alone(each) for each in trains], store)
    outcomes = run(trains, store)
    assert not store.has(key(trains[0].together))
    assert len(outcomes) == 6


def test_large_models_are_left_to_be_trained_alone(store, monkeypatch):
    monkeypatch.setattr(together, "WORTH", 10)
    trains = pool()
    assert not run(trains, store).failures()
    assert not store.read(key(trains[0].together)).facts
    assert store.read(key(trains[0])).facts["parameters"] == 64 * 12 + 12 + 12 * 10 + 10


def test_a_model_that_collapses_is_the_one_that_fails(store):
    recipe = {"kind": "MLP", "hidden": [2], "epochs": 3, "batch": 100}
    recipe["optimiser"] = {"kind": "SGD", "learning_rate": 1e30}
    trains = pool({**SPEC, "models": {"m": {"recipe": recipe}}})
    outcomes = run(trains, store)
    assert not isinstance(outcomes[trains[0].together], Failed)
    assert {each.kind for each in outcomes.failures()} == {"TrainingDiverged"}


@pytest.mark.parametrize(
    "model",
    [
        {"recipe": {"kind": "SmallCNN", "epochs": 1}},
        {"recipe": {**MODEL["recipe"], "dropout": 0.5}},
        {
            **MODEL,
            "validation": {
                "attack": {"kind": "PGD", "ball": {"kind": "Linf", "radius": 0.1}, "steps": 1}
            },
        },
    ],
)
def test_what_cannot_be_one_training_is_several(model):
    data = {**SPEC["data"], "validation": 20}
    assert {each.together for each in pool({**SPEC, "data": data, "models": {"m": model}})} == {
        None
    }


def test_an_audit_has_it(store):
    document = audit(SPEC, store)
    assert document["status"] == "complete"
    (cell,), _ = plan_trained(SPEC)
    references = cell.attacks["lira"].scores.references
    assert all(isinstance(each.source, Temper) for each in references)
    assert store.has(key(references[0].source.source.together))
