"""Row hashes and counts of equal rows, against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.data.duplicates import count, first_occurrences, row_hashes

small_rows = st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=2, max_size=40)


@given(small_rows, st.sampled_from([np.uint8, np.float32, np.float64, np.int64]))
def test_hashes_are_equal_exactly_where_rows_are(rows, kind):
    x = np.array(rows, dtype=kind)
    hashes = row_hashes(x)
    same = (x[:, None] == x[None]).all(axis=2)
    np.testing.assert_array_equal(hashes[:, None] == hashes[None], same)


def test_negative_zero_is_zero_and_the_argument_is_not_changed():
    x = np.array([[0.0, 1.0], [-0.0, 1.0]], dtype=np.float32)
    hashes = row_hashes(x)
    assert hashes[0] == hashes[1]
    assert np.signbit(x[1, 0])


def test_images_hash_by_row_whatever_their_memory_layout():
    x = np.random.default_rng(0).integers(0, 255, (5, 4, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        row_hashes(x.transpose(0, 3, 1, 2)),
        row_hashes(np.ascontiguousarray(x.transpose(0, 3, 1, 2))),
    )
    assert len(row_hashes(x[:0])) == 0


@given(small_rows)
def test_first_occurrences_keep_each_row_once_in_order(rows):
    x = np.array(rows)
    kept = first_occurrences(row_hashes(x))
    seen, expected = set(), []
    for index, row in enumerate(map(tuple, rows)):
        if row not in seen:
            expected.append(index)
            seen.add(row)
    assert kept.tolist() == expected


@given(small_rows, st.integers(1, 39))
def test_counts_agree_with_brute_force(rows, cut):
    x = [tuple(row) for row in rows]
    cut = min(cut, len(x) - 1)
    parts = {"a": np.arange(cut), "b": np.arange(cut, len(x))}
    found = count(row_hashes(np.array(rows)), parts)
    a, b = x[:cut], x[cut:]
    assert found.within == {"a": len(a) - len(set(a)), "b": len(b) - len(set(b))}
    assert found.across == {"a/b": sum(row in set(a) for row in b)}


@pytest.mark.xfail(strict=True, reason="negative control: a hash of the first column only")
def test_a_hash_that_ignores_columns_is_caught():
    x = np.array([[1, 2], [1, 3]])
    hashes = row_hashes(x[:, :1])
    assert hashes[0] != hashes[1]
