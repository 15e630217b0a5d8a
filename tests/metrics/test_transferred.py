"""A threshold from a shadow model: brute force, no look at the target, coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.metrics import (
    NotEvaluable,
    chosen_on_shadow,
    membership,
    transferred_rate,
    transferred_threshold,
)

few = st.lists(st.integers(0, 8), min_size=1, max_size=12)


@given(few, few, few, few)
def test_it_is_the_best_threshold_of_the_shadow(a, b, c, d):
    found = transferred_threshold(a, b, c, d)
    a, b, c, d = map(np.array, (a, b, c, d))
    gaps = {  # whole numbers, which tie exactly
        t: int((a >= t).sum()) * len(b) - int((b >= t).sum()) * len(a)
        for t in sorted({*a, *b}, reverse=True)
    }
    assert found.threshold == max(gaps, key=gaps.get)
    assert found.shadow_accuracy == pytest.approx(0.5 + max(gaps.values()) / (2 * len(a) * len(b)))
    right = ((c >= found.threshold).mean() + (d < found.threshold).mean()) / 2
    assert found.accuracy().value == pytest.approx(right)
    assert found.accuracy().value <= membership(c, d).best_threshold_accuracy.value + 1e-12


@given(few, few)
def test_on_the_shadow_itself_it_is_the_worst_case(a, b):
    found = transferred_threshold(a, b, a, b)
    expected = membership(a, b).best_threshold_accuracy.value
    assert found.accuracy().value == pytest.approx(expected)
    assert found.shadow_accuracy == pytest.approx(expected)


def test_the_interval_covers_what_the_threshold_is_worth():
    """Normals one apart: at threshold t the accuracy is (Phi(1 - t) + Phi(t)) / 2."""
    from scipy.special import ndtr

    missed, runs = 0, 300
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        found = transferred_threshold(
            rng.normal(1, 1, 60), rng.normal(0, 1, 60), rng.normal(1, 1, 80), rng.normal(0, 1, 80)
        )
        true = (ndtr(1 - found.threshold) + ndtr(found.threshold)) / 2
        missed += not found.accuracy().low <= true <= found.accuracy().high
    assert missed <= 0.05 * runs + 3 * (0.05 * 0.95 * runs) ** 0.5


def test_without_information_it_is_a_guess_while_the_worst_case_looks_better():
    values = []
    for seed in range(200):
        sides = np.random.default_rng(seed).normal(size=(4, 30))
        found = transferred_threshold(*sides)
        assert found.shadow_accuracy >= 0.5
        values.append(found.accuracy().value)
    assert np.mean(values) == pytest.approx(0.5, abs=0.02)


def test_the_budget_with_the_best_shadow_accuracy_is_taken():
    assert chosen_on_shadow({"a": 0.5, "b": 0.8, "c": 0.8}) == "b"
    with pytest.raises(BadInput, match="none to choose"):
        chosen_on_shadow({})


@pytest.mark.parametrize("empty", range(4))
def test_an_empty_side_is_refused(empty):
    sides = [[1.0, 2.0] for _ in range(4)]
    sides[empty] = []
    with pytest.raises(BadInput, match="empty"):
        transferred_threshold(*sides)


@given(
    shadow=st.lists(st.integers(0, 6), min_size=1, max_size=30),
    members=st.lists(st.integers(0, 6), min_size=1, max_size=20),
    nonmembers=st.lists(st.integers(0, 6), min_size=1, max_size=20),
    fpr=st.floats(0, 0.99),
)
def test_a_fixed_rate_takes_the_lowest_threshold_that_keeps_it(shadow, members, nonmembers, fpr):
    """A row more, wherever it comes to lie, counts as flagged beside those known."""
    found = transferred_rate(shadow, members, nonmembers, fpr)
    if fpr < 1 / (len(shadow) + 1):
        assert isinstance(found, NotEvaluable)
        assert "of shadow models" in found.why
        return
    known = np.array(shadow)
    assert found.bound in shadow
    assert ((known > found.bound).sum() + 1) / (len(shadow) + 1) <= fpr
    for lower in {each for each in shadow if each < found.bound}:
        assert ((known > lower).sum() + 1) / (len(shadow) + 1) > fpr
    assert found.flagged.hits == sum(each > found.bound for each in members)
    assert found.flagged.alarms == sum(each > found.bound for each in nonmembers)


def flagged_in_turn(scores, fpr):
    """How often each row is flagged at the threshold that the others fix."""
    found = [
        transferred_rate(np.delete(scores, i), scores[[i]], scores[[i]], fpr)
        for i in range(len(scores))
    ]
    return sum(each.flagged.hits for each in found) / len(scores)


@pytest.mark.parametrize(
    ("b", "fpr", "above"),
    [
        (120, 0.01, 1),
        (99, 0.01, 1),
        (99, 0.29, 29),  # of which the hundredfold, in floating point, is below 29
        (99, 0.57, 57),
        (10, 0.1, 1),
        (19, 0.1, 2),
        (2, 0.9, 2),
        (1, 0.5, 1),
    ],
)
def test_one_more_nonmember_is_flagged_no_more_often_than_declared(b, fpr, above):
    """Exactly: of b + 1 exchangeable rows each is as likely the one more. No row more would do."""
    scores = np.random.default_rng(b).permutation(b + 1).astype(float)
    assert flagged_in_turn(scores, fpr) == above / (b + 1) <= fpr
    assert (above + 1) / (b + 1) > fpr
    assert flagged_in_turn(np.floor(scores / 3), fpr) <= fpr  # nor where they tie


@pytest.mark.parametrize(("fpr", "needed"), [(0.01, 99), (0.1, 9), (0.29, 3), (0.5, 1)])
def test_so_many_rows_are_needed_as_it_says(fpr, needed):
    for rows in range(max(1, needed - 2), needed + 2):
        found = transferred_rate(np.arange(rows), [0.0], [0.0], fpr)
        assert isinstance(found, NotEvaluable) == (rows < needed)
        if rows < needed:
            assert f"needs {needed} non-members of shadow models or more" in found.why


@pytest.mark.parametrize("fpr", [0.01, 0.1])
def test_a_rate_fixed_on_shadow_models_holds_on_a_target_like_them(fpr):
    alarms = trials = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        found = transferred_rate(rng.normal(size=120), [0.0], rng.normal(size=200), fpr)
        alarms, trials = alarms + found.flagged.alarms, trials + found.flagged.nonmembers
    exact = int(121 * fpr) / 121
    error = (exact * (1 - exact) * (1 / 120 + 1 / 200) / 400) ** 0.5
    assert alarms / trials == pytest.approx(exact, abs=4 * error)
    assert 4 * error < 1 / 121  # by which the next threshold would miss it


def test_whose_members_the_targets_rows_are_does_not_move_the_threshold():
    rng = np.random.default_rng(0)
    shadow, scores = rng.normal(size=(2, 300))
    known = [shadow + 1, shadow]
    bounds, thresholds = set(), set()
    for _ in range(20):
        member = rng.permutation(300) < 150
        sides = scores[member], scores[~member]
        bounds.add(float(transferred_rate(shadow, *sides, 0.05).bound))
        thresholds.add(float(transferred_threshold(*known, *sides).threshold))
    assert len(bounds) == len(thresholds) == 1


@pytest.mark.parametrize("fpr", [-0.1, 1.0, float("nan")])
def test_a_rate_that_is_none_is_refused(fpr):
    with pytest.raises(BadInput, match="fpr"):
        transferred_rate([1.0], [1.0], [1.0], fpr)
