"""Shares of certified rows: a count of rows, exact intervals, falling with the radius."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.metrics import certified_shares, rate

radius = st.sampled_from([-1.0, 0.0, 0.1, 0.25, 0.5, 0.7])
grids = st.lists(st.sampled_from([0.05, 0.1, 0.25, 0.5, 2.0]), unique=True).map(
    lambda rest: [0.0, *sorted(rest)]
)


@given(st.lists(radius, min_size=1, max_size=30), grids)
def test_each_share_is_a_count_and_none_rises(rows, grid):
    found = certified_shares(rows, grid)
    assert found == [rate(sum(r >= at for r in rows), len(rows)) for at in grid]
    values = [share.value for share in found]
    assert values == sorted(values, reverse=True)


def test_at_zero_only_wrong_rows_are_missing():
    assert certified_shares([-1.0, 0.0, 0.3, 9.0], [0.0])[0].value == 0.75


@pytest.mark.parametrize("grid", [[], [0.1, 0.2], [0.0, 0.2, 0.2], [0.0, 0.2, 0.1]])
def test_radii_ascend_from_zero(grid):
    with pytest.raises(BadInput, match="radii"):
        certified_shares([0.1], grid)


def test_no_rows_no_share():
    with pytest.raises(BadInput, match="radii of rows"):
        certified_shares([], [0.0])
