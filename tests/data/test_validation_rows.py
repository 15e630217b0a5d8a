"""Validation rows among the user's own files: neither members nor non-members."""

import numpy as np
import pytest

from trilemma.core.errors import BadInput
from trilemma.data import Files, load, split


def rows(n, start):
    return np.arange(start, start + n * 2, dtype=np.float32).reshape(n, 2)


@pytest.fixture
def files(tmp_path):
    """Twelve members, eight non-members and six more rows: one is a member, one a non-member."""
    parts = {"members": rows(12, 0), "nonmembers": rows(8, 100), "validation": rows(6, 200)}
    parts["validation"][:2] = parts["members"][4], parts["nonmembers"][2]
    for name, x in parts.items():
        np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(len(x)) % 3)
    return {name: str(tmp_path / f"{name}.npz") for name in parts}


def test_rows_that_are_judged_as_well_are_refused(files):
    with pytest.raises(BadInput, match=r"validation.npz: 2 of 6 .* are \(non-\)members as well"):
        split(load(Files(**files)), Files(**files), 0)


def test_they_are_dropped_where_this_is_asked_for(files):
    config = Files(**files, drop_duplicates=True)
    parts = split(load(config), config, 0)
    assert parts.report.sizes == {"members": 12, "nonmembers": 8, "validation": 4}
    assert parts.report.notes == ("2 rows that repeat an earlier row were dropped",)


def test_they_are_allowed_by_name_and_told(files):
    config = Files(**files, allow_overlap=True)
    loaded = load(config)
    parts = split(loaded, config, 0)
    np.testing.assert_array_equal(loaded.x[parts.validation], np.load(files["validation"])["x"])
    assert parts.report.notes == ("2 validation rows are (non-)members as well",)
