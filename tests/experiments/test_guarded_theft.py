"""A theft before a detector, as a stage and in the document."""

from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from test_stealing import ASKED, STEAL, Killed, done

from trilemma.attacks.extraction import Vanilla
from trilemma.experiments import stealing
from trilemma.experiments.audit import audit
from trilemma.experiments.execution import run
from trilemma.experiments.graph import key
from trilemma.experiments.guards import PRADA, CalibratedSEAT, CalibratedWork, Guard
from trilemma.experiments.loot import NOTICED
from trilemma.experiments.reports import noticed, render_html, render_markdown, validate
from trilemma.experiments.trained import plan_trained

SEAT = Guard(detector=CalibratedSEAT(pairs=30))
WATCHED = replace(STEAL, thief=Vanilla(**ASKED), attack=None, guard=SEAT)
SPEC = {
    "name": "watched",
    "data": {"kind": "Digits", "members": 80, "nonmembers": 90, "auxiliary": 60, "validation": 50},
    "models": {"m": {"recipe": {"kind": "MLP", "epochs": 20, "hidden": [16]}}},
    "extraction": {
        "student": {"kind": "MLP", "hidden": [12], "optimiser": {"kind": "Adam"}},
        "thieves": {
            name: {"kind": "Vanilla", "epochs": 4, "batch": 20}
            for name in ("open", "distances", "similar", "work")
        },
        "own": {
            "distances": {"guard": {"detector": {"kind": "PRADA", "least": 20}}},
            "similar": {"guard": {"detector": {"kind": "CalibratedSEAT", "pairs": 10}}},
            "work": {"guard": {"detector": {"kind": "CalibratedWork"}, "accounts": 2}},
        },
        "every": 2,
        "rows": 40,
    },
    "seeds": [0, 1],
}


def test_a_theft_ends_where_its_account_does(store):
    watched, free = done(store, WATCHED, replace(WATCHED, guard=None))
    assert free.facts["spent"] == 1200
    assert "guard" not in free.facts
    assert watched.facts["stopped"].startswith("account banned")
    told = watched.facts["guard"]
    assert told["thief"]["banned"] == 1
    assert told["thief"]["queries"] <= watched.facts["spent"] < 300  # the first pass repeats none
    assert watched.facts["looks"][-1]["queries"] <= watched.facts["spent"]
    assert told["user"]["banned"] == 0


def test_a_detector_that_forbids_all_leaves_a_student_that_knows_nothing(store):
    none = Guard(detector=CalibratedSEAT(threshold=1e6, pairs=0))
    theft = replace(WATCHED, guard=none, thief=Vanilla(epochs=3, batch=100))
    (found,) = done(store, theft)
    assert found.facts["looks"] == [found.facts["looks"][0]]
    assert found.facts["looks"][0]["pass"] == 0


def test_a_watched_theft_that_was_killed_begins_anew_and_ends_the_same(store, monkeypatch):
    (whole,) = done(store, WATCHED)
    store.remove(key(WATCHED))
    learnt = []

    class Fatal(stealing.Student):
        def learn(self, *args):
            if len(learnt) == 5:  # in the second pass
                raise Killed
            learnt.append(1)
            return super().learn(*args)

    with monkeypatch.context() as patch:
        patch.setattr(stealing, "Student", Fatal)
        with pytest.raises(Killed):
            run([WATCHED], store)
    (again,) = done(store, WATCHED)
    assert again.facts == whole.facts
    for name, each in whole.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], each)


def test_the_document_tells_what_was_noticed(store):
    document = validate(audit(SPEC, store))
    assert document["failures"] == []
    thieves = document["models"]["m"]["extraction"]["thieves"]
    assert "guard" not in thieves["open"]
    for entry in thieves.values():  # as conditions know them
        if "guard" in entry:
            assert tuple(entry["guard"]["thief"]) == NOTICED[entry["guard"]["detector"]]
    kinds = {name: entry["guard"]["detector"] for name, entry in thieves.items() if name != "open"}
    assert kinds == {"distances": "PRADA", "similar": "CalibratedSEAT", "work": "CalibratedWork"}
    told = thieves["work"]["guard"]
    assert len(told["thief"]["slow_down"]["seeds"]) == 2
    assert told["curve"][-1]["queries"] <= 240
    assert told["stopped"] == ["", ""]
    alarm = thieves["distances"]["guard"]["user"]["alarm_at"]
    assert alarm == {"not_evaluable": "it did not happen with 2 of 2 seeds"}
    page, text = unescape(render_html(document)), render_markdown(document)
    said = noticed.remarks(document)
    assert [each.partition(",")[0] for each in said] == [
        "“m” behind PRADA", "“m” behind SEAT", "“m” behind proof of work"
    ]  # fmt: skip
    assert "an answer takes it" in said[2]
    assert all(each in page for each in said)
    assert "m behind SEAT, similar" in text
    (banned,) = [
        row for row in noticed.tables(document)[1].rows if row[0] == "Accounts that were banned"
    ]
    assert banned[1].startswith("1 ")
    assert [figure.id for figure in noticed.works(document)] == ["work-2"]
    assert "work-2" in page


def test_guards_are_declared_in_full_and_by_thief():
    cells, _ = plan_trained(SPEC)
    guards = {name: stages["steal"].guard for name, stages in cells[0].thefts.items()}
    assert guards == {
        "open": None,
        "distances": Guard(detector=PRADA(least=20)),
        "similar": Guard(detector=CalibratedSEAT(pairs=10)),
        "work": Guard(detector=CalibratedWork(), accounts=2),
    }
