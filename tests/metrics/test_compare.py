"""A difference is clear with every seed and beyond its error, and it has a direction."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.metrics import difference, rate


def record(values, half):
    seeds = [{"value": v, "low": v - half, "high": v + half, "level": 0.95} for v in values]
    mean = sum(values) / len(values)
    whole = {"value": mean, "low": min(values) - half, "high": max(values) + half, "level": 0.95}
    return whole if len(values) == 1 else {**whole, "seeds": seeds}


values = st.lists(st.floats(0.5, 1.0), min_size=1, max_size=4)


@given(values=values, shift=st.floats(-0.3, 0.3), half=st.floats(1e-3, 0.2))
def test_the_mean_its_error_and_the_rule(values, shift, half):
    found = difference(record([v + shift for v in values], half), record(values, half))
    assert found.mean == pytest.approx(shift, abs=1e-12)
    limit = half * math.sqrt(2 / len(values))
    assert found.margin == pytest.approx(limit)
    if abs(shift - limit) > 1e-9:
        assert found.clear == (shift > limit)


@given(one=values, other=values, half=st.floats(1e-3, 0.2))
def test_at_most_one_direction_is_clear(one, other, half):
    a, b = record(one, half), record(other, half)
    assert not (difference(a, b).clear and difference(b, a).clear)


def test_one_seed_against_the_rest_spoils_it():
    assert difference(record([0.9, 0.9], 0.01), record([0.5, 0.5], 0.01)).clear
    assert not difference(record([0.9, 0.49], 0.01), record([0.5, 0.5], 0.01)).clear


def test_nothing_is_clearly_larger_than_an_open_interval():
    loose = {"value": 1.0, "low": 1.0, "high": None, "level": 0.95}
    assert not difference({"value": 9.0, "low": 8.9, "high": 9.1, "level": 0.95}, loose).clear


def test_unequal_numbers_of_seeds_compare_as_wholes():
    found = difference(record([0.9, 0.8], 0.01), record([0.5], 0.01))
    assert found.seeds == pytest.approx((0.35,))


@given(bounds=st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_intervals_that_do_not_overlap_are_a_clear_difference(bounds):
    (low, value, high), (below, less, above) = sorted(bounds[:3]), sorted(bounds[3:])
    larger = {"value": value, "low": low, "high": high, "level": 0.95}
    smaller = {"value": less, "low": below, "high": above, "level": 0.95}
    if low > above + 1e-9:
        assert difference(larger, smaller).clear
    if less > value:
        assert not difference(larger, smaller).clear


def test_the_margin_covers_the_difference_of_two_rates():
    """Simulated: two exact rate intervals; a true difference of 0 is called clear in <= 2.5 %."""
    rng = np.random.default_rng(0)
    trials, p = 200, 0.6
    calls = 0
    for hits, other in rng.binomial(trials, p, size=(2000, 2)):
        a, b = rate(int(hits), trials).to_json(), rate(int(other), trials).to_json()
        calls += difference(a, b).clear
    assert calls / 2000 <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 2000)
    assert calls / 2000 >= 0.005
