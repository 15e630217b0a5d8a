"""Thresholds by label: brute force, what is not looked at, coverage, and what rows cannot say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.metrics import (
    NotEvaluable,
    best_class_thresholds,
    class_decisions,
    class_thresholds,
    membership,
    roc,
)

seeds = st.integers(0, 2**32 - 1)


def sample(seed, n=200, classes=3, shift=(0.0, 1.0, 3.0)):
    """Scores whose level differs from label to label; members of label c lie shift[c] higher."""
    rng = np.random.default_rng(seed)
    label, member = rng.integers(0, classes, n), rng.random(n) < 0.5
    scores = rng.normal(size=n) + 10 * label + np.array(shift)[label] * member
    return scores.round(1), label, member, rng.random(n) < 0.4


@given(seeds)
def test_each_label_is_as_if_it_were_alone_and_the_whole_is_the_sum_of_counts(seed):
    scores, label, member, fitting = sample(seed)
    found = class_thresholds(scores, label, member, fitting)
    hits = alarms = 0
    for c in range(3):
        choose, judge = (label == c) & fitting, (label == c) & ~fitting
        m, n = choose & member, choose & ~member
        best = max(
            sorted(set(scores[choose]), reverse=True),
            key=lambda t, m=m, n=n: (
                (scores[m] >= t).sum() * n.sum() - (scores[n] >= t).sum() * m.sum()
            ),
        )
        tpr, fpr = (scores[judge & member] >= best), (scores[judge & ~member] >= best)
        assert found.labels[c].value == pytest.approx((tpr.mean() + 1 - fpr.mean()) / 2)
        assert found.labels[c].low <= found.labels[c].value <= found.labels[c].high
        hits, alarms = hits + tpr.sum(), alarms + fpr.sum()
    members, others = (~fitting & member).sum(), (~fitting & ~member).sum()
    assert found.overall.value == pytest.approx((hits / members + 1 - alarms / others) / 2)


def test_the_whole_is_the_mean_over_labels_where_all_have_equal_shares():
    scores, _, _, _ = sample(1, n=240)
    label, member = np.arange(240) % 3, np.arange(240) % 2 == 0
    fitting = np.arange(240) % 4 < 2
    found = class_thresholds(scores, label, member, fitting)
    assert found.overall.value == pytest.approx(np.mean([m.value for m in found.labels.values()]))


def test_thresholds_by_label_find_what_one_threshold_does_not():
    """The labels' levels lie 10 apart: one threshold sorts labels, not members."""
    scores, label, member, fitting = sample(2, n=2000, shift=(3.0, 3.0, 3.0))
    judged = ~fitting
    one = membership(scores[judged & member], scores[judged & ~member])
    found = class_thresholds(scores, label, member, fitting).overall
    assert found.low > one.best_threshold_accuracy.high + 0.1


@given(seeds)
def test_judged_rows_choose_nothing(seed):
    """With every judged member far above, the false alarms are still those of the old threshold."""
    scores, label, member, fitting = sample(seed)
    changed = scores + 1000 * (~fitting & member)
    found = class_thresholds(changed, label, member, fitting)
    for c, metric in found.labels.items():
        choose, judge = (label == c) & fitting, (label == c) & ~fitting & ~member
        curve = roc(scores[choose & member], scores[choose & ~member])
        alarms = (scores[judge] >= curve.scores[curve.best]).mean()
        assert metric.value == pytest.approx((1 + 1 - alarms) / 2)


def test_the_exact_interval_covers_a_true_accuracy():
    """Scores of two values, each rule's rates known: the interval misses in 5 % at most."""
    missed, runs = 0, 300
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        member, label = np.arange(80) < 40, np.tile([0, 1], 40)
        score = (rng.random(80) < np.where(member, 0.7, 0.4)).astype(float)
        found = class_decisions(score, label, member, threshold=1.0)
        missed += not found.overall.low <= 0.65 <= found.overall.high
    assert missed <= 0.05 * runs + 3 * (0.05 * 0.95 * runs) ** 0.5


@given(seeds)
def test_decisions_are_those_of_the_given_threshold(seed):
    scores, label, member, _ = sample(seed)
    found = class_decisions(scores, label, member, threshold=5.0)
    right = (scores >= 5.0) == member
    for c in range(3):
        own = label == c
        expected = (right[own & member].mean() + right[own & ~member].mean()) / 2
        assert found.labels[c].value == pytest.approx(expected)
    assert found.overall.value == pytest.approx((right[member].mean() + right[~member].mean()) / 2)


def test_the_worst_case_is_each_labels_best_threshold():
    scores, label, member, _ = sample(3)
    found = best_class_thresholds(scores, label, member, seed=4)
    weighted = 0.0
    for c in range(3):
        own = label == c
        alone = membership(scores[own & member], scores[own & ~member], seed=4)
        assert found.labels[c] == alone.best_threshold_accuracy
        share = (own[member].mean() + own[~member].mean()) / 2
        weighted += share * found.labels[c].value
    assert found.overall.value == pytest.approx(weighted)
    widest = max(m.high - m.low for m in found.labels.values())
    assert 0 < found.overall.high - found.overall.low <= widest


def test_the_worst_case_takes_off_the_optimism_of_choosing():
    """Scores without information: the value lies above 1/2, its interval reaches down to it."""
    low = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        label, member = rng.integers(0, 3, 150), np.arange(150) % 2 == 0
        found = best_class_thresholds(rng.normal(size=150), label, member).overall
        assert found.value > 0.5
        low += found.low <= 0.5
    assert low >= 36


def test_a_label_without_rows_is_not_evaluable_nor_is_the_whole():
    scores, label, member, fitting = sample(5)
    member = member | (label == 1)
    for found in (
        class_thresholds(scores, label, member, fitting),
        class_decisions(scores, label, member),
        best_class_thresholds(scores, label, member),
    ):
        assert isinstance(found.labels[1], NotEvaluable)
        assert "and 0" in found.labels[1].why
        assert "1 of 3 labels lack rows; label 1" in found.overall.why
        assert found.labels[0].value > 0
        assert "not_evaluable" in found.to_json()["overall"]
        assert set(found.to_json()["labels"]) == {"0", "1", "2"}
    none = class_thresholds(scores, label, member, np.zeros(len(scores), dtype=bool))
    assert "choose a threshold on" in none.labels[0].why


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": [0.5, 1.0]}, "labels: .*float64"),
        ({"label": [0]}, r"labels: have shape \(1,\)"),
        ({"member": [1, 0]}, "membership: .*int64"),
        ({"fitting": [True]}, r"fitting rows: has shape \(1,\)"),
        ({"scores": [np.nan, 1.0]}, "scores: 1 of 2 are NaN"),
    ],
)
def test_wrong_rows_are_refused(change, said):
    given_ = {"scores": [0.0, 1.0], "label": [0, 0], "member": [True, False]}
    given_ |= {"fitting": [True, False], **change}
    with pytest.raises(BadInput, match=said):
        class_thresholds(**given_)


@given(seeds)
def test_neither_the_order_of_rows_nor_a_rising_map_counts(seed):
    scores, label, member, fitting = sample(seed)
    order = np.random.default_rng(seed).permutation(len(scores))
    one = class_thresholds(scores, label, member, fitting).to_json()
    assert class_thresholds(*(a[order] for a in (scores, label, member, fitting))).to_json() == one
    assert class_thresholds(np.exp(scores / 10), label, member, fitting).to_json() == one
