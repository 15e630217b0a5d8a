import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.metrics import confidence_histogram, loss_histogram

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=30)
losses = st.lists(
    st.one_of(st.floats(0, 50), st.just(0.0), st.just(math.inf)), min_size=1, max_size=30
)
bins = st.integers(1, 20)


@given(members=probabilities, nonmembers=probabilities, bins=bins)
def test_every_confidence_is_in_its_bin(members, nonmembers, bins):
    found = confidence_histogram(members, nonmembers, bins=bins)
    edges = found["edges"]
    assert (edges[0], edges[-1], len(edges)) == (0.0, 1.0, bins + 1)
    for side, values in (("members", members), ("nonmembers", nonmembers)):
        expected = [sum(a <= v and (v < b or b == 1.0) for v in values) for a, b in pairwise(edges)]
        assert found[side] == expected


@given(members=losses, nonmembers=losses, bins=bins)
def test_every_loss_is_counted_once(members, nonmembers, bins):
    found = loss_histogram(members, nonmembers, bins=bins)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["edges"][0] == 0.0
    assert all(a < b for a, b in pairwise(found["edges"]))
    for side, values in (("members", members), ("nonmembers", nonmembers)):
        assert sum(found[side]) == len(values)
        assert found[side][-1] >= sum(value >= found["edges"][-1] for value in values)
        assert found[f"zero_{side}"] == np.mean(np.array(values) == 0)
    assert found["open_ended"] == any(v > found["edges"][-1] for v in members + nonmembers)


def test_one_extreme_loss_does_not_flatten_the_rest():
    found = loss_histogram(np.append(np.linspace(0, 2, 500), 1e6), np.linspace(0, 2, 500), bins=10)
    assert found["edges"][-1] < 2.1
    assert found["open_ended"]


@pytest.mark.parametrize("losses", [[0.0], [math.inf]])
def test_losses_without_a_scale_still_have_bins(losses):
    found = loss_histogram(losses, losses, bins=4)
    assert found["edges"] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert found["members"] == ([1, 0, 0, 0] if losses == [0.0] else [0, 0, 0, 1])


def test_the_rounding_of_a_softmax_is_forgiven():
    above = np.nextafter(np.float32(1), np.float32(2))
    assert confidence_histogram([above], [0.0], bins=2)["members"] == [0, 1]
    found = loss_histogram([-1e-7], [1.0])
    assert found["members"][0] == 1
    assert found["zero_members"] == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: confidence_histogram([0.5, 1.5], [0.5]), "of members: row 1 is 1.5"),
        (lambda: confidence_histogram([0.5], [-0.5]), "of nonmembers: row 0 is -0.5"),
        (lambda: confidence_histogram([0.5], [math.nan]), "of nonmembers: 1 of 1 are NaN"),
        (lambda: confidence_histogram([], [0.5]), "of members: are empty"),
        (lambda: loss_histogram([1.0, -2.0], [1.0]), "of members: row 1 is -2.0"),
        (lambda: loss_histogram([1.0], [1.0], bins=0), "bins: is 0"),
    ],
)
def test_impossible_values_are_named(make, message):
    with pytest.raises(BadInput, match=message):
        make()
