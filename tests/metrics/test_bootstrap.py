from collections import Counter
from importlib import import_module
from itertools import product

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import binom

from trilemma.metrics import Replicates, bootstrap, membership, roc
from trilemma.metrics.bootstrap import optimistic


def test_replicates_follow_the_law_of_resampling():
    """Fast = slow: all resamples of three members and two non-members, each as likely."""
    members, nonmembers = [3.0, 1.0, 0.0], [1.0, 0.0]
    measured, thresholds = roc(members, nonmembers), [3.0, 1.0, 0.0]

    def accuracy(curve, t):
        flags = [index for index, score in enumerate(curve.scores) if score >= t]
        return curve.flagged(flags[-1]).balanced_accuracy().value if flags else 0.5

    law = Counter()
    for some, others in product(product(members, repeat=3), product(nonmembers, repeat=2)):
        again = roc(list(some), list(others))
        best = max(accuracy(again, t) for t in thresholds)
        excess = max(accuracy(again, t) - accuracy(measured, t) for t in thresholds)
        law[tuple(np.round([again.auc, best, excess], 9))] += 1 / (27 * 4)

    draws = 20_000
    found = bootstrap(measured, rng=np.random.default_rng(0), replicates=draws)
    rows = np.round(np.stack([found.auc, found.best_accuracy, found.excess], axis=1), 9)
    seen = Counter(map(tuple, rows.tolist()))
    assert seen.keys() <= law.keys()
    for outcome, chance in law.items():
        spread = np.sqrt(chance * (1 - chance) / draws)
        assert abs(seen[outcome] / draws - chance) < 5 * spread


def test_the_generator_decides():
    curve = roc([1.0, 2.0, 3.0], [0.0, 2.0])
    first, second = (bootstrap(curve, rng=np.random.default_rng(5)) for _ in range(2))
    other = bootstrap(curve, rng=np.random.default_rng(6))
    assert (first.auc == second.auc).all()
    assert (first.auc != other.auc).any()


def test_chunks_make_up_the_number_asked_for(monkeypatch):
    monkeypatch.setattr(import_module("trilemma.metrics.bootstrap"), "CELLS", 20)
    found = bootstrap(roc([1.0, 2.0, 3.0], [0.0, 2.0]), rng=np.random.default_rng(0), replicates=37)
    assert len(found.auc) == len(found.best_accuracy) == len(found.excess) == 37


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.5])
def test_intervals_cover_the_truth(shift):
    """Two normals: AUC = Phi(d / sqrt 2), best balanced accuracy = Phi(d / 2)."""
    rng, runs = np.random.default_rng(0), 80
    auc, best = ndtr(shift / np.sqrt(2)), ndtr(shift / 2)
    missed = Counter()
    for run in range(runs):
        found = membership(rng.normal(shift, 1, 80), rng.normal(0, 1, 60), seed=run)
        missed["auc"] += not found.auc.low <= auc <= found.auc.high
        accuracy = found.best_threshold_accuracy
        missed["best, low"] += accuracy.low > best
        missed["best, high"] += accuracy.high < best
    most = binom.isf(1e-3, runs, 0.05)  # an honest interval misses more often once in 1,000
    assert max(missed.values()) <= most


def test_the_lower_end_of_the_best_accuracy_holds_without_information():
    """Where any threshold is as good as any other the optimism is largest."""
    rng, runs, above = np.random.default_rng(0), 150, 0
    for _ in range(runs):
        curve = roc(rng.normal(size=200), rng.normal(size=200))
        best = curve.flagged(curve.best).balanced_accuracy().value
        above += optimistic(best, bootstrap(curve, rng=rng, replicates=300), 0.95)[0] > 0.5
    assert above <= binom.isf(1e-3, runs, 0.025)


def test_the_ends_of_the_best_accuracy_are_quantiles():
    steps = np.arange(101) / 1000
    found = Replicates(auc=steps, best_accuracy=0.7 + steps, excess=steps)
    low, high = optimistic(0.72, found, 0.9)
    assert low == pytest.approx(0.72 - 0.095)
    assert high == pytest.approx(2 * 0.72 - 0.705)
    assert optimistic(0.501, found, 0.9)[0] == 0.5
    assert optimistic(0.99, found, 0.9)[1] == 1.0
    assert optimistic(0.6, found, 0.9)[1] == 0.6


def test_intervals_are_not_needlessly_wide():
    """Half-widths stay near those of the normal approximation."""
    rng, n = np.random.default_rng(0), 2000
    found = membership(rng.normal(1.0, 1, n), rng.normal(0.0, 1, n))
    share = found.best_threshold_accuracy
    at_threshold = 1.96 * np.sqrt(share.value * (1 - share.value) / (2 * n))
    assert share.high - share.low < 3.2 * at_threshold
    null_spread = 1.96 * np.sqrt(1 / (6 * n))  # of the AUC of equal samples: the widest
    assert found.auc.high - found.auc.low < 2 * null_spread


def test_seventy_thousand_rows_fit_in_memory_and_time():
    rng = np.random.default_rng(0)
    curve = roc(rng.normal(size=60_000), rng.normal(size=10_000))
    found = bootstrap(curve, rng=rng, replicates=100)
    assert found.auc.std() == pytest.approx(np.sqrt((1 / 6e4 + 1 / 1e4) / 12), rel=0.25)
