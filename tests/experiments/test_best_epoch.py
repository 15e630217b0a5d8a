"""A declared experiment keeps the best epoch: its rows, its keys, what is told, what is refused."""

from functools import partial

import numpy as np
import pytest
import torch

from trilemma.attacks.evasion import PGD
from trilemma.core.balls import Linf
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.data import Digits, source_digest
from trilemma.experiments.audit import audit
from trilemma.experiments.execution import run
from trilemma.experiments.graph import key
from trilemma.experiments.parts import part
from trilemma.experiments.reports import render_html, validate
from trilemma.experiments.shadowing import ShadowSplit
from trilemma.experiments.specs import BestEpoch, Trained, experiment
from trilemma.experiments.stages import Split, Train
from trilemma.experiments.stages import stream as seed_of
from trilemma.experiments.store import Store
from trilemma.experiments.trained import plan_trained
from trilemma.training import (
    MLP,
    SGD,
    Adversarial,
    Checkpoint,
    Constant,
    Natural,
    Validation,
    build,
    robust_accuracy,
    train,
)
from trilemma.training.validation import stream

ATTACK = {"kind": "PGD", "ball": {"kind": "Linf", "radius": 0.1}, "steps": 2}
BEST = {"attack": ATTACK, "patience": 4}
RECIPE = {
    **{"kind": "MLP", "epochs": 14, "batch": 10, "hidden": [16]},
    **{"optimiser": {"kind": "SGD", "learning_rate": 0.5}, "course": {"kind": "Constant"}},
}  # so wild that accuracy goes up and down
OBJECTIVE = {"kind": "Adversarial", "attack": ATTACK}
DATA = {"kind": "Digits", "members": 60, "nonmembers": 50, "shadow": 40, "validation": 40}
SPEC = {
    "name": "best",
    "data": DATA,
    "models": {
        "last": {"recipe": RECIPE, "objective": OBJECTIVE},
        "best": {"recipe": RECIPE, "objective": OBJECTIVE, "validation": BEST},
    },
    "seeds": [0, 1],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def document(store):
    return validate(audit(SPEC, store))


def cells(spec=SPEC):
    return {(cell.model, cell.seed): cell for cell in plan_trained(spec)[0]}


def test_the_weights_are_those_of_the_epoch_with_the_best_robust_accuracy(store, document):
    for seed in SPEC["seeds"]:
        best, last = (cells()[name, seed].source for name in ("best", "last"))
        found, whole = (store.read(key(source)) for source in (best, last))
        scores = [epoch["robust_accuracy"] for epoch in found.facts["history"]]
        assert found.facts["kept"] == {"epoch": scores.index(max(scores)) + 1, "rows": 40}
        assert len(scores) - found.facts["kept"]["epoch"] in (4, 14 - found.facts["kept"]["epoch"])
        # no step changed: the epochs are those of the training without validation, cut short
        losses = [epoch["loss"] for epoch in whole.facts["history"]]
        assert [e["loss"] for e in found.facts["history"]] == losses[: len(scores)]
        rows = part(store.read(key(best.split)), "validation")
        model = build(best.model.recipe, (1, 8, 8), 10, seeded(0))
        model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in found.arrays.items()})
        rng = stream("validation", seed_of("train", seed))
        assert robust_accuracy(model, rows, PGD(ball=Linf(0.1), steps=2), rng=rng) == max(scores)


def test_some_seed_keeps_an_epoch_that_is_not_the_last(store, document):
    """Or the laws here say nothing."""
    found = [store.read(key(cells()["best", seed].source)).facts for seed in SPEC["seeds"]]
    assert any(facts["kept"]["epoch"] < len(facts["history"]) for facts in found)


def test_the_rows_are_nobody_elses(store, document):
    parts = store.read(key(cells()["best", 0].split)).arrays
    rows = {
        name: {x.tobytes() for x in parts[f"{name}_x"]}
        for name in ("members", "nonmembers", "shadow", "validation")
    }
    assert len(rows["validation"]) == 40
    for name in ("members", "nonmembers", "shadow"):
        assert not rows["validation"] & rows[name]
    assert document["provenance"]["data"]["split"]["sizes"]["validation"] == 40


def test_one_line_of_the_report_says_which_epoch_was_kept(store, document):
    said = document["models"]["best"]["description"]
    for seed, line in zip(SPEC["seeds"], said["epoch kept"].split("; "), strict=True):
        facts = store.read(key(cells()["best", seed].source)).facts
        scores = [epoch["robust_accuracy"] for epoch in facts["history"]]
        assert line == (
            f"seed {seed}: {facts['kept']['epoch']} of {len(scores)} ({len(scores)} measured on"
            f" 40 rows: {max(scores):.1%} right under attack, {scores[-1]:.1%} after the last)"
        )
    assert said["validation"].startswith("BestEpoch(attack=PGD(")
    assert said["epoch kept"] in render_html(document)
    assert not {"epoch kept", "validation"} & document["models"]["last"]["description"].keys()


def test_taken_up_again_it_ends_the_same(store, document, tmp_path, monkeypatch):
    source = cells()["best", 0].source
    whole = store.read(key(source))
    again = Store(tmp_path / "again")

    class Killed(BaseException):
        pass

    def kill(event):
        if getattr(event, "done", 0) == 3 and "train" in event.label:
            raise Killed

    often = partial(Checkpoint, every_seconds=0.0)
    monkeypatch.setattr("trilemma.experiments.stages.Checkpoint", often)
    monkeypatch.setattr("trilemma.experiments.making._PAUSE", 0.0)
    with pytest.raises(Killed):
        run([source], again, on_event=kill)
    run([source], again)
    found = again.read(key(source))
    assert found.facts == whole.facts
    assert all((found.arrays[name] == whole.arrays[name]).all() for name in whole.arrays)


def test_a_shadow_model_is_held_to_the_same_rows(store):
    spec = {**SPEC, "shadow": {}, "models": {"best": SPEC["models"]["best"]}, "seeds": [0]}
    transfer = cells(spec)["best", 0].transfers["confidence"]
    shadow = transfer.shadow.responses.source
    assert isinstance(shadow.split, ShadowSplit)
    run([shadow], store)
    mine, parts = (store.read(key(each)).arrays for each in (shadow.split, shadow.split.split))
    assert np.array_equal(mine["validation_x"], parts["validation_x"])
    assert store.read(key(shadow)).facts["kept"]["rows"] == 40


# keys: what was stored before there was this option is found again


def stages(validation=None, rows=0):
    data = Digits(members=60, nonmembers=50, validation=rows)
    split = Split(data=data, fingerprint=source_digest(data), seed=0)
    objective = Adversarial(attack=PGD(ball=Linf(0.1), steps=2))
    recipe = MLP(epochs=14, optimiser=SGD(learning_rate=0.5), course=Constant())
    model = Trained(recipe=recipe, objective=objective, validation=validation)
    return split, Train(split=split, model=model, box=experiment(SPEC).box, seed=0)


def test_without_it_keys_are_those_from_before_it_was_there():
    split, train = stages()
    # Written down when neither the split nor the model had a word for it.
    assert key(split) == "3ad798ab155e82f6fd1ad93277da0c83"
    assert key(train) == "f23bf0e8dcecd1cb6decf83edacd8115"


def test_each_of_its_settings_counts():
    made = [
        stages(),
        stages(rows=40),
        stages(BestEpoch(attack=PGD(ball=Linf(0.1))), 40),
        stages(BestEpoch(attack=PGD(ball=Linf(0.2))), 40),
        stages(BestEpoch(attack=PGD(ball=Linf(0.1)), patience=3), 40),
    ]
    assert len({key(train) for _, train in made}) == len(made)


# refusals


def changed(**model):
    return {**SPEC, "models": {"m": {"recipe": RECIPE, "validation": BEST, **model}}}


FILES = {"kind": "Files", "members": "a.npz", "nonmembers": "b.npz"}
STILL = {**ATTACK, "ball": {"kind": "Linf", "radius": 0}}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {**SPEC, "data": {**DATA, "validation": 0}},
            r"^models.best.validation: has no rows: .* neither members nor non-members."
            r" Let the split have some: data: \{..., validation: 200\}$",
        ),
        ({**SPEC, "data": FILES}, r"models.best.validation: .*data: \{..., validation: FILE\}"),
        (changed(validation={}), "models.m.validation.attack: is missing"),
        (changed(validation={"attack": STILL}), r"models.m.validation.attack.ball.radius: is 0,"),
        (changed(validation={**BEST, "patience": 0}), "models.m.validation.patience: .*; got 0"),
        (changed(validation={**BEST, "rows": 3}), "models.m.validation.rows: is not known"),
        (
            {**SPEC, "models": {"m": {"factory": "own:make", "validation": BEST}}},
            "models.m.validation: is not known. Allowed: factory, weights, temperature",
        ),
        (
            {**SPEC, "models": {**SPEC["models"], "m": {"predictions": "p", "validation": BEST}}},
            "models.m.validation: is not known. Allowed: predictions",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_path(table, said):
    with pytest.raises(BadInput, match=said):
        experiment(table)


def test_validation_rows_outside_the_box_are_refused_before_any_training(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("members", "nonmembers", "validation"):
        x = rng.random((12, 4), dtype=np.float32) + (name == "validation")
        np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(12) % 2)
    files = {
        name: str(tmp_path / f"{name}.npz") for name in ("members", "nonmembers", "validation")
    }
    table = {**SPEC, "data": {"kind": "Files", **files}}
    with pytest.raises(BadInput, match=r"12 of 36 rows lie outside the box"):
        audit(table, Store(tmp_path / "store"))


def test_a_training_that_never_reaches_full_strength_keeps_its_last_epoch():
    rows = Dataset(torch.rand(12, 4), torch.arange(12) % 2)
    held_out = Validation(data=rows, attack=PGD(ball=Linf(0.1), steps=1))
    recipe = MLP(epochs=3, warmup=3, hidden=(4,))
    done = train(recipe, Natural(), rows, 0, classes=2, validation=held_out)
    assert done.kept == 3
