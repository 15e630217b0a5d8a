"""Temperature scaling in an experiment: one training, other confidences, the same labels."""

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.experiments.audit import audit
from trilemma.experiments.graph import Bench, key
from trilemma.experiments.specs import experiment
from trilemma.experiments.stages import candidates, restore
from trilemma.experiments.store import Store
from trilemma.experiments.trained import plan_trained

MLP = {"recipe": {"kind": "MLP", "epochs": 30, "hidden": [32]}}
WARM, HOT = {**MLP, "temperature": 5.0}, {**MLP, "temperature": 1e9}
SPEC = {
    "name": "temperatures",
    "data": {"kind": "Digits", "members": 60, "nonmembers": 60},
    "models": {"as trained": MLP, "warm": WARM, "hot": HOT},
    "attacks": {
        "confidence": {"kind": "Confidence"},
        "adversarial": {
            "kind": "AdversarialConfidence",
            "attack": {"kind": "PGD", "ball": {"kind": "Linf", "radius": 0.1}, "steps": 3},
        },
    },
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def found(store):
    return audit(SPEC, store)


@pytest.fixture(scope="module")
def sources():
    cells, _ = plan_trained(SPEC)
    return {cell.model: cell.source for cell in cells}


class Desk(Bench):
    """What finished stages left in a store."""

    scratch = None

    def __init__(self, store):
        self.store = store

    def load(self, parent):
        return self.store.read(key(parent))

    def progress(self, done, total, note=""):
        pass


def test_models_that_differ_in_temperature_are_trained_once(sources):
    plain, warm, hot = (sources[name] for name in SPEC["models"])
    assert key(plain) == key(warm.source) == key(hot.source)
    assert len({key(each) for each in (plain, warm, hot)}) == 3


def test_logits_are_divided(found, store, sources):
    bench, plain = Desk(store), sources["as trained"]
    x, _, _ = candidates(bench.load(plain.split))
    expected = restore(plain, plain.split, bench)(x) / 5
    with torch.no_grad():
        torch.testing.assert_close(restore(sources["warm"], plain.split, bench)(x), expected)


def test_labels_stay_and_the_report_names_the_temperature(found):
    plain, warm, hot = (found["models"][name] for name in SPEC["models"])
    for part in ("train", "test"):
        assert plain["accuracy"][part] == warm["accuracy"][part] == hot["accuracy"][part]
    assert "temperature" not in plain["description"]
    assert warm["description"]["temperature"] == "5"


def test_other_confidences_leak_otherwise(found):
    """Temperature does not keep the order of the confidences of different rows."""
    auc = {
        name: model["membership"]["confidence"]["auc"]["value"]
        for name, model in found["models"].items()
    }
    assert len(set(auc.values())) == 3


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), "warm"])
def test_a_temperature_is_a_number_above_0(temperature):
    table = {**SPEC, "models": {"m": {**MLP, "temperature": temperature}}}
    with pytest.raises(BadInput, match=r"models\.m\.temperature"):
        experiment(table)
