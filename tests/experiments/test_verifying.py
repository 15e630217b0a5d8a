"""Verified accuracy in an audit: what it proves, who lacks it, what is refused before training."""

import numpy as np
import pytest
import torch

from trilemma.attacks.membership import (
    VerifiedConfidence,
    verified_confidence,
    verified_log_odds,
)
from trilemma.bounds import Interval, margins
from trilemma.core.balls import Linf
from trilemma.core.box import UNIT
from trilemma.core.errors import BadInput
from trilemma.data import Digits, source_digest
from trilemma.experiments import gate, methods
from trilemma.experiments.audit import audit
from trilemma.experiments.evaluation import Asked, evaluate
from trilemma.experiments.events import Advanced
from trilemma.experiments.execution import run
from trilemma.experiments.graph import key
from trilemma.experiments.reports import validate
from trilemma.experiments.specs import Trained, experiment
from trilemma.experiments.stages import Bench, Split, Train, candidates, restore
from trilemma.experiments.store import Store
from trilemma.experiments.verifying import Verify
from trilemma.training.recipes import MLP

BALL = {"kind": "Linf", "radius": 0.02}
VERIFIED = {"kind": "VerifiedConfidence", "ball": BALL, "domain": {"kind": "Interval"}}
CROWN = {**VERIFIED, "domain": {"kind": "Crown"}}
SPEC = {
    "name": "proven",
    "data": {"kind": "Digits", "members": 40, "nonmembers": 30},
    "models": {"m": {"recipe": {"kind": "MLP", "epochs": 60, "hidden": [32]}}},
    "attacks": {"iv": VERIFIED, "crown": CROWN},
}


class Desk(Bench):
    """What finished stages left in a store."""

    def __init__(self, store):
        self.store = store

    scratch = None

    def load(self, parent):
        return self.store.read(key(parent))

    def progress(self, done, total, note=""):
        pass


def stage(**given):
    data = Digits(members=40, nonmembers=30)
    split = Split(data=data, fingerprint=source_digest(data), seed=0)
    trained = Trained(recipe=MLP(hidden=(32,), epochs=60))
    source = Train(split=split, model=trained, box=UNIT, seed=0)
    attack = VerifiedConfidence(ball=Linf(0.02), domain=Interval())
    return Verify(split=split, source=source, attack=attack, box=UNIT, **given)


def test_the_stage_says_what_the_functions_say(store):
    verify = stage()
    run([verify], store)
    found = store.read(key(verify)).arrays
    model = restore(verify.source, verify.split, Desk(store))
    x, y, member = candidates(store.read(key(verify.split)))
    expected = verified_confidence(model, x, y, verify.attack)
    np.testing.assert_allclose(found["confidence"], expected.numpy(), rtol=1e-6)
    expected = verified_log_odds(model, x, y, verify.attack)
    np.testing.assert_allclose(found["log_odds"], expected.numpy(), rtol=1e-5)
    least = margins(model, x, y, verify.attack.ball, Interval(), UNIT)
    table = zip(least.detach().numpy(), y, strict=True)
    proven = [bool((np.delete(row, label) > 0).all()) for row, label in table]
    assert found["proven"].tolist() == proven
    assert 0 < sum(proven) < 70
    assert (found["member"] == member).all()


def test_bounds_that_round_to_0_are_told_apart_in_an_audit():
    """Rows are scored by the log-odds; the confidences are for the histogram alone."""
    log_odds = np.array([-900.0, -950.0, -1000.0, -960.0, -1010.0, -1020.0])
    answers = {
        "member": np.arange(6) < 3,
        "label": np.zeros(6, dtype=np.int64),
        "confidence": np.zeros(6),
        "proven": np.zeros(6, dtype=bool),
    }
    found = evaluate({**answers, "log_odds": log_odds}, None, 0)
    assert found["metrics"]["auc"]["value"] == pytest.approx(8 / 9)
    assert found["curves"]["histogram"]["members"][0] == 3
    assert found["curves"]["loss"]["edges"][-1] > 900  # in nats, which are finite
    assert evaluate(answers, None, 0)["metrics"]["auc"]["value"] == 0.5


def test_a_threshold_from_a_shadow_model_is_on_the_log_odds(store):
    verify = stage()
    run([verify], store)
    answers, scores, _ = Asked(responses=verify).read(Desk(store))
    assert (scores == answers["log_odds"]).all()


def test_neither_the_chunks_nor_a_crash_change_it(store, tmp_path, monkeypatch):
    whole, chunked = stage(), stage(chunk=9)
    run([whole], store)
    calls, real = [], Verify._least

    def breaks(self, model, x, y):
        calls.append(len(x))
        if len(calls) == 4:
            raise RuntimeError("the machine went away")
        return real(self, model, x, y)

    monkeypatch.setattr(Verify, "_least", breaks)
    monkeypatch.setattr("trilemma.experiments.making._PAUSE", 0)
    other, seen = Store(tmp_path / "other"), []
    assert "went away" in run([chunked], other)[chunked].error
    run([chunked], other, on_event=seen.append)
    assert calls == [9] * 8 + [7]  # eight chunks, of which the fourth was tried twice
    assert {e.done for e in seen if isinstance(e, Advanced)} >= {0, 63, 70}
    one, two = (s.read(key(whole)).arrays for s in (store, other))
    for name, array in one.items():
        np.testing.assert_allclose(array, two[name], rtol=1e-5)


def test_an_audit_proves_no_more_than_an_attack_leaves(store):
    document = validate(audit(SPEC, store))
    assert document["status"] == "complete"
    accuracy = document["models"]["m"]["accuracy"]
    assert list(document["robustness"]) == ["adversarial", "verified", "verified_crown"]
    assert [document["robustness"][p]["name"] for p in ("verified", "verified_crown")] == [
        "Interval",
        "Crown",
    ]
    for part in ("train", "test"):
        attacked = accuracy[f"adversarial_{part}"]["value"]  # PGD-20 in the same ball
        assert accuracy[f"verified_{part}"]["value"] <= attacked
        assert accuracy[f"verified_crown_{part}"]["value"] <= attacked <= accuracy[part]["value"]
    assert accuracy["verified_train"]["value"] > 0.2
    assert set(document["models"]["m"]["membership"]) == {"iv", "crown"}


def test_what_only_recorded_answers_tell_is_not_proven(store, tmp_path):
    probabilities = np.full((20, 2), 0.5)
    path = tmp_path / "old.npz"
    np.savez(
        path,
        output_train=probabilities, train_label=np.arange(20) % 2,
        output_test=probabilities, test_label=np.arange(20) % 2,
    )  # fmt: skip
    table = {**SPEC, "models": {**SPEC["models"], "old": {"predictions": str(path)}}}
    document = audit(table, store)
    for name in ("verified_train", "verified_crown_test"):
        assert "recorded" in document["models"]["old"]["accuracy"][name]["not_evaluable"]
    assert "recorded" in document["models"]["old"]["membership"]["iv"]["auc"]["not_evaluable"]


def test_a_layer_without_bounds_is_refused_before_any_work(store, tmp_path, monkeypatch):
    (tmp_path / "soft.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Softsign(),"
        " nn.Linear(8, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    table = {**SPEC, "models": {**SPEC["models"], "soft": {"factory": "soft:make"}}}
    seen = []
    with pytest.raises(BadInput, match=r"check soft against .*Softsign"):
        audit(table, store, on_event=seen.append)
    assert not any(getattr(event, "label", "").startswith("train") for event in seen)


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        ({**VERIFIED, "ball": {"kind": "Linf", "radius": 0}}, "attacks.iv.ball.radius: is 0"),
        ({**VERIFIED, "ball": {"kind": "Linf", "radius": 1}}, "reaches beyond the box"),
        ({**VERIFIED, "domain": {"kind": "Intervals"}}, "Did you mean Interval"),
        (
            {**VERIFIED, "domain": {"kind": "Dual", "projections": 3}},
            "attacks.iv: .*no sure bound",
        ),
    ],
)
def test_what_cannot_be_verified_is_refused(attack, said):
    with pytest.raises(BadInput, match=said):
        experiment({**SPEC, "attacks": {"iv": attack}})


def test_the_ball_that_is_verified_is_attacked_too():
    measured = experiment(SPEC).measured_under()
    assert (measured.ball, measured.steps) == (Linf(0.02), 20)


def test_conditions_name_what_was_proven():
    names = methods.accuracies(SPEC)
    assert names[-4:] == [
        *("verified_train", "verified_test"),
        *("verified_crown_train", "verified_crown_test"),
    ]
    given = {"models": ["m"], "attacks": ["iv"], "metrics": methods.METRICS}
    text = "accuracy.verified_crown_test.high < 0.5"
    assert gate.parse(text, **given, accuracies=names).metric == "verified_crown_test"
    with pytest.raises(BadInput, match="kind VerifiedConfidence"):
        gate.parse(text, **given, accuracies=methods.ACCURACIES)


def test_the_bounds_of_a_seed_do_not_depend_on_torchs_own_generator(store, tmp_path):
    verify = stage()
    run([verify], store)
    torch.manual_seed(99)
    run([verify], Store(tmp_path / "again"))
    again = Store(tmp_path / "again").read(key(verify)).arrays
    assert (again["confidence"] == store.read(key(verify)).arrays["confidence"]).all()
