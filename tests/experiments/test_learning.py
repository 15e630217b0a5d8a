"""A network on scores in an audit: its shadow model, and what a defence does to it."""

import numpy as np
import pytest
import torch

from trilemma.attacks.membership import ScoreNetwork, score_network
from trilemma.core.generators import seeded
from trilemma.experiments.audit import audit
from trilemma.experiments.graph import key
from trilemma.experiments.learning import Learn, networks
from trilemma.experiments.reports import validate
from trilemma.experiments.shadowing import ShadowSplit
from trilemma.experiments.stages import stream
from trilemma.experiments.trained import plan_trained
from trilemma.training.objectives import Natural
from trilemma.training.train import as_fit

MODEL = {"recipe": {"kind": "MLP", "epochs": 20, "hidden": [16]}}
SPEC = {
    "name": "learnt",
    "data": {"kind": "Digits", "members": 80, "nonmembers": 60, "shadow": 100},
    "models": {"m": MODEL, "r": {**MODEL, "defences": [{"kind": "Rounding", "digits": 1}]}},
    "attacks": {
        "plain": {"kind": "Confidence"},
        "scores": {"kind": "ScoreNetwork", "hidden": [4], "epochs": 3},
    },
}


def test_scores_are_those_of_the_attack_function(store):
    document = audit(SPEC, store)
    validate(document)
    assert document["status"] == "complete"
    for cell in plan_trained(SPEC)[0]:
        stage = cell.attacks["scores"].scores
        assert isinstance(stage, Learn)
        assert isinstance(stage.known.split, ShadowSplit)
        known, target = (store.read(key(s)).arrays for s in (stage.known, stage.answers))
        told = target.get("probabilities")
        told = np.exp(target["log_probabilities"]) if told is None else told
        expected = score_network(
            torch.from_numpy(np.array(told)),
            torch.from_numpy(np.exp(known["log_probabilities"])),
            torch.from_numpy(np.array(known["member"])),
            ScoreNetwork(hidden=(4,), epochs=3),
            fit=as_fit(networks(stage.attack), Natural(), classes=2),
            rng=seeded(stream("attack", 0)),
        )
        np.testing.assert_allclose(store.read(key(stage)).arrays["score"], expected.double())


def test_the_shadow_model_is_that_of_the_thresholds():
    (cell, _), _ = plan_trained({**SPEC, "shadow": {}})
    known = cell.attacks["scores"].scores.known
    assert key(known) == key(cell.transfers["plain"].shadow.responses)
    assert set(cell.transfers) == {"plain"}


def test_a_defended_model_has_the_undefended_shadow():
    bare, rounded = plan_trained(SPEC)[0]
    stages = [cell.attacks["scores"].scores for cell in (bare, rounded)]
    assert key(stages[0].known) == key(stages[1].known)
    assert key(stages[0].answers) != key(stages[1].answers)


@pytest.mark.parametrize("shadow", [{}, {"shadow": {}}])
def test_without_shadow_rows_there_is_nothing_to_learn_from(shadow):
    data = {k: v for k, v in SPEC["data"].items() if k != "shadow"}
    for cell in plan_trained({**SPEC, **shadow, "data": data})[0]:
        assert "no shadow rows" in cell.missing["scores"]
        assert set(cell.attacks) == {"plain"}
