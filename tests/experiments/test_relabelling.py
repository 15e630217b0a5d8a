"""The transfer attack in an audit: who labels, who is trained, what is read."""

import numpy as np
import pytest

from trilemma.experiments import responses
from trilemma.experiments.audit import audit
from trilemma.experiments.graph import key
from trilemma.experiments.reports import render_html, validate
from trilemma.experiments.specs import Shadow, Trained, experiment
from trilemma.experiments.stages import Train
from trilemma.experiments.trained import plan_trained
from trilemma.training.recipes import MLP

MODEL = {"recipe": {"kind": "MLP", "epochs": 20, "hidden": [16]}}
SPEC = {
    "name": "copied",
    "data": {"kind": "Digits", "members": 80, "nonmembers": 60, "shadow": 120},
    "models": {"m": MODEL},
    "attacks": {
        "plain": {"kind": "Confidence"},
        "transfer": {"kind": "TransferAttack"},
        "entropy": {"kind": "TransferAttack", "statistic": {"kind": "Entropy"}},
    },
}


def copy_of(cell):
    return cell.attacks["transfer"].responses.source


def test_the_copy_learns_the_targets_labels(store):
    document = audit(SPEC, store)
    validate(document)
    assert document["status"] == "complete"
    (cell,), _ = plan_trained(SPEC)
    copy = copy_of(cell)
    assert isinstance(copy, Train)
    relabelled = store.read(key(copy.split))
    assert relabelled.facts["queries"] == 120
    own = store.read(key(cell.split)).arrays
    np.testing.assert_array_equal(relabelled.arrays["members_x"], own["shadow_x"])
    target = cell.attacks["plain"].responses  # whose rows the target labels as it labels these
    assert target.source == copy.split.source
    assert (relabelled.arrays["members_y"] != own["shadow_y"]).any()  # not the true ones
    # scored by the copy's answers about the target's own rows, with the true labels
    answers = store.read(key(cell.attacks["transfer"].responses)).arrays
    assert answers["member"].tolist() == [True] * 80 + [False] * 60
    expected_label = np.concatenate([own["members_y"], own["nonmembers_y"]])
    np.testing.assert_array_equal(answers["label"], expected_label)
    for id_, name in (("transfer", "Loss"), ("entropy", "Entropy")):
        found = store.read(key(cell.attacks[id_].scores)).arrays["score"]
        np.testing.assert_array_equal(found, responses.statistic(answers, name))
    assert "Transfer attack through a shadow model" in render_html(document)


def test_both_attacks_share_the_copy():
    (cell,), _ = plan_trained(SPEC)
    assert key(cell.attacks["entropy"].responses) == key(cell.attacks["transfer"].responses)


def test_the_copy_may_be_another_network():
    other = {"recipe": {"kind": "MLP", "epochs": 5, "hidden": [4]}}
    (cell,), _ = plan_trained({**SPEC, "shadow": {"like": other}})
    assert copy_of(cell).model.recipe.hidden == (4,)
    assert set(cell.transfers) == {"plain"}  # a shadow model has no shadow of its own
    assert cell.transfers["plain"].shadow.responses.source.model.recipe.hidden == (4,)


def test_without_shadow_rows_there_is_no_transfer_attack():
    data = {k: v for k, v in SPEC["data"].items() if k != "shadow"}
    (cell,), _ = plan_trained({**SPEC, "data": data})
    assert "no shadow rows" in cell.missing["transfer"]
    assert set(cell.attacks) == {"plain"}


def test_a_users_own_model_is_copied_as_declared(tmp_path, monkeypatch):
    (tmp_path / "copied_own.py").write_text(
        "from torch import nn\n"
        "def make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec = {**SPEC, "models": {"own": {"factory": "copied_own:make"}}}
    (cell,), _ = plan_trained(spec)
    assert "how this model was trained is not declared" in cell.missing["transfer"]
    (cell,), _ = plan_trained({**spec, "shadow": {"like": MODEL}})
    assert set(cell.attacks) == set(SPEC["attacks"])
    assert set(cell.transfers) == {"plain"}


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_shadow_is_tempered_as_it_is_declared(temperature):
    like = Trained(recipe=MLP(), temperature=temperature)
    assert experiment({**SPEC, "shadow": {"like": {**MODEL, "temperature": temperature}}})
    assert Shadow(like=like).like.temperature == temperature
    spec = {**SPEC, "shadow": {"like": {**MODEL, "temperature": temperature}}}
    (cell,), _ = plan_trained(spec)
    source = cell.transfers["plain"].shadow.responses.source
    assert getattr(source, "temperature", 1.0) == temperature
