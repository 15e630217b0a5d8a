import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from trilemma.core.errors import BadInput
from trilemma.metrics import roc, thin

tied = st.one_of(st.integers(-3, 3).map(float), st.sampled_from([math.inf, -math.inf, 0.1]))
side = st.lists(tied, min_size=1, max_size=12)
finite = st.lists(st.floats(-5, 5, width=16), min_size=1, max_size=30)


@given(members=side, nonmembers=side)
def test_the_curve_counts_every_threshold(members, nonmembers):
    curve = roc(members, nonmembers)
    assert curve.scores.tolist() == sorted(set(members + nonmembers), reverse=True)
    for index, threshold in enumerate(curve.scores):
        assert curve.hits[index] == sum(score >= threshold for score in members)
        assert curve.alarms[index] == sum(score >= threshold for score in nonmembers)


@given(members=finite, nonmembers=finite)
@settings(deadline=None)
def test_auc_is_that_of_scikit_learn(members, nonmembers):
    truth = [1] * len(members) + [0] * len(nonmembers)
    expected = roc_auc_score(truth, members + nonmembers)
    assert roc(members, nonmembers).auc == pytest.approx(expected, abs=1e-12)


@given(members=side, nonmembers=side)
def test_auc_is_the_share_of_pairs_in_order(members, nonmembers):
    pairs = [(a > b) + (a == b) / 2 for a in members for b in nonmembers]
    assert roc(members, nonmembers).auc == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


@given(members=side, nonmembers=side)
def test_the_area_under_the_points_is_the_auc(members, nonmembers):
    curve = roc(members, nonmembers)
    drawn = thin(curve)
    area = (np.diff(drawn.fpr) * (drawn.tpr[1:] + drawn.tpr[:-1]) / 2).sum()
    assert area == pytest.approx(curve.auc, abs=1e-12)


def test_float32_is_compared_exactly_as_given():
    """0.1 in float32 lies above 0.1 in float64: not a tie."""
    curve = roc(np.array([0.1], dtype=np.float32), np.array([0.1]))
    assert (curve.wins, curve.ties) == (1.0, 0.0)


def test_integers_and_booleans_are_scores():
    assert roc([True, True], [False, True]).auc == 0.75
    assert roc(np.array([3], dtype=np.uint8), [-1]).auc == 1.0


@pytest.mark.parametrize(
    ("members", "nonmembers", "message"),
    [
        ([], [1.0], "^member scores: are empty"),
        ([1.0], [], "^non-member scores: are empty"),
        ([[1.0]], [1.0], r"^member scores: have shape \(1, 1\)"),
        ([1.0], np.array(3.0), r"^non-member scores: have shape \(\)"),
        ([1.0, math.nan, math.nan], [1.0], "^member scores: 2 of 3 are NaN, the first at row 1"),
        ([1.0], [0.0, 0.0, math.nan], "^non-member scores: 1 of 3 are NaN, the first at row 2"),
        (["a"], [1.0], "^member scores: are of type <U1"),
        ([1.0], [1j], "^non-member scores: are of type complex128"),
        ([None], [1.0], "^member scores: are of type object"),
    ],
)
def test_bad_scores_are_named(members, nonmembers, message):
    with pytest.raises(BadInput, match=message):
        roc(members, nonmembers)


@given(members=side, nonmembers=side, points=st.integers(4, 9))
def test_a_thinned_curve_is_made_of_the_curves_own_points(members, nonmembers, points):
    curve = roc(members, nonmembers)
    drawn = thin(curve, points)
    own = {(0.0, 0.0)} | set(
        zip(curve.alarms / curve.nonmembers, curve.hits / curve.members, strict=True)
    )
    places = list(zip(drawn.fpr, drawn.tpr, strict=True))
    assert len(places) <= points
    assert set(places) <= own
    assert places[0] == (0.0, 0.0)
    assert places[-1] == (1.0, 1.0)
    assert all(a[0] <= b[0] and a[1] <= b[1] and a != b for a, b in pairwise(places))


def test_thinning_keeps_the_low_end_exactly_and_the_rest_closely():
    rng = np.random.default_rng(0)
    curve = roc(rng.normal(1.0, 1.5, 20_000), rng.normal(0.0, 1.0, 20_000))
    whole, drawn = thin(curve, 10**6), thin(curve, 400)
    assert len(drawn.fpr) <= 400 < len(whole.fpr)
    assert drawn.fpr[:200].tolist() == whole.fpr[:200].tolist()
    assert drawn.tpr[:200].tolist() == whole.tpr[:200].tolist()
    at = np.logspace(-4, 0, 1000)
    truth, seen = (np.interp(at, each.fpr, each.tpr) for each in (whole, drawn))
    assert np.abs(np.log10(seen / truth)).max() < 0.02
    assert np.abs(seen - truth).max() < 0.01


def test_dropping_straight_runs_changes_nothing():
    drawn = thin(roc([5.0, 4.0, 3.0, 0.5], [2.0, 1.0, 0.0]))
    assert drawn.fpr.tolist() == [0.0, 0.0, 2 / 3, 2 / 3, 1.0]
    assert drawn.tpr.tolist() == [0.0, 0.75, 0.75, 1.0, 1.0]


def test_too_few_points_are_refused():
    with pytest.raises(BadInput, match="at least 4"):
        thin(roc([1.0], [0.0]), 3)
