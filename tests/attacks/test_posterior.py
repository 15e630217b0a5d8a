"""Inference from labelled neighbours, against loops as algorithm 2 prints them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trilemma.attacks.extraction import infer, posterior_interval, posterior_intervals
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded

deviations = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def looped(xi, labels, k_max, eta, union):
    low, high = 0.0, 1.0
    for k in range(1, min(k_max, len(xi)) + 1):
        mean = sum(labels[:k]) / k
        events = k_max if union == "K" else k
        reach = sum(xi[:k]) / k + math.sqrt(math.log(2 * events / (1 - eta)) / (2 * k))
        low, high = max(low, mean - reach), min(high, mean + reach)
    return low, high


@pytest.mark.parametrize("union", ["K", "k"])
@given(xi=deviations, data=st.data(), k_max=st.integers(1, 15), eta=st.floats(0, 0.999))
def test_it_is_what_the_loop_of_the_algorithm_finds(xi, data, k_max, eta, union):
    labels = data.draw(st.lists(st.integers(0, 1), min_size=len(xi), max_size=len(xi)))
    given_ = torch.tensor(xi, dtype=torch.float64), torch.tensor(labels)
    found = posterior_interval(*given_, k_max, eta, union)
    assert found == pytest.approx(looped(xi, labels, k_max, eta, union), abs=1e-12)


def test_a_worked_example():
    """Three neighbours at deviations 0.1, 0.1 and 0.4, labels 1, 1 and 0; K = 3, eta = 0.4."""
    xi, labels = torch.tensor([0.1, 0.1, 0.4], dtype=torch.float64), torch.tensor([1, 1, 0])
    # ln(2 * 3 / 0.6) = ln 10: sqrt(ln 10 / 2) = 1.0730, sqrt(ln 10 / 4) = 0.7587, 0.6195 for k = 3;
    # 1 - 0.1 - 0.7587 = 0.1413 from k = 2; 2/3 + 0.2 + 0.6195 is above 1
    low, high = posterior_interval(xi, labels, 3, 0.4, "K")
    assert (low, high) == (pytest.approx(0.1412864, abs=1e-7), 1.0)
    # ln(2 * 2 / 0.6) = 1.8971: 1 - 0.1 - sqrt(1.8971 / 4) = 0.2113 from k = 2
    low, _ = posterior_interval(xi, labels, 3, 0.4, "k")
    assert low == pytest.approx(0.2113201, abs=1e-7)


def test_more_neighbours_than_k_max_do_not_count():
    xi, labels = torch.zeros(20, dtype=torch.float64), torch.ones(20, dtype=torch.int64)
    assert posterior_interval(xi, labels, 8) == posterior_interval(xi[:8], labels[:8], 8)
    assert posterior_interval(xi, labels, 20) != posterior_interval(xi[:8], labels[:8], 20)


def test_a_point_is_not_moved_by_others():
    rng = seeded(0)
    xi = torch.rand(20, 30, generator=rng, dtype=torch.float64) / 4
    labels = torch.randint(0, 2, (20, 30), generator=rng)
    low, high = posterior_intervals(xi, labels, 25)
    for place in (0, 7, 19):
        alone = posterior_interval(xi[place], labels[place], 25)
        assert (low[place].item(), high[place].item()) == alone


def test_it_holds_as_often_as_it_says():
    """Labels drawn by a posterior that moves by at most xi: the true value is inside."""
    rng, points, eta = seeded(1), 4000, 0.5
    truth = torch.rand(points, 1, generator=rng, dtype=torch.float64)
    move = 0.2 * torch.rand(points, 40, generator=rng, dtype=torch.float64)
    sign = torch.rand(points, 40, generator=rng, dtype=torch.float64).sub(0.5).sign()
    nearby = (truth + sign * move).clamp(0, 1)
    labels = (torch.rand(points, 40, generator=rng, dtype=torch.float64) < nearby).long()
    low, high = posterior_intervals((nearby - truth).abs(), labels, 40, eta)
    inside = ((low <= truth[:, 0]) & (truth[:, 0] <= high)).double().mean().item()
    assert inside >= eta
    # and it is the deviation that makes it so: without it they leave more often
    low, high = posterior_intervals(torch.zeros_like(move), labels, 40, eta)
    bare = ((low <= truth[:, 0]) & (truth[:, 0] <= high)).double().mean().item()
    assert bare < inside


def test_the_printed_logarithm_is_never_wider():
    xi, labels = torch.zeros(1, 30, dtype=torch.float64), torch.tensor([[1, 0] * 15])
    (low, high), (narrow, short) = (
        posterior_intervals(xi, labels, 30, 0.9, union) for union in ("K", "k")
    )
    assert (narrow >= low).all()
    assert (short <= high).all()


@pytest.mark.parametrize(
    ("interval", "max_length", "label"),
    [
        ((0.5, 0.9), 1.0, 1),
        ((0.1, 0.5), 1.0, 0),
        ((0.2, 0.6), 1.0, 0),  # the middle is the marginal: not above it
        ((0.6, 0.6), 1.0, None),
        ((0.7, 0.6), 1.0, None),
        ((0.0, 0.95), 1.0, 1),
        ((0.0, 0.95), 0.9, None),
    ],
)
def test_a_label_is_inferred_where_the_interval_says_enough(interval, max_length, label):
    assert infer(*interval, 0.4, max_length) == label
    assert infer(*map(torch.tensor, interval), 0.4, max_length) == label


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"k_max": 0}, "k_max: is 0"),
        ({"eta": 1.0}, "eta: is 1.0"),
        ({"xi": torch.zeros(0)}, "neighbours: have shapes"),
        ({"labels": torch.tensor([0, 2])}, "labels: are not all 0 or 1"),
        ({"xi": torch.tensor([0.1, -0.1])}, "xi: has a deviation below 0"),
        ({"xi": torch.tensor([0.1, math.nan])}, "xi: has a deviation below 0 or NaN"),
    ],
)
def test_what_makes_no_sense_is_refused(change, said):
    asked = {"xi": torch.tensor([0.1, 0.2]), "labels": torch.tensor([0, 1]), **change}
    if len(asked["xi"]) == 0:
        asked["labels"] = asked["labels"][:0]
    with pytest.raises(BadInput, match=said):
        posterior_interval(**asked)
