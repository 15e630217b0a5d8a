"""Thresholds from a shadow model: its rows, its recipe, what is chosen on it, what cannot be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.data import Digits, Files, YaleB, source_digest
from trilemma.experiments import gate, methods
from trilemma.experiments.audit import audit
from trilemma.experiments.evaluation import Transfer
from trilemma.experiments.execution import run
from trilemma.experiments.graph import key
from trilemma.experiments.reports import render_html, render_markdown, validate
from trilemma.experiments.shadowing import ShadowSplit, has_shadow
from trilemma.experiments.specs import Shadow, experiment
from trilemma.experiments.stages import Split
from trilemma.experiments.trained import plan_trained
from trilemma.metrics import membership, transferred_threshold

PGD = {"kind": "PGD", "ball": {"kind": "Linf", "radius": 0.05}, "steps": 2}
FARTHER = {**PGD, "ball": {"kind": "Linf", "radius": 0.1}}
SPEC = {
    "name": "shadowed",
    "data": {"kind": "Digits", "members": 60, "nonmembers": 50, "shadow": 90},
    "models": {"m": {"recipe": {"kind": "MLP", "epochs": 30, "hidden": [16]}}},
    "attacks": {
        "benign": {"kind": "Confidence"},
        "near": {"kind": "AdversarialConfidence", "attack": PGD},
        "far": {"kind": "AdversarialConfidence", "attack": FARTHER},
        "infer": {
            **{"kind": "ModelInference", "examples": {"kind": "Benign"}},
            **{"fitting": 3, "hidden": [4], "epochs": 2},
        },
    },
    "shadow": {},
    "seeds": [0, 1],
}
ACCURACY = methods.SHADOW


def halves(store, seed=0, shadow=90):
    data = Digits(members=60, nonmembers=50, shadow=shadow)
    split = Split(data=data, fingerprint=source_digest(data), seed=0)
    stage = ShadowSplit(split=split, seed=seed)
    outcome = run([stage], store)[stage]
    return store.read(key(split)).arrays, outcome, stage


def rows(arrays, part):
    return {
        (x.tobytes(), int(y)) for x, y in zip(*(arrays[f"{part}_{of}"] for of in "xy"), strict=True)
    }


def test_the_shadow_rows_are_halved_and_none_is_the_targets(store):
    parts, _, stage = halves(store)
    found = store.read(key(stage))
    one, other = rows(found.arrays, "members"), rows(found.arrays, "nonmembers")
    assert (len(one), len(other)) == (45, 45)
    assert one | other == rows(parts, "shadow")
    assert not (one | other) & (rows(parts, "members") | rows(parts, "nonmembers"))
    counts = [np.bincount(found.arrays[f"{p}_y"], minlength=10) for p in ("members", "nonmembers")]
    assert np.abs(counts[0] - counts[1]).max() <= 2  # both have the labels' shares
    assert found.facts["classes"] == 10


def test_another_seed_draws_other_halves(store):
    first, second = (store.read(key(halves(store, seed)[2])).arrays for seed in (0, 1))
    assert rows(first, "members") != rows(second, "members")


@given(st.integers(0, 3))
def test_too_few_shadow_rows_are_refused(tmp_path_factory, shadow):
    from trilemma.experiments.store import Store

    outcome = halves(Store(tmp_path_factory.mktemp("few")), shadow=shadow)[1]
    assert "too few for a shadow model" in outcome.error


def test_the_shadow_model_is_trained_as_the_target_on_other_rows():
    cells, _ = plan_trained(SPEC)
    transfer = cells[0].transfers["near"]
    target, shadow = transfer.target.responses, transfer.shadow.responses
    assert shadow.source.model == target.source.model
    assert shadow.source.seed != target.source.seed  # other initial weights
    assert isinstance(shadow.split, ShadowSplit)
    assert shadow.source.split is shadow.split
    assert shadow.perturbation == target.perturbation
    taught = cells[0].transfers["infer"].target.scores
    assert taught.teacher.source == cells[0].transfers["infer"].shadow.scores.source
    assert cells[0].transfers["infer"].shadow.scores.teacher is None
    keys = {key(c.transfers[a].shadow.responses.source) for c in cells for a in c.transfers}
    assert len(keys) == 2  # one shadow model a seed, for all attacks


def test_the_transfer_is_that_of_the_scores(store):
    cells, _ = plan_trained({**SPEC, "seeds": [0]})
    transfer = cells[0].transfers["near"]
    assert isinstance(transfer, Transfer)
    run([transfer], store)
    sides = []
    for asked in (transfer.shadow, transfer.target):
        found = store.read(key(asked.responses)).arrays
        p = np.exp(found["log_probabilities"][np.arange(len(found["label"])), found["label"]])
        sides += [p[found["member"]], p[~found["member"]]]
    expected = transferred_threshold(*sides)
    facts = store.read(key(transfer)).facts
    assert facts["accuracy"] == expected.accuracy().to_json()
    assert facts["shadow_accuracy"] == pytest.approx(expected.shadow_accuracy)
    worst = membership(*sides[2:]).best_threshold_accuracy.value
    assert facts["accuracy"]["value"] <= worst


def test_an_audit_has_the_realistic_beside_the_worst_case(store):
    document = validate(audit(SPEC, store))
    assert document["status"] == "complete"
    model = document["models"]["m"]
    for attack, metrics in model["membership"].items():
        seeds = zip(
            metrics[ACCURACY]["seeds"], metrics["best_threshold_accuracy"]["seeds"], strict=True
        )
        if attack != "infer":  # which a shadow model teaches otherwise
            assert all(real["value"] <= worst["value"] for real, worst in seeds)
    chosen = model["shadow"]
    assert len(chosen["attacks"]) == 2
    for attack, seed in zip(chosen["attacks"], chosen["accuracy"]["seeds"], strict=True):
        assert seed in model["membership"][attack][ACCURACY]["seeds"]
    again = audit(SPEC, store)
    assert again == document
    assert "Chosen on a shadow model" in " ".join(document["verdict"]["sentences"])
    for page in (render_html(document), render_markdown(document)):
        assert "Attack accuracy, threshold from a shadow model" in page


def test_without_shadow_rows_or_a_declared_training_it_is_not_evaluable(
    store, tmp_path, monkeypatch
):
    data = {**SPEC["data"], "shadow": 0}
    document = audit({**SPEC, "data": data, "seeds": [0]}, store)
    metrics = document["models"]["m"]["membership"]["near"]
    assert "no shadow rows" in metrics[ACCURACY]["not_evaluable"]
    assert "shadow" not in document["models"]["m"]
    (tmp_path / "dull.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    table = {**SPEC, "models": {"own": {"factory": "dull:make"}}, "seeds": [0]}
    metrics = audit(table, store)["models"]["own"]["membership"]["benign"]
    assert "not declared" in metrics[ACCURACY]["not_evaluable"]


def test_too_few_shadow_rows_are_refused_before_any_training(store):
    seen = []
    with pytest.raises(BadInput, match=r"halve the shadow rows.*too few"):
        audit({**SPEC, "data": {**SPEC["data"], "shadow": 2}}, store, on_event=seen.append)
    assert not any(getattr(event, "label", "").startswith("train") for event in seen)


def test_a_lost_attack_leaves_no_choice(store, monkeypatch):
    real = Transfer.run

    def breaks(self, bench):
        if "far" in self.name:
            raise RuntimeError("lost")
        return real(self, bench)

    monkeypatch.setattr(Transfer, "run", breaks)
    document = validate(audit({**SPEC, "seeds": [0]}, store))
    assert document["status"] == "incomplete"
    model = document["models"]["m"]
    assert "see failures" in model["membership"]["far"][ACCURACY]["not_evaluable"]
    assert model["membership"]["near"][ACCURACY]["value"] > 0
    assert "failed" in model["shadow"]["accuracy"]["not_evaluable"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (Digits(members=3), False),
        (Digits(shadow=3), True),
        (Files(members="a", nonmembers="b"), False),
        (Files(members="a", nonmembers="b", shadow="c"), True),
        (YaleB(preset="song"), False),
    ],
)
def test_it_is_known_beforehand_whether_there_are_shadow_rows(data, expected):
    assert has_shadow(data) is expected


def test_it_is_declared_and_named_in_conditions():
    assert experiment(SPEC).shadow == Shadow()
    assert experiment({k: v for k, v in SPEC.items() if k != "shadow"}).shadow is None
    with pytest.raises(BadInput, match=r"shadow.models: is not known. Allowed: like, thresholds$"):
        experiment({**SPEC, "shadow": {"models": 3}})
    given_ = {"models": ["m"], "attacks": ["near"]}
    text = f"near.{ACCURACY}.low > 0.5"
    assert gate.parse(text, **given_, metrics=methods.metrics(SPEC)).metric == ACCURACY
    with pytest.raises(BadInput, match=ACCURACY):
        gate.parse(text, **given_, metrics=methods.METRICS)
