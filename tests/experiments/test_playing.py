"""Adversarial regularisation in an experiment: whose rows it plays with, and who may not."""

import numpy as np
import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.experiments.audit import audit
from trilemma.experiments.graph import key
from trilemma.experiments.parts import part
from trilemma.experiments.reports import validate
from trilemma.experiments.specs import experiment
from trilemma.experiments.stages import stream
from trilemma.experiments.store import Store
from trilemma.experiments.trained import plan_trained
from trilemma.training import MLP, AdversarialRegularisation, Natural, train

GAME = {"kind": "AdversarialRegularisation", "answer": [16], "label": [8], "both": [8]}
OBJECTIVE = {
    "kind": "Sum",
    "terms": [{"kind": "Natural"}, {"kind": "Scaled", "factor": 3, "term": GAME}],
}
DATA = {"kind": "Digits", "members": 40, "nonmembers": 40, "shadow": 40, "validation": 30}
SPEC = {
    "name": "played",
    "data": DATA,
    "models": {
        "m": {"recipe": {"kind": "MLP", "epochs": 3, "hidden": [8]}, "objective": OBJECTIVE}
    },
    "shadow": {},
    "sensitivity": {"rounds": 2},
}


def test_it_plays_with_the_validation_rows_and_with_no_others(tmp_path):
    store = Store(tmp_path)
    document = validate(audit(SPEC, store))
    assert document["status"] == "complete"  # its shadow and its retrainings play, too
    (cell,), _ = plan_trained(SPEC)
    parts = store.read(key(cell.split))
    term = AdversarialRegularisation(answer=(16,), label=(8,), both=(8,))
    members = part(parts, "members")

    def weights(reference):
        model = train(
            MLP(epochs=3, hidden=(8,)),
            Natural() + 3 * term,
            members,
            stream("train", 0),
            classes=10,
            reference=part(parts, reference),
        ).model
        return model.state_dict()

    found = {
        k: torch.from_numpy(np.array(v)) for k, v in store.read(key(cell.source)).arrays.items()
    }
    assert all(torch.equal(w, found[name]) for name, w in weights("validation").items())
    assert any(not torch.equal(w, found[name]) for name, w in weights("nonmembers").items())


def test_without_such_rows_it_is_refused_as_it_is_declared():
    without = {k: v for k, v in DATA.items() if k != "validation"}
    said = r"models.m.objective: adversarial regularisation .* validation: 300"
    with pytest.raises(BadInput, match=said):
        experiment({**SPEC, "data": without})


def test_its_key_is_its_own():
    (one,), _ = plan_trained(SPEC)
    natural = {"m": {**SPEC["models"]["m"], "objective": {"kind": "Natural"}}}
    (other,), _ = plan_trained({**SPEC, "models": natural})
    assert key(one.source) != key(other.source)
