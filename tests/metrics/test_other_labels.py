"""How far answers and features are from other labels: closed forms, a printed table, force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.metrics import (
    auc,
    average_cross_entropy,
    cross_entropies,
    decision_distances,
    membership,
)

# Li & Zhang, table 2: the cross-entropies of a row, and the average printed beside them
PUBLISHED = {
    "a": ([7.8156, 8.3803, 4.1979, 1.0942, 4.1367, 4.3492, 7.6328, 1.5522, 1.2923], 4.4946),
    "b": ([2.3274, 0.8761, 0.8239, 2.0793, 1.2275, 0.9791, 1.2373, 1.1152, 5.0451], 1.2218),
    "c": ([1.2995, 5.2842, 5.4212, 1.5130, 4.8059, 4.5897, 7.1547, 3.2411, 4.7910], 4.2334),
    "d": ([2.8686, 1.8325, 3.6480, 0.5352, 1.8722, 1.1689, 4.0124, 0.6866, 3.1071], 2.1766),
}
REAL = {"a": 4.4946, "b": 1.7457, "c": 4.2334, "d": 2.1924}  # what the rows average to


def answers(seed=0, n=7, k=5):
    logits = np.random.default_rng(seed).normal(scale=3, size=(n, k))
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


@pytest.mark.parametrize("row", PUBLISHED)
def test_the_papers_rows_average_to_what_they_do_and_not_to_what_is_printed(row):
    others, printed = PUBLISHED[row]
    table = np.array([[0.0, *(-each for each in others)]])  # the predicted label stands first
    found = average_cross_entropy(table)[0]
    assert found == pytest.approx(REAL[row], abs=6e-5)
    assert (found == pytest.approx(printed, abs=6e-5)) == (row in "ac")


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(2, 7))
def test_each_is_minus_the_logarithm_and_the_predicted_label_has_none(seed, n, k):
    logs = answers(seed, n, k)
    found = cross_entropies(logs)
    for row, each in zip(logs, found, strict=True):
        predicted = max(range(k), key=lambda j: row[j])
        assert np.isnan(each[predicted])
        expected = [-row[j] for j in range(k) if j != predicted]
        assert [e for e in each if not np.isnan(e)] == pytest.approx(expected)
    means = [np.mean([e for e in each if not np.isnan(e)]) for each in found]
    assert average_cross_entropy(logs) == pytest.approx(means)


@pytest.mark.parametrize("k", [2, 3, 10])
def test_an_answer_that_knows_nothing_has_the_least_average(k):
    """ACE >= log k, by Jensen and because the others' mass is at most 1 - 1/k."""
    assert average_cross_entropy(np.full((1, k), -math.log(k))) == pytest.approx([math.log(k)])
    assert (average_cross_entropy(answers(3, 200, k)) >= math.log(k) - 1e-12).all()


def test_of_equal_labels_the_first_is_predicted():
    found = cross_entropies(np.log([[0.4, 0.4, 0.2]]))
    assert np.isnan(found[0]).tolist() == [True, False, False]


def test_a_probability_of_nothing_is_infinitely_far():
    with np.errstate(divide="ignore"):
        found = average_cross_entropy(np.log([[1.0, 0.0, 0.0], [0.5, 0.25, 0.25]]))
    assert found[0] == math.inf
    assert math.isfinite(found[1])


@pytest.mark.parametrize(
    "table", [[0.0, 1.0], [[0.0]], [[0.1, -1.0]], [[math.nan, 0.0]], np.zeros((2, 0))]
)
def test_what_are_no_answers_is_refused(table):
    with pytest.raises(BadInput):
        average_cross_entropy(table)


def layer(seed, n=40, d=3, k=4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(k, d)), rng.normal(size=k)


@given(st.integers(0, 500))
def test_within_the_distance_no_label_turns_and_just_beyond_one_does(seed):
    f, w, b = layer(seed)
    found = decision_distances(f, w, b)
    rng = np.random.default_rng(seed + 1)
    label = (f @ w.T + b).argmax(1)
    for _ in range(50):
        way = rng.normal(size=f.shape)
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        inside = f + (1 - 1e-9) * found[:, None] * way
        assert ((inside @ w.T + b).argmax(1) == label).all()
    beyond = np.zeros(len(f), dtype=bool)
    for j in range(len(w)):  # straight towards each other label
        way = w[j] - w[label]
        length = np.linalg.norm(way, axis=1, keepdims=True)
        point = f + (found[:, None] * (1 + 1e-9) + 1e-12) * way / np.where(length > 0, length, 1)
        beyond |= (point @ w.T + b).argmax(1) != label
    assert beyond.all()


def test_between_two_labels_it_is_the_distance_to_a_plane():
    found = decision_distances([[2.0, 5.0], [-1.0, 0.0]], [[3.0, 4.0], [0.0, 0.0]], [-1.0, 0.0])
    assert found == pytest.approx([(6 + 20 - 1) / 5, (3 + 1) / 5])


def test_where_no_features_have_another_label_it_is_infinite():
    assert decision_distances([[1.0]], [[1.0], [1.0]], [2.0, 1.0]).tolist() == [math.inf]


@pytest.mark.parametrize(
    ("features", "weight", "bias"),
    [
        ([[1.0, 2.0]], [[1.0], [2.0]], [0.0, 0.0]),
        ([[1.0]], [[1.0], [2.0]], [0.0]),
        ([[1.0]], [[1.0]], [0.0]),
        ([[math.inf]], [[1.0], [2.0]], [0.0, 0.0]),
    ],
)
def test_layers_that_do_not_fit_are_refused(features, weight, bias):
    with pytest.raises(BadInput, match="last layer"):
        decision_distances(features, weight, bias)


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=20),
    st.lists(st.integers(-3, 3), min_size=1, max_size=20),
    st.integers(0, 3),
)
def test_the_area_alone_is_that_of_all_metrics(members, nonmembers, seed):
    assert auc(members, nonmembers, seed=seed) == membership(members, nonmembers, seed=seed).auc
