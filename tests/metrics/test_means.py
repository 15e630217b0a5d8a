"""Means with Student's interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trilemma.core.errors import BadInput
from trilemma.metrics import NotEvaluable, mean

numbers = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20)


@given(numbers, st.floats(0.5, 0.99))
def test_it_is_students_interval(values, level):
    found = mean(values, level)
    assert found.value == pytest.approx(np.mean(values), abs=1e-9)
    spread = stats.sem(values)
    if spread > 1e-9:
        low, high = stats.t.interval(level, len(values) - 1, np.mean(values), spread)
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6, abs=1e-6)


@given(numbers)
def test_the_order_does_not_matter(values):
    assert mean(values) == mean(values[::-1])


def test_it_covers_as_often_as_it_says():
    missed = 0
    for seed in range(400):
        found = mean(np.random.default_rng(seed).normal(2.0, 3.0, 12), 0.9)
        missed += not found.low <= 2.0 <= found.high
    assert missed == pytest.approx(40, abs=4 * (400 * 0.1 * 0.9) ** 0.5)


@pytest.mark.parametrize("values", [[1.0, np.inf], [-np.inf, 0.0], [1.0]])
def test_there_is_none_of_infinite_or_single_numbers(values):
    assert isinstance(mean(values), NotEvaluable)


@pytest.mark.parametrize("values", [[], [np.nan, 1.0], [[1.0, 2.0]]])
def test_what_are_no_numbers_is_refused(values):
    with pytest.raises(BadInput):
        mean(values)
