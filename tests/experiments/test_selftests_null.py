"""The null run contains 0.5 as often as it says; equal rows are counted."""

import itertools

import numpy as np
import pytest

from trilemma.experiments.selftests import duplicates, null, null_run
from trilemma.metrics import roc

RNG = np.random.default_rng(0)
SCORES = {
    "continuous": RNG.random(500),
    "tied": RNG.integers(3, size=500),
    "saturated": np.where(RNG.random(500) < 0.9, 1.0, RNG.random(500)).astype(np.float32),
    "constant": np.ones(500),
    "infinite": np.concatenate([np.full(20, -np.inf), RNG.random(30)]),
}


@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_non_members_against_non_members_show_no_leak(scores):
    for seed in range(5):
        check = null_run(scores, seed)
        assert check["status"] == "pass"
        auc = check["details"]["auc"]
        assert auc["low"] <= auc["value"] <= auc["high"]


@pytest.mark.parametrize("scores", [[0.1, 0.2, 0.3, 0.4, 0.5], [1, 1, 2, 3, 3, 3]])
def test_the_deviation_is_that_of_all_halvings(scores):
    scores = np.array(scores)
    half = len(scores) // 2
    aucs = []
    for chosen in itertools.combinations(range(len(scores)), half):
        inside = np.isin(np.arange(len(scores)), chosen)
        aucs.append(roc(scores[inside], scores[~inside]).auc)
    assert np.mean(aucs) == pytest.approx(0.5)
    assert np.std(aucs) == pytest.approx(null._deviation(scores, half))


def test_a_halving_that_is_not_random_is_caught(monkeypatch):
    """What the check is for: a measurement that finds a leak where there is none."""
    scores = np.sort(RNG.random(200))[::-1]

    class Ordered:
        def permutation(self, n):
            return np.arange(n)

    monkeypatch.setattr(null.np.random, "default_rng", lambda seed: Ordered())
    check = null_run(scores, 0)
    assert check["status"] == "warn"
    assert check["details"]["auc"]["value"] == 1
    assert "Distrust the other figures" in check["summary"]


def test_clean_scores_warn_as_rarely_as_the_level_says():
    """1 in 1,000; more than 6 of 1,000 has a probability of 8e-5."""
    scores = RNG.random(60)
    assert sum(null_run(scores, seed)["status"] == "warn" for seed in range(1000)) <= 6


@pytest.mark.xfail(strict=True, reason="negative control: a 50 % interval would warn half the time")
def test_a_narrow_interval_warns_too_often(monkeypatch):
    monkeypatch.setattr(null, "LEVEL", 0.5)
    scores = RNG.random(60)
    assert sum(null_run(scores, seed)["status"] == "warn" for seed in range(100)) <= 6


def test_a_handful_of_non_members_cannot_be_halved():
    assert null_run(RNG.random(19), 0)["status"] == "not_evaluable"


def rows(*values):
    return np.array(values, dtype=np.float32)[:, None, None]


def test_equal_rows_are_counted_across_and_within():
    members, others = rows(1, 2, 2, 3), rows(3, 4, 4, 4, 1)
    check = duplicates(members, np.arange(4), others, np.arange(5))
    assert check["status"] == "warn"
    assert check["details"]["across"] == 2
    assert check["details"]["within"] == {"members": 1, "nonmembers": 2}
    assert check["summary"].startswith("2 of 5 non-members equal a member")


def test_repetition_within_a_side_is_said_and_different_rows_pass():
    check = duplicates(rows(1, 1), np.arange(2), rows(3), np.arange(1))
    assert check["status"] == "pass"
    assert "1 members and 0 non-members repeat" in check["summary"]
    check = duplicates(rows(1, 2), np.arange(2), rows(3), np.arange(1))
    assert check["summary"] == "No two rows are equal."


def test_precision_does_not_hide_equal_rows():
    members, others = rows(0.5, -0.0), rows(0.5, 0.0).astype(np.float64)
    check = duplicates(members, np.arange(2), others, np.arange(2))
    assert check["details"]["across"] == 2
