"""The transfer attack in an audit: who labels, who is trained, what is read."""

import numpy as np
import pytest

from trilemma.core.errors import BadInput
from trilemma.experiments import methods, responses
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


SEVERAL = {
    **SPEC,
    "attacks": {
        "transfer": {"kind": "TransferAttack"},
        "few": {"kind": "TransferAttack", "copy": "few"},
        "small": {"kind": "TransferAttack", "copy": "small"},
    },
    "copies": {
        "few": {"rows": 50},
        "small": {"like": {"recipe": {"kind": "MLP", "epochs": 3, "hidden": [4]}}},
    },
}


def test_several_copies_of_one_target(store):
    """Figure 3 of Li & Zhang: over the rows that are labelled, and over networks."""
    document = audit(SEVERAL, store)
    validate(document)
    assert document["failures"] == []
    (cell,), _ = plan_trained(SEVERAL)
    sources = {id_: cell.attacks[id_].responses.source for id_ in SEVERAL["attacks"]}
    assert len({key(each) for each in sources.values()}) == 3
    assert sources["small"].model.recipe.hidden == (4,)
    assert key(sources["small"].split) == key(sources["transfer"].split)  # labelled once
    few = store.read(key(sources["few"].split))
    shadow = store.read(key(cell.split)).arrays["shadow_x"]
    assert few.facts["queries"] == 50
    taken = {row.tobytes() for row in few.arrays["members_x"]}
    assert len(taken) > 45
    assert taken <= {row.tobytes() for row in shadow}
    costs = document["models"]["m"]["cost"]
    assert set(costs) == {"target", "copy", "copy few", "copy small"}
    assert costs["copy small"]["parameters"] < costs["copy"]["parameters"]


def test_the_default_copys_key_is_that_of_before_there_were_names():
    (cell,), _ = plan_trained(SPEC)
    (several,), _ = plan_trained(SEVERAL)
    first, second = (key(each.attacks["transfer"].responses) for each in (cell, several))
    assert first == second


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attacks": {"t": {"kind": "TransferAttack", "copy": "other"}}}, "Declared: few, small"),
        ({"copies": {"few": {"rows": 121}, "small": {}}}, "m has 120 shadow rows"),
        ({"copies": {"few": {"rows": 90, "held_out": 31}, "small": {}}}, "takes 121 rows"),
        ({"copies": {"few": {"rows": 0}, "small": {}}}, "copies.few.rows"),
    ],
)
def test_copies_that_cannot_be_are_refused(change, said):
    with pytest.raises(BadInput, match=said):
        experiment({**SEVERAL, **change})


def test_a_shadow_without_thresholds_is_only_learnt_from():
    attacks = {"plain": {"kind": "Confidence"}, "scores": {"kind": "ScoreNetwork"}}
    spec = {**SPEC, "attacks": attacks, "shadow": {"thresholds": False}}
    (cell,), _ = plan_trained(spec)
    assert set(cell.attacks) == set(attacks)
    assert not cell.transfers
    assert not cell.unshadowed
    assert methods.SHADOW not in methods.metrics(spec)
    (cell,), _ = plan_trained({**spec, "shadow": {}})
    assert set(cell.transfers) == {"plain"}
    assert methods.SHADOW in methods.metrics({**spec, "shadow": {}})


def test_thresholds_at_a_rate_come_from_rows_that_the_copy_has_not_learnt(store):
    attacks = {
        "transfer": {"kind": "TransferAttack", "copy": "held"},
        "other": {"kind": "TransferAttack", "copy": "rest"},
    }
    copies = {"held": {"rows": 60, "held_out": 40}, "rest": {"held_out": 20}}
    spec = {**SPEC, "attacks": attacks, "copies": copies}
    document = audit(spec, store)
    validate(document)
    assert document["failures"] == []
    (cell,), _ = plan_trained(spec)
    judge = cell.transfers["transfer"]
    copy = judge.target.responses.source
    learnt = store.read(key(copy.split)).arrays["members_x"]
    aside = store.read(key(judge.known.responses.split)).arrays
    assert (len(learnt), len(aside["nonmembers_x"])) == (60, 40)
    assert (
        len(
            store.read(key(cell.transfers["other"].target.responses.source.split)).arrays[
                "members_x"
            ]
        )
        == 100
    )
    own = store.read(key(cell.split)).arrays
    rows = {x.tobytes(): int(y) for x, y in zip(own["shadow_x"], own["shadow_y"], strict=True)}
    assert not {x.tobytes() for x in learnt} & {x.tobytes() for x in aside["nonmembers_x"]}
    for x, y in zip(aside["nonmembers_x"], aside["nonmembers_y"], strict=True):
        assert rows[x.tobytes()] == y  # the true label, not the target's
    known = store.read(key(judge.known.scores)).arrays["score"]
    scores = store.read(key(judge.target.scores)).arrays
    member = scores["member"].astype(bool)
    bound = np.sort(known)[36]  # the 37th of 40, as 41 * 0.9 says
    numbers = document["models"]["m"]["membership"]["transfer"]
    assert numbers["shadow_tpr_at_fpr_0.1"]["value"] == (scores["score"][member] > bound).mean()
    assert numbers["shadow_fpr_at_fpr_0.1"]["value"] == (scores["score"][~member] > bound).mean()
    assert "not learnt from" in numbers[methods.SHADOW]["not_evaluable"]
    assert methods.OPERATING[0] in methods.metrics(spec)
