"""Differences of confidences: closed forms, invariances, coverage and tightness."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.metrics import sensitivity

NAMES = ("mean", "mean_absolute", "noise", "noise_absolute", "influence")
unit = st.floats(0, 1)
triples = st.lists(st.tuples(unit, unit, unit), min_size=1, max_size=12)


@given(triples)
def test_they_are_means_of_differences_and_these_sorted(points):
    original, without, within = np.array(points).T
    found = sensitivity(original, without, within)
    lost, noise = original - without, original - within
    expected = (lost, abs(lost), noise, abs(noise), within - without)
    for name, each in zip(NAMES, expected, strict=True):
        assert getattr(found, name).value == pytest.approx(each.mean(), abs=1e-12)
    assert found.left_out.tolist() == sorted(lost)
    assert found.stayed.tolist() == sorted(noise)


@given(triples, st.randoms(use_true_random=False))
def test_the_order_of_the_points_does_not_matter(points, random):
    mixed = random.sample(points, len(points))
    one, other = (sensitivity(*np.array(each).T, seed=3) for each in (points, mixed))
    assert one.to_json() == other.to_json()


@given(st.integers(1, 9), unit, unit, unit)
def test_points_alike_leave_nothing_to_chance(n, original, without, within):
    found = sensitivity([original] * n, [without] * n, [within] * n)
    for name in NAMES:
        each = getattr(found, name)
        assert each.high - each.low == pytest.approx(0, abs=1e-12)


def test_a_shift_of_the_original_model_moves_both_but_not_the_influence():
    rng = np.random.default_rng(0)
    original, without, within = rng.random((3, 40)) / 2
    one, other = (sensitivity(original + c, without, within) for c in (0, 0.25))
    for name, moved in (("mean", 0.25), ("noise", 0.25), ("influence", 0)):
        for end in ("value", "low", "high"):
            shift = getattr(getattr(other, name), end) - getattr(getattr(one, name), end)
            assert shift == pytest.approx(moved, abs=1e-12), name


def test_the_intervals_cover_and_are_no_wider_than_theory():
    """Sensitivities uniform on [0, 1]: mean 1/2; the mean of n has the deviation 1/sqrt(12 n)."""
    missed, runs, n = 0, 300, 60
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        found = sensitivity(np.ones(n), rng.random(n), np.ones(n), seed=seed).mean
        missed += not found.low <= 0.5 <= found.high
        assert (found.high - found.low) / 2 == pytest.approx(1.96 / (12 * n) ** 0.5, rel=0.35)
    assert missed <= 0.06 * runs + 3 * (0.06 * 0.94 * runs) ** 0.5


def test_the_influence_is_known_better_than_the_pair_where_points_differ():
    """Points that are hard for every model: what they have in common drops out point by point."""
    rng = np.random.default_rng(1)
    hard = rng.random(80) / 2
    found = sensitivity(np.ones(80), hard, hard + 0.3)
    assert found.influence.value == pytest.approx(0.3)
    assert found.influence.high - found.influence.low < 1e-9
    assert found.mean.high - found.mean.low > 0.05


def test_seeds_and_large_samples():
    values = np.random.default_rng(2).random((3, 5000))
    one, same, other = (sensitivity(*values, seed=seed).mean for seed in (0, 0, 1))
    assert one == same != other
    assert one.low == pytest.approx(other.low, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([], [], []), "are empty"),
        (([0.5, 1.5], [0, 0], [0, 0]), r"confidences original: hold 1.5 at row 1"),
        (([0.5], [0.5, 0.4], [0.1]), r"of \[1, 2, 1\] points"),
        (([np.nan], [0.5], [0.1]), "NaN"),
    ],
)
def test_what_is_refused(arguments, said):
    with pytest.raises(BadInput, match=said):
        sensitivity(*arguments)


def test_levels_and_seeds_out_of_range_are_refused():
    with pytest.raises(BadInput, match="level"):
        sensitivity([1], [1], [1], level=1.0)
    with pytest.raises(BadInput, match="seed: is -1"):
        sensitivity([1], [1], [1], seed=-1)
