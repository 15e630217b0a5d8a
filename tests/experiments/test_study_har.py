"""Table 12's study, on a small archive in the form of the published one."""

import sys
from pathlib import Path

import pytest

from trilemma.experiments.audit import audit
from trilemma.experiments.claims import decide
from trilemma.experiments.study import study

sys.path.append(str(Path(__file__).parents[1] / "data"))

from har_like import write_har_like  # lies beside the tests of data sets


def test_it_runs_on_what_its_user_downloads(tmp_path, monkeypatch, store):
    write_har_like(tmp_path, train=120, test=60)
    monkeypatch.setenv("TRILEMMA_DATA", str(tmp_path))
    declared = study("song2019-table12")
    table = declared.table("cpu")
    for model in table["models"].values():
        model["recipe"] |= {"epochs": 10, "batch": 16, "hidden": [64]}
    table["seeds"] = [0]
    found = audit(table, store)
    assert found["status"] == "complete"
    assert found["models"]["pgd"]["rows"] == {"members": 120, "nonmembers": 60}
    assert found["models"]["natural"]["accuracy"]["train"]["value"] == pytest.approx(1)
    assert "120 of 7,352" in found["provenance"]["data"]["deviation"]
    decisions = [decide(declared, claim, found) for claim in declared.claims.values()]
    assert {each.status for each in decisions} <= {"reproduced", "not reproduced"}
    assert all("120 of 7,352" in each.deviation for each in decisions)
