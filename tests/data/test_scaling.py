"""What each scaling promises of its columns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.data import Raw, Standard, UnitRange

tables = st.lists(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=2), min_size=2, max_size=30
).map(lambda rows: np.array(rows, dtype=np.float32))


@given(tables)
def test_the_unit_range_is_reached_and_never_left(x):
    scaled = UnitRange()(x)
    assert scaled.dtype == np.float32
    assert scaled.min() >= 0
    assert scaled.max() <= 1
    varies = x.max(axis=0) > x.min(axis=0)
    np.testing.assert_array_equal(scaled.max(axis=0), varies.astype(np.float32))
    np.testing.assert_array_equal(scaled.min(axis=0), 0)


@given(tables)
def test_the_order_of_values_is_kept(x):
    scaled = UnitRange()(x)
    for column in range(2):
        order = np.argsort(x[:, column], kind="stable")
        assert (np.diff(scaled[order, column]) >= 0).all()


def test_standard_columns_have_mean_0_and_deviation_1():
    x = np.random.default_rng(0).normal(5, 3, (500, 3))
    x[:, 2] = 4.0
    scaled = Standard()(x)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=0), [1, 1, 0], atol=1e-6)


def test_raw_values_are_left_alone():
    x = np.array([[1.5, 2.0**24]], dtype=np.float64)
    np.testing.assert_array_equal(Raw()(x), x)


@pytest.mark.parametrize("scaling", [Raw(), UnitRange(), Standard()])
def test_the_argument_is_not_changed(scaling):
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    scaling(x)
    np.testing.assert_array_equal(x, np.arange(6).reshape(3, 2))
    assert scaling.note()
