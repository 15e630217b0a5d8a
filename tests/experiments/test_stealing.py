"""A theft as stages: what it costs, what a kill loses, and what the student is compared by."""

import sqlite3
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from trilemma.attacks.evasion import PGD, UncertainExamples, pgd
from trilemma.attacks.extraction import BEST, ActiveThief, RandomQueries, Vanilla
from trilemma.core.balls import Linf
from trilemma.core.box import UNIT
from trilemma.core.generators import seeded
from trilemma.data import Digits, source_digest
from trilemma.experiments import stealing
from trilemma.experiments.execution import run
from trilemma.experiments.graph import Bench, key
from trilemma.experiments.likening import Exchange, Liken, Struck
from trilemma.experiments.parts import part
from trilemma.experiments.pools import held
from trilemma.experiments.specs import Trained
from trilemma.experiments.stages import Split, Train, restore, stream
from trilemma.experiments.stealing import LABELS, Steal, student_of
from trilemma.experiments.store import Store
from trilemma.experiments.theft import Pool
from trilemma.oracles.defences import Rounding
from trilemma.training.recipes import MLP
from trilemma.training.schedule import Adam

DATA = Digits(members=120, nonmembers=150, auxiliary=100, validation=60)
SPLIT = Split(data=DATA, fingerprint=source_digest(DATA), seed=1)
RECIPE = MLP(hidden=(24,), epochs=25)
VICTIM = Train(split=SPLIT, model=Trained(recipe=RECIPE), box=UNIT, seed=1)
ATTACK = PGD(ball=Linf(0.05), steps=5)
ASKED = {"epochs": 12, "batch": 20}
THIEF = BEST(examples=UncertainExamples(ball=Linf(0.1), steps=3), **ASKED)
STEAL = Steal(
    split=SPLIT, source=VICTIM, thief=THIEF, tells=LABELS,
    student=MLP(hidden=(16,), optimiser=Adam(learning_rate=0.02)), attack=ATTACK,
    every=4, rows=40, box=UNIT, seed=1,
)  # fmt: skip
LIKEN = Liken(split=SPLIT, source=VICTIM, steal=STEAL, struck=None, rows=100)
STRUCK = Struck(split=SPLIT, source=VICTIM, attack=ATTACK, rows=100, box=UNIT, seed=1)


class Opened(Bench):
    """A bench that may load anything."""

    scratch = None

    def __init__(self, store):
        self.store = store

    def load(self, parent):
        return self.store.read(key(parent))

    def progress(self, done, total, note=""):
        pass


def done(store, *targets):
    outcomes = run(targets, store)
    assert outcomes.failures() == []
    return [store.read(key(each)) for each in targets]


@pytest.fixture(scope="module")
def stolen(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    hard = replace(LIKEN, struck=STRUCK)
    return store, *done(store, STEAL, LIKEN, hard)


def test_a_theft_spends_what_it_says(stolen):
    _, theft, _, _ = stolen
    assert theft.facts["limit"] == theft.facts["spent"] == 1200
    looks = theft.facts["looks"]
    assert [look["pass"] for look in looks] == [4, 8, 12]
    assert [look["queries"] for look in looks] == [400, 800, 1200]
    assert looks[theft.facts["best"]]["robust_accuracy"] == max(
        look["robust_accuracy"] for look in looks
    )


def test_the_student_has_learnt_something(stolen):
    _, _, benign, _ = stolen
    final = benign.facts["final"]
    assert final["accuracy"]["low"] > 0.3  # of ten labels
    assert final["fidelity"]["low"] > 0.3
    assert benign.facts["victim"]["value"] > final["accuracy"]["value"]


def test_what_it_is_compared_by_is_what_the_models_answer(stolen):
    store, _, benign, hard = stolen
    bench = Opened(store)
    test = part(store.read(key(SPLIT)), "nonmembers")
    chosen = torch.randperm(150, generator=seeded(stream("compared", 1)))[:100].sort().values
    x, y = test.x[chosen], test.y[chosen]
    victim, student = (
        restore(VICTIM, SPLIT, bench),
        student_of(STEAL, "final", SPLIT, bench),
    )
    answers = {name: m(x).argmax(1) for name, m in (("victim", victim), ("student", student))}
    found = benign.facts["final"]
    assert found["accuracy"]["value"] == (answers["student"] == y).double().mean().item()
    assert found["fidelity"]["value"] == (
        (answers["student"] == answers["victim"]).double().mean().item()
    )
    assert "steady" not in found

    rng = stream("attack", 1)
    own, theirs = (pgd(m, x, y, ATTACK, rng=seeded(rng)) for m in (student, victim))
    found = hard.facts["final"]
    wanted = {
        "accuracy": student(own).argmax(1) == y,
        "steady": student(own).argmax(1) == answers["student"],
        "agreement": student(own).argmax(1) == victim(own).argmax(1),
        "to_victim": victim(own).argmax(1) == y,
        "from_victim": student(theirs).argmax(1) == y,
    }
    for name, hits in wanted.items():
        assert found[name]["value"] == pytest.approx(hits.double().mean().item(), abs=0.011), name
    assert found["from_victim"]["value"] >= found["accuracy"]["value"]
    assert hard.facts["victim"]["value"] == pytest.approx(
        (victim(theirs).argmax(1) == y).double().mean().item(), abs=0.011
    )


def test_labels_alone_are_told_unless_said_otherwise(store):
    scores = replace(STEAL, thief=Vanilla(**ASKED), tells=(), attack=None)
    labels = replace(scores, tells=LABELS)
    rough = replace(scores, tells=(Rounding(digits=1),))
    weights = [
        np.concatenate([w.ravel() for n, w in sorted(each.arrays.items()) if n[0] == "f"])
        for each in done(store, scores, labels, rough)
    ]
    assert not np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_an_answer_that_is_remembered_is_not_paid_for(store):
    again = replace(STEAL, thief=Vanilla(**ASKED), attack=None)
    paid, remembered = done(store, again, replace(again, once=True))
    assert (paid.facts["spent"], remembered.facts["spent"]) == (1200, 100)
    for name, each in paid.arrays.items():
        np.testing.assert_array_equal(remembered.arrays[name], each)


def test_the_limit_may_end_it_between_two_looks(store):
    thief = RandomQueries(queries=330, **ASKED)
    (theft,) = done(store, replace(STEAL, thief=thief, every=3))
    assert theft.facts["spent"] == 330
    assert [look["pass"] for look in theft.facts["looks"]] == [3, 4]


def test_a_pool_is_searched_too(store):
    (theft,) = done(store, replace(STEAL, thief=ActiveThief(rounds=2, **ASKED), every=8))
    assert theft.facts["spent"] == 100
    assert [look["pass"] for look in theft.facts["looks"]] == [8, 16, 24]
    assert [look["queries"] for look in theft.facts["looks"]] == [50, 100, 100]


def test_overfitting_is_the_lead_of_the_best_student_over_the_last(stolen):
    _, theft, benign, hard = stolen
    assert theft.facts["best"] < len(theft.facts["looks"])
    for compared in (benign.facts, hard.facts):
        best, final = (compared[which]["accuracy"]["value"] for which in ("best", "final"))
        lead = compared["overfitting"]
        assert lead["value"] == pytest.approx(best - final, abs=1e-12)
        assert lead["low"] <= lead["value"] <= lead["high"]


def test_the_published_student_is_the_best_on_the_rows_it_is_judged_on(stolen):
    _, theft, _, _ = stolen
    seen = [look["test"]["robust_accuracy"] for look in theft.facts["looks"]]
    assert theft.facts["published"] == seen.index(max(seen))
    assert theft.facts["judged"] == 40
    ours = [look["robust_accuracy"] for look in theft.facts["looks"]]
    assert theft.facts["best"] == ours.index(max(ours))  # on other rows, which decide nothing
    assert seen != ours


def test_examples_of_each_are_tried_on_all_others(stolen):
    store, _, _, hard = stolen
    other = replace(STEAL, thief=Vanilla(**ASKED), attack=None)
    also = replace(LIKEN, steal=other, struck=STRUCK)
    names = ("best", "plain")
    tried = Exchange(split=SPLIT, source=VICTIM, struck=STRUCK, steals=(STEAL, other), names=names)
    exchanged, likened = done(store, tried, also)
    found = exchanged.facts["accuracy"]
    assert exchanged.facts["rows"] == 100
    assert list(found) == ["victim", *names] == list(found["best"])
    for name, compared in zip(names, (hard.facts, likened.facts), strict=True):
        for maker, whom, same in [
            ("victim", "victim", compared["victim"]),
            (name, name, compared["final"]["accuracy"]),
            (name, "victim", compared["final"]["to_victim"]),
            ("victim", name, compared["final"]["from_victim"]),
        ]:
            value = found[maker][whom]["value"]
            assert value == pytest.approx(same["value"], abs=0.011), (maker, whom)
    for name in found:  # nobody is misled more by others than by itself, but for a row or two
        assert (
            found[name][name]["value"] <= min(row[name]["value"] for row in found.values()) + 0.03
        )


def test_a_student_begins_with_the_weights_of_its_start(store):
    student = MLP(hidden=(16,), optimiser=Adam(learning_rate=1e-9))
    before = replace(
        VICTIM,
        split=replace(SPLIT, data=replace(DATA, members=100, auxiliary=0)),
        model=Trained(recipe=replace(student, epochs=2, optimiser=Adam(learning_rate=0.01))),
    )
    plain = replace(STEAL, thief=Vanilla(epochs=1, batch=50), student=student, attack=None, every=1)
    start, begun, bare = done(store, before, replace(plain, start=before), plain)
    for name, each in start.arrays.items():
        np.testing.assert_allclose(begun.arrays[f"final.{name}"], each, atol=1e-6)
    assert any(
        abs(bare.arrays[f"final.{name}"] - each).max() > 0.01 for name, each in start.arrays.items()
    )


def test_known_training_rows_are_the_victims_own(store):
    data = replace(DATA, victim_training_rows=30)
    split = replace(SPLIT, data=data)
    (parts,) = done(store, split)
    members = {row.tobytes() for row in part(parts, "members").x.numpy()}
    asked = [
        held(Pool(auxiliary=auxiliary, victim_training_rows=known), parts, [], 3)
        for auxiliary, known in ((0, 20), (20, 0))
    ]
    own = [sum(row.tobytes() in members for row in each.x.numpy()) for each in asked]
    assert own == [20, 0]
    source = replace(VICTIM, split=split)
    steal = replace(STEAL, split=split, source=source, thief=Vanilla(epochs=1), attack=None)
    (theft,) = done(store, replace(steal, pool=Pool(auxiliary=15, victim_training_rows=20)))
    assert theft.facts["pool"] == theft.facts["spent"] == 35


class Killed(BaseException):
    pass


def test_a_theft_that_was_killed_ends_the_same_and_pays_once(stolen, store, monkeypatch):
    _, whole, _, _ = stolen
    spent, looks = [], []

    class Fatal(stealing.Student):
        def learn(self, *args):
            if len(looks) == 17:  # in the fourth pass
                raise Killed
            looks.append(1)
            return super().learn(*args)

    eager = partial(stealing.Checkpoint, every_seconds=0.0)
    monkeypatch.setattr(stealing, "Checkpoint", eager)
    with monkeypatch.context() as patch:
        patch.setattr(stealing, "Student", Fatal)
        with pytest.raises(Killed):
            run([STEAL], store)
    ledger = store.scratch(key(STEAL)) / "queries.sqlite"
    with sqlite3.connect(ledger) as file:
        spent.append(file.execute("SELECT spent FROM account").fetchone()[0])
    assert spent == [360]
    (again,) = done(store, STEAL)
    assert again.facts == whole.facts
    for name, each in whole.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], each)


@pytest.mark.parametrize("missing", ["auxiliary", "validation"])
def test_a_split_without_what_a_thief_needs_is_refused(store, missing):
    data = replace(DATA, **{missing: 0})
    split = replace(SPLIT, data=data)
    source = replace(VICTIM, split=split)
    (failed,) = run([replace(STEAL, split=split, source=source)], store).failures()
    assert f"data.{missing}: has no rows" in failed.error


def test_no_queries_are_no_theft(store):
    (failed,) = run([replace(STEAL, thief=Vanilla(queries=0))], store).failures()
    assert "queries: is 0" in failed.error
