"""Quantile regression in an audit: no shadow model, shadow rows' scores, thresholds expected."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from trilemma.attacks.membership import Pinball, QuantileRegression, quantile_regression
from trilemma.core.errors import BadInput
from trilemma.core.generators import draw_seed, seeded
from trilemma.experiments import methods, responses
from trilemma.experiments.audit import audit
from trilemma.experiments.graph import key, parents
from trilemma.experiments.quantiling import Outside, Quantiles, whole
from trilemma.experiments.reports import validate
from trilemma.experiments.specs import experiment
from trilemma.experiments.stages import Train, candidates, stream
from trilemma.experiments.trained import plan_trained
from trilemma.training import MLP, Stopping, regress

MODEL = {"recipe": {"kind": "MLP", "epochs": 8, "hidden": [16]}}
BALL = {"kind": "Linf", "radius": 0.05}
SPEC = {
    "name": "expected",
    "data": {"kind": "Digits", "members": 80, "nonmembers": 60, "shadow": 100},
    "models": {"m": MODEL, "r": {**MODEL, "defences": [{"kind": "Rounding", "digits": 1}]}},
    "attacks": {
        "qmia": {"kind": "QuantileRegression"},
        "pinball": {
            "kind": "QuantileRegression",
            "signal": {"kind": "Loss"},
            "loss": {"kind": "Pinball", "levels": [0.5, 0.9]},
            "patience": 3,
        },
    },
}


def trainings(stage):
    """All trainings that a stage rests on."""
    below = {key(each) for parent in parents(stage) for each in trainings(parent)}
    found = {key(each): each for parent in parents(stage) for each in trainings(parent)}
    assert below == set(found)
    return [*found.values(), *([stage] if isinstance(stage, Train) else [])]


def test_scores_are_those_of_the_attack_function(store):
    document = audit(SPEC, store)
    validate(document)
    assert document["status"] == "complete"
    bare, _ = plan_trained(SPEC)[0]
    stage = bare.attacks["qmia"].scores
    assert isinstance(stage, Quantiles)
    x, _, _ = candidates(store.read(key(stage.split)))
    known_x, _, member = candidates(store.read(key(stage.known_split)))
    assert len(known_x) == 100
    assert not member.any()
    signal, known = (
        torch.from_numpy(responses.log_odds(store.read(key(asked.responses)).arrays))
        for asked in (stage.answers, stage.known)
    )

    def fitted(x, scores, criterion, rng):
        recipe, stopping = MLP(hidden=(16,), epochs=8), Stopping(patience=10)
        common = {"outputs": criterion.outputs, "stopping": stopping}
        return regress(recipe, criterion.loss, x, scores, draw_seed(rng), **common).model

    expected = quantile_regression(
        signal, x, known, known_x, regress=fitted, rng=seeded(stream("attack", 0))
    )
    found = store.read(key(stage))
    np.testing.assert_allclose(found.arrays["score"], expected, rtol=1e-5, atol=1e-6)
    about = found.facts["regression"]
    assert about["rows"] == 100
    assert about["held_out"] == 20
    assert 1 <= about["epoch"] <= 8
    assert about["parameters"] == 64 * 16 + 16 + 16 * 2 + 2


def test_thresholds_are_fixed_on_rows_held_out_or_as_the_regression_expects(store):
    document = audit(SPEC, store)
    bare, _ = plan_trained(SPEC)[0]
    found = store.read(key(bare.attacks["qmia"].scores)).arrays
    numbers = document["models"]["m"]["membership"]["qmia"]
    assert len(found["held_out"]) == 20  # which do not resolve 1 %
    fine = found["score"] > norm.isf(0.01)
    assert numbers["shadow_tpr_at_fpr_0.01"]["value"] == fine[found["member"]].mean()
    assert numbers["shadow_fpr_at_fpr_0.01"]["value"] == fine[~found["member"]].mean()
    above = found["score"] > np.sort(found["held_out"])[-2]  # the 19th of 20, as 21 * 0.9 says
    assert numbers["shadow_tpr_at_fpr_0.1"]["value"] == above[found["member"]].mean()
    assert numbers["shadow_fpr_at_fpr_0.1"]["value"] == above[~found["member"]].mean()
    assert "non-members only" in numbers["shadow_threshold_accuracy"]["not_evaluable"]
    assert set(methods.metrics(SPEC)) == set(numbers)
    assert "shadow" not in document["models"]["m"]


def test_no_other_model_is_trained_than_the_target():
    for cell in plan_trained(SPEC)[0]:
        for stage in (*cell.attacks.values(), *cell.transfers.values()):
            assert {key(each) for each in trainings(stage)} == {key(cell.source)}


def test_a_shadow_model_changes_nothing_of_it(store):
    (cell, _), (shadowed, _) = plan_trained(SPEC)[0], plan_trained({**SPEC, "shadow": {}})[0]
    assert {k: key(v) for k, v in cell.transfers.items()} == {
        k: key(v) for k, v in shadowed.transfers.items()
    }


def test_a_model_of_ones_own_needs_no_more(store, tmp_path, monkeypatch):
    code = "import torch\n\ndef make():\n    torch.manual_seed(0)\n"
    code += "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    (tmp_path / "ones_own_model.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    spec = {**SPEC, "models": {"own": {"factory": "ones_own_model:make"}}}
    document = audit(spec, store)
    assert document["status"] == "complete"
    for attack in SPEC["attacks"]:
        assert "value" in document["models"]["own"]["membership"][attack]["shadow_tpr_at_fpr_0.1"]
    (cell,), _ = plan_trained(spec)
    assert cell.attacks["qmia"].scores.recipe == MLP()
    like = {"recipe": {"kind": "SmallCNN", "epochs": 2}}
    (cell,), _ = plan_trained({**spec, "shadow": {"like": like}})
    assert type(cell.attacks["qmia"].scores.recipe).__name__ == "SmallCNN"


def test_behind_a_defence_the_shadow_rows_are_defended_alike():
    data = {**SPEC["data"], "validation": 40}
    models = {"g": {**MODEL, "defences": [{"kind": "MemGuard"}]}}
    (cell,), _ = plan_trained({**SPEC, "data": data, "models": models})
    stage = cell.attacks["qmia"].scores
    answers, known = stage.answers.responses, stage.known.responses
    assert answers.defences == known.defences
    assert key(answers.guard) == key(known.guard)
    assert isinstance(known.answers.split, Outside)
    assert whole(known.answers.split) == answers.answers.split


@pytest.mark.parametrize("shadow", [{}, {"shadow": {}}])
def test_without_shadow_rows_nothing_can_be_expected(shadow):
    data = {k: v for k, v in SPEC["data"].items() if k != "shadow"}
    for cell in plan_trained({**SPEC, **shadow, "data": data})[0]:
        assert "no shadow rows" in cell.missing["qmia"]
        assert not cell.attacks


def test_a_signal_from_the_model_itself_is_not_had_behind_a_defence():
    signal = {"kind": "VerifiedConfidence", "ball": BALL, "domain": {"kind": "Interval"}}
    attacks = {"v": {"kind": "QuantileRegression", "signal": signal}}
    bare, rounded = plan_trained({**SPEC, "attacks": attacks})[0]
    assert set(bare.attacks) == set(bare.transfers) == {"v"}
    assert "behind its defences" in rounded.missing["v"]
    assert not rounded.transfers


def test_a_signal_that_costs_many_queries_is_of_some_rows(store):
    signal = {"kind": "NoiseRobustness", "noise": {"kind": "GaussianNoise", "sigma": 0.3}}
    attacks = {"q": {"kind": "QuantileRegression", "signal": {**signal, "copies": 5}}}
    spec = {**SPEC, "models": {"m": MODEL}, "attacks": attacks, "searched_rows": 30}
    document = audit(spec, store)
    assert document["status"] == "complete"
    (cell,), _ = plan_trained(spec)
    found = store.read(key(cell.attacks["q"].scores))
    assert len(found.arrays["row"]) == len(found.arrays["score"]) == 60
    assert found.facts["regression"]["rows"] == 30
    asked = store.read(key(cell.attacks["q"].scores.answers.scores)).arrays
    np.testing.assert_array_equal(found.arrays["row"], asked["row"])
    np.testing.assert_array_equal(found.arrays["member"], found.arrays["row"] < 80)


def test_the_ball_of_a_signal_is_checked():
    perturbed = {"kind": "PGD", "ball": {**BALL, "radius": 2}}
    signal = {"kind": "AdversarialConfidence", "attack": perturbed}
    with pytest.raises(BadInput, match=r"attacks\.q\.signal\.attack\.ball"):
        experiment({**SPEC, "attacks": {"q": {"kind": "QuantileRegression", "signal": signal}}})


def test_a_spec_says_what_python_says():
    found = experiment(SPEC).attacks
    assert found["qmia"] == QuantileRegression()
    assert found["pinball"].loss == Pinball(levels=(0.5, 0.9))
