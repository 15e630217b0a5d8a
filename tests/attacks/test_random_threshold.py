"""A threshold from random images: the queue by brute force, a square's diagonal in closed form."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from trilemma.attacks.evasion import HopSkipJump
from trilemma.attacks.membership import (
    BoundaryDistance,
    GaussianPixels,
    RandomThreshold,
    UniformPixels,
    random_perturbations,
    random_threshold,
    top_percentile,
)
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.oracles import Local, Metered, TopLabel

PLANE = torch.empty(0, 2, dtype=torch.float64)
QUEUE = st.lists(st.integers(0, 20), min_size=1, max_size=30)


def attack(max_queries=150):
    return BoundaryDistance(search=HopSkipJump(max_queries=max_queries))


def diagonal(limit=10**6):
    """Which of two features is larger."""
    return Metered(TopLabel(Local(nn.Identity(), classes=2)), limit=limit)


@given(queue=QUEUE, t=st.floats(0, 100))
def test_fewer_than_t_percent_are_larger_and_t_percent_are_not_smaller(queue, t):
    distances = torch.tensor(queue, dtype=torch.float64)
    tau, share = top_percentile(distances, t), t / 100 * len(queue) * (1 - 1e-12)
    assert tau in queue
    assert sum(each > tau for each in queue) < max(share, 1e-9) or (t == 0 and tau == max(queue))
    assert sum(each >= tau for each in queue) >= share


@given(queue=QUEUE, t=st.floats(0, 100), u=st.floats(0, 100))
def test_the_threshold_falls_as_t_rises_from_the_largest_to_the_smallest(queue, t, u):
    """The queue is in descending order: 0 is the largest distance, 100 the smallest."""
    distances = torch.tensor(queue, dtype=torch.float64)
    assert top_percentile(distances, min(t, u)) >= top_percentile(distances, max(t, u))
    assert top_percentile(distances, 0) == max(queue)
    assert top_percentile(distances, 100) == min(queue)


def test_what_could_not_be_turned_is_not_in_the_queue():
    distances = torch.tensor([1.0, math.inf, 3.0, math.inf])
    assert top_percentile(distances, 0) == 3
    assert top_percentile(distances, 51) == 1
    with pytest.raises(BadInput, match="none of 2"):
        top_percentile(distances[[1, 3]], 50)


def test_in_the_unit_square_the_threshold_is_known():
    """|x_1 - x_2| > a with probability (1 - a)^2, and the diagonal is that over root 2 away."""
    choice = RandomThreshold(samples=800)
    found = random_perturbations(diagonal(), PLANE, attack(40), choice, rng=seeded(0))
    for t in (0.2, 0.5, 0.8):
        a = math.sqrt(2) * top_percentile(found.scores, 100 * t)
        assert abs((1 - a) ** 2 - t) < 4 * math.sqrt(t * (1 - t) / 800) + 0.01


def test_one_query_for_the_label_and_then_the_search():
    oracle = diagonal()
    choice = RandomThreshold(samples=20)
    found = random_perturbations(oracle, PLANE, attack(), choice, rng=seeded(0))
    assert oracle.spent == 20 + found.boundary.queries.sum()
    assert (found.boundary.queries == 150).all()
    assert (found.scores > 0).all()  # their label is the one that the target gives
    again = random_threshold(diagonal(), PLANE, attack(), choice, rng=seeded(0))
    assert again == top_percentile(found.scores, 50)
    assert again != random_threshold(diagonal(), PLANE, attack(), choice, rng=seeded(1))


def test_values_and_number_of_the_rows_given_do_not_count():
    choice = RandomThreshold(samples=10)
    some = torch.rand(7, 2, generator=seeded(9), dtype=torch.float64)
    few, none = (
        random_threshold(diagonal(), like, attack(), choice, rng=seeded(0))
        for like in (some, PLANE)
    )
    assert few == none


def test_uniform_images_fill_the_box():
    box = Box(torch.tensor([-1.0, 2.0]), torch.tensor([1.0, 2.5]))
    x = UniformPixels().draw(torch.empty(4000, 2), box, seeded(0))
    share = (x - box.low) / (box.high - box.low)
    assert (share >= 0).all()
    assert (share <= 1).all()
    quantiles = share.sort(0).values - torch.linspace(0, 1, 4000).view(-1, 1)
    assert quantiles.abs().max() < 0.03  # Kolmogorov-Smirnov, far beyond chance


def test_gaussian_images_are_cut_to_the_box():
    x = GaussianPixels(mean=0.4, deviation=0.1).draw(torch.empty(4000, 3), UNIT, seeded(0))
    assert abs(x.mean() - 0.4) < 0.01
    assert abs(x.std() - 0.1) < 0.01
    x = GaussianPixels(deviation=9.0).draw(torch.empty(400, 3), UNIT, seeded(0))
    assert x.amin() == 0
    assert x.amax() == 1


def test_nothing_is_uniform_in_a_box_without_ends():
    box = Box(0.0, math.inf)
    with pytest.raises(BadInput, match="no end"):
        random_threshold(diagonal(0), PLANE, attack(), RandomThreshold(), box=box, rng=seeded(0))
    choice = RandomThreshold(samples=4, draw=GaussianPixels())
    assert random_threshold(diagonal(), PLANE, attack(), choice, box=box, rng=seeded(0)) > 0


def test_a_target_that_always_says_the_same_gives_no_threshold():
    oracle = Local(lambda z: z.new_zeros(len(z), 2), classes=2)
    with pytest.raises(BadInput, match="none of 3 could be turned"):
        random_threshold(oracle, PLANE, attack(), RandomThreshold(samples=3), rng=seeded(0))


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"percentile": 101}, {"percentile": -1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        RandomThreshold(**wrong)
