"""Retraining without single members: which, how, what it finds where the answer is known."""

import numpy as np
import pytest

from trilemma.core.errors import BadInput
from trilemma.data import Digits, source_digest
from trilemma.experiments import responses, stages
from trilemma.experiments.audit import audit
from trilemma.experiments.events import Finished
from trilemma.experiments.execution import run
from trilemma.experiments.graph import key
from trilemma.experiments.leaving_out import LeaveOut, Sensitivities
from trilemma.experiments.reports import validate
from trilemma.experiments.specs import Sensitivity, experiment
from trilemma.experiments.stages import Split, Train
from trilemma.experiments.trained import plan_trained
from trilemma.metrics import sensitivity

MLP = {"kind": "MLP", "epochs": 3, "hidden": [8]}
SPEC = {
    "name": "left out",
    "data": {"kind": "Digits", "members": 60, "nonmembers": 20},
    "models": {"m": {"recipe": MLP}},
    "sensitivity": {"rounds": 3},
    "seeds": [0, 1],
}
WARM = {"m": {"recipe": MLP}, "warm": {"recipe": MLP, "temperature": 4.0}}


def split(seed=0, **sizes):
    data = Digits(**{"members": 60, "nonmembers": 20, **sizes})
    return Split(data=data, fingerprint=source_digest(data), seed=seed)


def made(stage, store):
    outcome = run([stage], store)[stage]
    assert getattr(outcome, "error", "") == ""
    return store.read(key(stage))


def rows(arrays, part="members"):
    return [
        (x.tobytes(), int(y)) for x, y in zip(*(arrays[f"{part}_{o}"] for o in "xy"), strict=True)
    ]


def twins(folder, part, seed, n=20):
    """Points at random, and beside each one, in another coordinate's direction, its opposite."""
    rng = np.random.default_rng(seed)
    x = rng.random((n, 20), dtype=np.float32)
    near = x.copy()
    near[np.arange(n), np.arange(n)] = 1 - (x[np.arange(n), np.arange(n)] > 0.5)
    y = rng.permutation(n) % 2
    np.savez(folder / part, x=np.concatenate([x, near]), y=np.concatenate([y, 1 - y]))
    return str(folder / f"{part}.npz")


@pytest.fixture
def paired(tmp_path):
    """An experiment on such rows with a network that memorises them."""
    parts = {part: twins(tmp_path, part, n) for n, part in enumerate(("members", "nonmembers"))}
    recipe = {"kind": "MLP", "hidden": [256], "epochs": 100, "batch": 64}
    recipe["optimiser"] = {"kind": "Adam", "learning_rate": 0.01}
    return {
        "name": "paired",
        "data": {"kind": "Files", **parts},
        "models": {"m": {"recipe": recipe}},
        "sensitivity": {"rounds": 4},
    }


def test_one_member_of_each_label_is_left_out_in_each_round_another(store):
    whole = made(split(shadow=30, validation=20), store)
    gone = []
    for each in range(3):
        left = made(LeaveOut(split=split(shadow=30, validation=20), seed=0, round=each), store)
        out = left.arrays["left_out"]
        assert whole.arrays["members_y"][out].tolist() == list(range(10))
        stay = np.setdiff1d(np.arange(60), out)
        assert rows(left.arrays) == [rows(whole.arrays)[row] for row in stay]  # in their order
        for part in ("nonmembers", "validation"):
            assert rows(left.arrays, part) == rows(whole.arrays, part)
        assert left.facts == whole.facts
        assert "shadow_x" not in left.arrays  # no training looks at it
        gone += out.tolist()
    assert len(set(gone)) == 30


def test_the_draw_is_that_of_the_seed_and_more_rounds_continue_fewer():
    y = np.arange(100) % 4

    def drawn(seed):
        return [LeaveOut(split=split(), seed=seed, round=n).drawn(y).tolist() for n in range(25)]

    one, again, other = drawn(0), drawn(0), drawn(1)
    assert one == again != other
    assert sorted(row for out in one for row in out) == list(range(100))  # each row once
    places = {tuple(out[label] - label for out in one) for label in range(4)}
    assert len(places) == 4  # no label's draws follow another's
    few, many = (plan_trained({**SPEC, "sensitivity": {"rounds": n}})[0][0] for n in (2, 5))
    trained = [[key(each) for each in cell.sensitivity.retrained] for cell in (few, many)]
    assert trained[0] == trained[1][:2]


def test_what_is_left_out_is_not_trained_on(store, monkeypatch):
    real, seen = stages.train, []

    def spy(recipe, objective, data, seed, **options):
        seen.append((rows({"members_x": data.x.numpy(), "members_y": data.y.numpy()}), seed))
        assert recipe.epochs == MLP["epochs"]
        return real(recipe, objective, data, seed, **options)

    monkeypatch.setattr(stages, "train", spy)
    cell = plan_trained({**SPEC, "seeds": [0]})[0][0]
    found = made(cell.sensitivity, store).arrays
    members = rows(store.read(key(cell.split)).arrays)
    out = [[members[r] for r in found["row"][found["round"] == n]] for n in range(3)]
    assert len(seen) == 4
    assert {seed for _, seed in seen} == {stages.stream("train", 0)}  # the same initial weights
    counted = {n: sum(not set(out[n]) & set(data) for data, _ in seen) for n in range(3)}
    assert counted == {0: 1, 1: 1, 2: 1}  # each missed by one training
    assert sorted(len(data) for data, _ in seen) == [50, 50, 50, 60]


def test_the_differences_are_those_of_the_models_answers(store):
    """Each point is asked of the original, of the one that missed it and of the next round's."""
    cell = plan_trained({**SPEC, "seeds": [0], "models": WARM})[0][1]
    found = made(cell.sensitivity, store)
    assert found.facts["rounds"] == 3
    assert found.facts["points"] == 30
    each = found.arrays

    def sure(source):
        asked = stages.Respond(
            split=cell.split, source=source, perturbation=None, box=stages.UNIT, seed=0
        )
        return responses.confidence(made(asked, store).arrays)[:60]

    original = sure(cell.source)
    anew = [sure(source) for source in cell.sensitivity.retrained]
    np.testing.assert_allclose(each["original"], original[each["row"]], rtol=1e-6)
    for n in range(3):
        at = each["round"] == n
        np.testing.assert_allclose(each["without"][at], anew[n][each["row"][at]], rtol=1e-6)
        np.testing.assert_allclose(
            each["within"][at], anew[(n + 1) % 3][each["row"][at]], rtol=1e-6
        )
    expected = sensitivity(*(each[name] for name in ("original", "without", "within")), seed=0)
    assert found.facts["metrics"] == expected.to_json()
    assert found.facts["values"]["left_out"] == expected.left_out.tolist()


def test_a_temperature_costs_no_training():
    cells, _ = plan_trained({**SPEC, "models": WARM})
    plain, warm = cells[0].sensitivity.retrained, cells[2].sensitivity.retrained
    assert [key(each) for each in plain] == [key(each.source) for each in warm]
    assert {each.temperature for each in warm} == {4.0}


def test_who_memorises_is_sensitive_far_beyond_the_noise(paired, store):
    """Memorised, a point's confidence is 1; left out, it is taken for its twin, which is wrong."""
    found = audit(paired, store)["models"]["m"]["sensitivity"]
    assert found["mean"]["value"] > 0.7
    assert found["noise_absolute"]["high"] < 0.05
    assert found["influence"]["low"] > 0.5


def test_who_learns_nothing_is_not_sensitive(paired, store):
    """The control: same initial weights, no step worth the name, so all models are one."""
    recipe = paired["models"]["m"]["recipe"] | {"epochs": 2}
    recipe["optimiser"] = {"kind": "Adam", "learning_rate": 1e-12}
    found = audit({**paired, "models": {"m": {"recipe": recipe}}}, store)
    for name in ("mean_absolute", "noise_absolute"):
        assert found["models"]["m"]["sensitivity"][name]["high"] < 1e-6


def test_an_audit_has_it_over_seeds_and_resumes_from_the_store(store):
    events = []
    document = validate(audit(SPEC, store, on_event=events.append))
    assert document["status"] == "complete"
    found = document["models"]["m"]["sensitivity"]
    assert len(found["mean"]["seeds"]) == 2
    assert [each["seed"] for each in found["values"]] == [0, 1]
    assert all(len(each["left_out"]) == each["points"] == 30 for each in found["values"])
    more = {**SPEC, "sensitivity": {"rounds": 4}}  # finds three rounds in the store
    events.clear()
    audit(more, store, on_event=events.append)
    fresh = {e.outcome.label for e in events if isinstance(e, Finished) and not e.outcome.found}
    assert {label for label in fresh if label.startswith("train")} == {
        f"train m without round 4, seed {seed}" for seed in (0, 1)
    }


def test_without_it_nothing_is_computed_and_no_other_key_moves():
    plain = {name: value for name, value in SPEC.items() if name != "sensitivity"}
    without, with_ = (plan_trained(each)[0] for each in (plain, SPEC))
    for one, other in zip(without, with_, strict=True):
        assert one.sensitivity is None
        assert isinstance(other.sensitivity, Sensitivities)
        extra = {key(other.sensitivity)}
        assert {key(each) for each in other.stages()} - {
            key(each) for each in one.stages()
        } == extra
        assert isinstance(one.inputs[0], Split)
        assert len(other.inputs) == len(one.inputs) + 1


def test_a_training_of_before_is_found_by_its_key():
    """The stages that a store may already hold keep their keys."""
    train = plan_trained(SPEC)[0][0].source
    again = Train(split=split(), model=experiment(SPEC).models["m"], box=train.box, seed=0)
    assert key(again) == key(train)


@pytest.mark.parametrize(
    ("rounds", "said"),
    [
        (7, r"sensitivity.rounds: is 7, but label \d has [56] of the 60 members.*at most [56]"),
        (1, r"sensitivity.rounds: is 1. Give 2 at least"),
    ],
)
def test_too_many_or_too_few_rounds_are_refused_before_any_training(store, rounds, said):
    seen = []
    with pytest.raises(BadInput, match=said):
        audit({**SPEC, "sensitivity": {"rounds": rounds}}, store, on_event=seen.append)
    assert not any(getattr(event, "label", "").startswith("train") for event in seen)


def test_a_label_with_one_member_is_refused():
    with pytest.raises(BadInput, match=r"label 2 has 1 of the 5.*Give 2 members of each label"):
        LeaveOut(split=split(), seed=0, round=1).drawn(np.array([0, 0, 1, 1, 2]))


def test_models_that_are_not_trained_here_are_not_evaluable(store, tmp_path, monkeypatch):
    (tmp_path / "dull.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    (tmp_path / "old.csv").write_text("member,confidence\n1,0.9\n1,0.8\n0,0.5\n0,0.6\n")
    monkeypatch.chdir(tmp_path)
    models = {"own": {"factory": "dull:make"}, "old": {"predictions": "old.csv"}}
    document = validate(audit({**SPEC, "models": models, "seeds": [0]}, store))
    why = {name: each["sensitivity"]["mean"] for name, each in document["models"].items()}
    assert "not declared" in why["own"]["not_evaluable"]
    assert "cannot be retrained" in why["old"]["not_evaluable"]
    assert all(each["sensitivity"]["values"] == [] for each in document["models"].values())


def test_a_lost_retraining_leaves_no_number(store, monkeypatch):
    real = Train.run

    def breaks(self, bench):
        if "without round 2" in self.name and self.seed == 1:
            raise RuntimeError("lost")
        return real(self, bench)

    monkeypatch.setattr(Train, "run", breaks)
    document = validate(audit(SPEC, store))
    assert document["status"] == "incomplete"
    found = document["models"]["m"]["sensitivity"]
    assert "1 of 2 seeds" in found["mean"]["not_evaluable"]
    assert [each["seed"] for each in found["values"]] == [0]
    assert document["models"]["m"]["accuracy"]["train"]["value"] > 0  # the model itself stands


def test_it_is_declared():
    assert experiment(SPEC).sensitivity == Sensitivity(rounds=3)
    assert experiment({**SPEC, "sensitivity": {}}).sensitivity == Sensitivity(rounds=6)
    plain = {name: value for name, value in SPEC.items() if name != "sensitivity"}
    assert experiment(plain).sensitivity is None
    with pytest.raises(BadInput, match=r"sensitivity.round: is not known. Did you mean rounds\?"):
        experiment({**SPEC, "sensitivity": {"round": 6}})
