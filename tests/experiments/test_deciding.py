"""Boundary attacks that decide without labelled rows, in an audit."""

from dataclasses import dataclass

import numpy as np
import pytest

from trilemma.attacks.evasion import HopSkipJump
from trilemma.attacks.membership import BoundaryDistance, top_percentile
from trilemma.experiments import methods, thresholds
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.audit import audit
from trilemma.experiments.graph import Bench, Stage, key
from trilemma.experiments.reports import validate
from trilemma.experiments.specs import experiment
from trilemma.experiments.trained import plan_trained

SEARCH = {"kind": "BoundaryDistance", "search": {"kind": "HopSkipJump", "max_queries": 120}}
SPEC = {
    "name": "decided",
    "data": {"kind": "Digits", "members": 60, "nonmembers": 50},
    "models": {"m": {"recipe": {"kind": "MLP", "epochs": 20, "hidden": [16]}}},
    "attacks": {
        "gap": {"kind": "Gap"},
        "boundary": SEARCH,
        "early": {"kind": "EarlyDecisions", "attack": SEARCH, "confidence": 0.9},
    },
    "random_threshold": {"samples": 60, "percentile": 40},
    "searched_rows": 30,
}


@dataclass(frozen=True, kw_only=True)
class Known(Stage):
    REVISION = 1
    name: str

    def label(self):
        return self.name

    def run(self, bench):
        raise AssertionError("its artifact is given")


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    from trilemma.experiments.store import Store

    store = Store(tmp_path_factory.mktemp("store"))
    document = audit(SPEC, store)
    validate(document)
    assert document["failures"] == []
    (cell,), _ = plan_trained(SPEC)
    return document["models"]["m"], cell, store


def test_the_threshold_is_the_random_images_and_sees_no_membership(audited):
    model, cell, store = audited
    found = model["thresholds"]["boundary"]
    judge = cell.thresholds["boundary"]
    images = store.read(key(judge.images))
    assert len(images.arrays["distance"]) == 60
    import torch

    expected = top_percentile(torch.from_numpy(np.array(images.arrays["distance"])), 40)
    assert found["threshold"] == expected
    asked = store.read(key(cell.attacks["boundary"].scores)).arrays
    member, flagged = asked["member"].astype(bool), asked["score"] > expected
    assert len(member) == 60
    assert member.sum() == 30
    assert found["tpr"]["value"] == flagged[member].mean()
    assert found["fpr"]["value"] == flagged[~member].mean()
    accuracy = model["membership"]["boundary"][methods.RANDOM]
    assert accuracy["value"] == (found["tpr"]["value"] + 1 - found["fpr"]["value"]) / 2
    rng = np.random.default_rng(0)
    for _ in range(5):  # whoever is a member: what is called one is the same
        again = thresholds.judged(asked["score"], rng.permutation(member), expected)
        share = again["tpr"]["value"] * 30 + again["fpr"]["value"] * 30
        assert share == pytest.approx(flagged.sum())


def test_f1_by_percentile_is_that_of_each_entry_of_the_queue(audited):
    model, cell, store = audited
    found = model["thresholds"]["boundary"]
    queue = store.read(key(cell.thresholds["boundary"].images)).arrays["distance"]
    queue = np.sort(queue[np.isfinite(queue)])
    asked = store.read(key(cell.attacks["boundary"].scores)).arrays
    member = asked["member"].astype(bool)
    for percentile, f1 in zip(found["percentiles"], found["f1_by_percentile"], strict=True):
        larger = queue[-max(1, int(np.ceil(percentile * len(queue) / 100)))]
        flagged = asked["score"] > larger
        hits, alarms = flagged[member].sum(), flagged[~member].sum()
        assert f1["value"] == pytest.approx(2 * hits / (hits + alarms + member.sum()))
    values = [entry["value"] for entry in found["f1_by_percentile"]]
    assert len(set(values)) > 1


def test_early_decisions_agree_with_the_whole_search_and_save(audited):
    model, cell, store = audited
    early = store.read(key(cell.attacks["early"].scores))
    whole = store.read(key(cell.attacks["boundary"].scores)).arrays
    np.testing.assert_array_equal(early.arrays["row"], whole["row"])
    bound, certain = early.facts["bound"], early.arrays["certain"].astype(bool)
    side = early.arrays["score"] > bound
    np.testing.assert_array_equal(side[certain], (whole["score"] > bound)[certain])
    np.testing.assert_array_equal(early.arrays["score"] >= early.facts["threshold"], side)
    found = model["thresholds"]["early"]
    spent = early.arrays["queries"].sum()
    assert spent + early.arrays["saved"].sum() == whole["queries"].sum()
    assert found["queries"] == pytest.approx(spent / 60)
    assert found["saved"] == pytest.approx(1 - spent / whole["queries"].sum())
    assert found["saved"] > 0.02
    assert found["certain"] == pytest.approx(certain.mean())
    assert found["prepared"] > 60


def test_only_boundary_attacks_are_judged_so(audited):
    model, _, _ = audited
    assert set(model["thresholds"]) == {"boundary", "early"}
    assert methods.RANDOM not in model["membership"]["gap"]
    assert methods.RANDOM in methods.metrics(SPEC)
    plain = {**SPEC, "attacks": {"boundary": SEARCH}}
    del plain["random_threshold"]
    assert methods.RANDOM not in methods.metrics(plain)
    (cell,), _ = plan_trained(plain)
    assert not cell.thresholds


def test_images_that_tell_nothing_are_said():
    judge = thresholds.ByImages(
        distances=Known(name="rows"), images=Known(name="images"), percentile=50.0
    )

    class Fed(Bench):
        scratch = None

        def __init__(self):
            rows = {"member": np.array([True, False]), "score": np.array([1.0, 0.0])}
            images = Artifact(arrays={"distance": np.full(3, np.inf)}, facts={"queries": 3})
            self.given = [Artifact(arrays=rows, facts={}), images]

        def load(self, parent):
            return self.given.pop(0)

        def progress(self, done, total, note=""):
            pass

    facts = judge.run(Fed()).facts
    assert facts == {"prepared": 3, "not_evaluable": thresholds.NONE}


def test_the_declaration_is_read():
    declared = experiment(SPEC)
    assert declared.random_threshold.percentile == 40
    assert declared.attacks["early"].attack == BoundaryDistance(search=HopSkipJump(max_queries=120))
    assert declared.attacks["early"].threshold.samples == 100
    fixed = {"kind": "EarlyDecisions", "attack": SEARCH, "threshold": 0.5}
    declared = experiment({**SPEC, "attacks": {"early": fixed}})
    assert declared.attacks["early"].threshold == 0.5
