"""Reference models: whose rows they saw, who shares them, what a target is judged by."""

import dataclasses

import jsonschema
import numpy as np
import pytest
import torch

from trilemma.attacks.membership import LiRA, score
from trilemma.core.errors import BadInput
from trilemma.data import Digits, source_digest
from trilemma.experiments import methods, responses
from trilemma.experiments.audit import audit
from trilemma.experiments.declared import portable
from trilemma.experiments.execution import run
from trilemma.experiments.graph import key, parents
from trilemma.experiments.referencing import Calibrate, CalibrateReferences, ReferenceSplit
from trilemma.experiments.reports import render_html, render_markdown, schema
from trilemma.experiments.specs import References, experiment
from trilemma.experiments.stages import Split, Train
from trilemma.experiments.trained import plan_trained

BALL = {"kind": "Linf", "radius": 0.1}
ADVERSARIAL = {
    "kind": "AdversarialConfidence",
    "attack": {"kind": "PGD", "ball": BALL, "steps": 2},
}
VERIFIED = {"kind": "VerifiedConfidence", "ball": BALL, "domain": {"kind": "Interval"}}
MODEL = {"recipe": {"kind": "MLP", "epochs": 20, "hidden": [16]}}
SPEC = {
    "name": "calibrated",
    "data": {"kind": "Digits", "members": 80, "nonmembers": 60},
    "models": {"m": MODEL},
    "attacks": {
        "plain": {"kind": "Confidence"},
        "lira": {"kind": "Calibrated"},
        "rmia": {"kind": "Calibrated", "method": {"kind": "RMIA"}, "signal": ADVERSARIAL},
        "base": {"kind": "Calibrated", "method": {"kind": "BASE"}, "signal": VERIFIED},
    },
    "references": {"count": 6},
    "seeds": [0, 1],
}


def splits(count=6, **sizes):
    data = Digits(**({"members": 80, "nonmembers": 60} | sizes))
    split = Split(data=data, fingerprint=source_digest(data), seed=0)
    return split, [ReferenceSplit(split=split, seed=0, index=index) for index in range(count)]


def every(stages):
    """Some stages and all they rest on, by key."""
    found = {}
    waiting = list(stages)
    while waiting:
        stage = waiting.pop()
        if key(stage) not in found:
            found[key(stage)] = stage
            waiting += parents(stage)
    return list(found.values())


def test_each_row_is_in_half_of_the_references(store):
    split, halves = splits()
    run(halves, store)
    parts = store.read(key(split)).arrays
    x = np.concatenate([parts["members_x"], parts["nonmembers_x"]])
    y = np.concatenate([parts["members_y"], parts["nonmembers_y"]])
    seen = np.zeros((6, 140), dtype=bool)
    for index, half in enumerate(halves):
        found = store.read(key(half))
        seen[index, found.arrays["row"]] = True
        np.testing.assert_array_equal(found.arrays["members_x"], x[seen[index]])
        np.testing.assert_array_equal(found.arrays["members_y"], y[seen[index]])
        np.testing.assert_array_equal(found.arrays["nonmembers_x"], x[~seen[index]])
        counts = [np.bincount(y[side], minlength=10) for side in (seen[index], ~seen[index])]
        assert np.abs(counts[0] - counts[1]).max() <= 2  # both have the labels' shares
        assert found.facts["classes"] == 10
    assert (seen.sum(0) == 3).all()
    assert (seen[0] == ~seen[1]).all()
    assert (seen[0] != seen[2]).mean() > 0.3  # other halves, not the same ones again
    # nothing in the choice follows the target's members
    for row in seen:
        assert abs(row[:80].mean() - row[80:].mean()) < 0.25


def test_shadow_rows_make_up_for_a_half_that_is_too_small(store):
    split, (half, *_) = splits(members=100, nonmembers=20, shadow=90)
    run([half], store)
    found, parts = store.read(key(half)).arrays, store.read(key(split)).arrays
    assert len(found["row"]) == 60
    assert len(found["members_y"]) == 100  # as many as the target was trained on
    shadow = {row.tobytes() for row in parts["shadow_x"]}
    assert all(row.tobytes() in shadow for row in found["members_x"][60:])
    _, (lacking, *_) = splits(members=100, nonmembers=20)
    run([lacking], store)
    assert len(store.read(key(lacking)).arrays["members_y"]) == 60


def test_all_calibrated_attacks_share_the_references():
    cells, _ = plan_trained(SPEC)
    for cell in cells:
        trained = [each for each in every(cell.stages()) if isinstance(each, Train)]
        assert len(trained) == 1 + 6
        assert len({each.seed for each in trained}) == 7
    assert not {key(s) for s in every(cells[0].stages()) if isinstance(s, Train)} & {
        key(s) for s in every(cells[1].stages()) if isinstance(s, Train)
    }


def test_without_a_calibrated_attack_none_is_trained():
    plain = {**SPEC, "attacks": {"plain": {"kind": "Confidence"}}}
    (cell, _), _ = plan_trained(plain)
    assert len([s for s in every(cell.stages()) if isinstance(s, Train)]) == 1


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """The document, its store and its cells."""
    from trilemma.experiments.store import Store

    store = Store(tmp_path_factory.mktemp("calibrated"))
    return audit(SPEC, store), store, plan_trained(SPEC)[0]


def test_scores_are_those_of_the_attack_function(audited):
    _, store, (cell, _) = audited
    evaluation = cell.attacks["lira"]
    calibrate = evaluation.scores
    assert isinstance(calibrate, Calibrate)
    read = lambda stage: responses.log_odds(store.read(key(stage)).arrays)  # noqa: E731
    trained = torch.zeros(6, 140, dtype=torch.bool)
    for index, half in enumerate(calibrate.halves):
        trained[index, store.read(key(half)).arrays["row"]] = True
    about = torch.from_numpy(np.stack([read(each) for each in calibrate.references]))
    expected = score(torch.from_numpy(read(calibrate.answers)), about, trained, LiRA())
    found = store.read(key(calibrate)).arrays
    np.testing.assert_allclose(found["score"], expected.numpy())
    assert found["member"].tolist() == [True] * 80 + [False] * 60


def test_references_are_judged_by_the_others(audited):
    _, store, (cell, _) = audited
    known = cell.transfers["lira"].shadow.scores
    assert isinstance(known, CalibrateReferences)
    found = store.read(key(known)).arrays
    answers = [responses.log_odds(store.read(key(s)).arrays) for s in known.references]
    about = torch.from_numpy(np.stack(answers))
    trained = torch.from_numpy(found["member"]).view(6, 140)
    rest = [0, 1, 2, 4, 5]
    expected = score(about[3], about[rest], trained[rest], LiRA())
    np.testing.assert_allclose(found["score"][3 * 140 : 4 * 140], expected.numpy())


def test_the_document_has_every_calibrated_attack(audited):
    document, _, _ = audited
    jsonschema.validate(document, schema())
    assert document["status"] == "complete"
    model = document["models"]["m"]
    for attack in ("lira", "rmia", "base"):
        found = model["membership"][attack]
        assert set(found) == set(methods.metrics(SPEC))
        assert 0.5 <= found["best_threshold_accuracy"]["value"] <= 1
        assert len(found["shadow_tpr_at_fpr_0.1"]["seeds"]) == 2
        assert found["shadow_fpr_at_fpr_0.01"]["value"] < 0.2
    assert not set(methods.OPERATING) & set(model["membership"]["plain"])
    assert "shadow" not in model  # not every attack was tried on shadow models
    title = document["methods"]["rmia"]["title"]
    assert title == "Share of a population dominated (RMIA): confidence on adversarial inputs (I_A)"
    assert "Zarifzadeh" in document["methods"]["rmia"]["source"]
    assert "Song et al. 2019, eq. 18" in document["methods"]["rmia"]["source"]


def test_reports_show_thresholds_that_were_fixed_on_shadow_models(audited):
    document, _, _ = audited
    page, lines = render_html(document), render_markdown(document)
    label = "Members found, threshold from shadow models at 1 % false alarms"
    assert label in page
    assert label in lines
    assert "Precision of the shadow models" in page


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_references_are_tempered_as_the_target_is(temperature):
    spec = {**SPEC, "models": {"m": {**MODEL, "temperature": temperature}}}
    (cell, _), _ = plan_trained(spec)
    sources = {s.source for s in cell.attacks["lira"].scores.references}
    assert {getattr(each, "temperature", 1.0) for each in sources} == {temperature}


def test_a_users_own_model_is_calibrated_once_its_training_is_declared(tmp_path, monkeypatch):
    (tmp_path / "calibrated_own.py").write_text(
        "from torch import nn\n"
        "def make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec = {
        **SPEC,
        "models": {"own": {"factory": "calibrated_own:make"}},
        "attacks": {"plain": {"kind": "Confidence"}, "lira": {"kind": "Calibrated"}},
    }
    (cell,), _ = plan_trained(spec)
    assert "how this model was trained is not declared" in cell.missing["lira"]
    assert set(cell.attacks) == {"plain"}
    (cell,), _ = plan_trained({**spec, "references": {"count": 6, "like": MODEL}})
    assert set(cell.attacks) == {"plain", "lira"}
    assert not cell.missing


@pytest.mark.parametrize("count", [0, 4, 7, -6])
def test_an_odd_or_small_number_of_references_is_refused(count):
    with pytest.raises(BadInput, match=r"references.count: is"):
        References(count=count)


def test_a_ball_that_a_calibrated_signal_perturbs_in_is_checked():
    wrong = {**ADVERSARIAL, "attack": {**ADVERSARIAL["attack"], "ball": {**BALL, "radius": 0}}}
    attacks = {"lira": {"kind": "Calibrated", "signal": wrong}}
    with pytest.raises(BadInput, match=r"attacks.lira.signal.attack.ball.radius: is 0"):
        experiment({**SPEC, "attacks": attacks})


def test_the_declared_experiment_can_be_carried_elsewhere():
    assert portable(SPEC)["references"] == {"count": 6}
    assert dataclasses.asdict(experiment(SPEC).references)["count"] == 6
