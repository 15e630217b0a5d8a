"""Secure and insecure non-members in an audit: which rows are compared, and why sometimes none."""

import numpy as np

from trilemma.experiments import sections
from trilemma.experiments.audit import audit
from trilemma.experiments.graph import key
from trilemma.experiments.plan import recorded_cell
from trilemma.experiments.recorded import read_recorded
from trilemma.experiments.reports import validate
from trilemma.experiments.security import Secure, secure
from trilemma.experiments.trained import plan_trained

SPEC = {
    "name": "secure",
    "data": {"kind": "Digits", "members": 40, "nonmembers": 60},
    "models": {"m": {"recipe": {"kind": "MLP", "epochs": 40, "hidden": [16]}}},
    "attacks": {"confidence": {"kind": "Confidence"}},
    "seeds": [0, 1],
}
BALL = {"kind": "PGD", "ball": {"kind": "Linf", "radius": 0.05}, "steps": 3}


def answers(right, *, strength=2.0):
    """Two classes, label 0; the first half are members."""
    sign = np.where(right, 1.0, -1.0) * strength
    logits = np.stack([sign, -sign], axis=1)
    table = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    n = len(sign)
    label = np.zeros(n, dtype=np.int64)
    return {"member": np.arange(n) < n // 2, "label": label, "log_probabilities": table}


def test_only_non_members_count():
    right = np.array([0, 0, 0, 0, 1, 1, 1, 0], dtype=bool)
    attacked = np.array([1, 1, 1, 1, 1, 0, 1, 1], dtype=bool)
    found = secure(answers(right), answers(attacked), 0)
    assert found["rows"] == {"secure": 2, "insecure": 2, "wrong": 1}
    assert sum(found["loss"]["secure"]) + sum(found["loss"]["insecure"]) == 4


def test_confidences_alone_do_not_say_what_is_right():
    given = {"member": np.arange(4) < 2, "label": np.zeros(4, int), "confidence": np.ones(4)}
    assert "only confidences" in secure(given, given, 0)["not_evaluable"]


def numbers(document, name="m"):
    return document["models"][name]["security"]


def test_an_audit_says_what_the_stage_found(store):
    document = validate(audit({**SPEC, "robustness": BALL}, store))
    found = numbers(document)
    cells, _ = plan_trained({**SPEC, "robustness": BALL})
    for cell, rows in zip(cells, found["rows"], strict=True):
        arrays = [
            store.read(key(part)).arrays
            for part in (cell.security.benign, cell.security.adversarial)
        ]
        expected = secure(*arrays, cell.seed)
        assert {"seed": cell.seed, **expected["rows"]} == rows
        assert rows["secure"] + rows["insecure"] == 60
        assert rows["wrong"] <= rows["insecure"]
        accuracy = document["models"]["m"]["accuracy"]["test"]["seeds"][cell.seed]["value"]
        assert rows["wrong"] == round(60 * (1 - accuracy))
        assert found["auc"]["seeds"][cell.seed] == expected["metrics"]["auc"]
    assert found["loss"]["seed"] == 0
    assert sum(found["loss"]["insecure"]) == found["rows"][0]["insecure"] > 0
    assert found["auc"]["value"] > 0.7  # figure 7: insecure rows have larger losses


def test_without_an_attack_there_is_a_reason():
    cells, _ = plan_trained(SPEC)
    assert [cell.security for cell in cells] == [None, None]
    found = sections.security(cells, lambda stage: None, "no ball")["security"]
    assert found["auc"] == {"not_evaluable": "no ball"}
    assert found["rows"] == []
    assert "loss" not in found


def recorded(tmp_path, *, attacked=False):
    rng = np.random.default_rng(0)
    label = rng.integers(3, size=30)

    def tables(lift):
        logits = rng.normal(size=(30, 3))
        logits[np.arange(30), label] += lift
        return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    path = tmp_path / "old.npz"
    both = {"output_train": tables(3), "output_test": tables(1)}
    if attacked:
        both |= {"output_train_adversarial": tables(1), "output_test_adversarial": tables(0)}
    np.savez(path, train_label=label, test_label=label, **both)
    return path


def test_recorded_answers_to_attacked_rows_are_enough(store, tmp_path):
    path = recorded(tmp_path, attacked=True)
    found = numbers(validate(audit({"models": {"old": {"predictions": str(path)}}}, store)), "old")
    assert found["rows"][0]["secure"] + found["rows"][0]["insecure"] == 30
    assert "value" in found["auc"]


def test_recorded_answers_to_rows_as_they_are_are_not(store, tmp_path):
    path = recorded(tmp_path)
    found = numbers(validate(audit({"models": {"old": {"predictions": str(path)}}}, store)), "old")
    assert "no predictions on adversarial inputs" in found["auc"]["not_evaluable"]
    cell = recorded_cell("old", read_recorded(path), path)
    assert cell.security is None


def test_all_seeds_must_have_both_sides():
    """With one seed nothing withstands the attack: one side is empty, and that is said."""
    right = np.array([1, 1, 1, 1, 1, 1, 1, 0], dtype=bool)
    some = secure(answers(right), answers(right), 0)
    none = secure(answers(right), answers(~right), 1)
    assert "loss" in some
    assert "loss" not in none
    cells, _ = plan_trained({**SPEC, "robustness": BALL})
    facts = dict(zip((key(cell.security) for cell in cells), (none, some), strict=True))
    found = sections.security(cells, lambda stage: facts[key(stage)], "")["security"]
    assert "0 secure and 4 insecure" in found["auc"]["not_evaluable"]
    assert [(rows["seed"], rows["insecure"]) for rows in found["rows"]] == [(0, 4), (1, 1)]
    assert found["loss"]["seed"] == 1  # the first that has both


def test_it_is_one_of_the_cells_stages():
    cells, _ = plan_trained({**SPEC, "robustness": BALL})
    made = cells[0].security
    assert isinstance(made, Secure)
    assert made.label() == "tell secure from insecure rows of m, seed 0"
    assert made in cells[0].stages()
