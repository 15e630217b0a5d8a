"""Certificates of a noisy network: never beyond the exact radius, and as far as the condition."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from torch import nn

from trilemma.core.errors import BadInput
from trilemma.core.generators import global_from, seeded
from trilemma.models import (
    Certified,
    NoisyNetwork,
    PixelDP,
    certified,
    expectation_bounds,
    mlp,
    robust_radius,
)
from trilemma.models.certified import DELTAS

CONFIG = PixelDP(budget=0.3)
W = torch.tensor([3.0, -4.0, 1.0], dtype=torch.float64)


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def step():
    """One of two labels, by the sign of w x; under noise the first has score Phi(w x / s |w|)."""
    last = nn.Linear(3, 2, bias=False).double()
    with torch.no_grad():
        last.weight.copy_(1e9 * torch.stack([W, -W]))
    return NoisyNetwork(nn.Identity(), last, CONFIG)


def spread(n, seed=0):
    return torch.randn(n, 3, generator=seeded(seed), dtype=torch.float64)


# The condition


@given(own=st.floats(0, 1), share=st.floats(0, 1), sigma=st.floats(0.1, 3))
@settings(deadline=None, max_examples=50)
def test_the_radius_is_the_largest_at_which_the_condition_holds(own, share, sigma):
    rival = share * (1 - own)
    delta, found = DELTAS.numpy(), robust_radius(numbers(own), numbers(rival), sigma).item()

    def holds(radius):
        eps = np.sqrt(2 * np.log(1.25 / delta)) * radius / sigma
        right = np.exp(2 * eps) * rival + (1 + np.exp(eps)) * delta
        return ((own > right) & (eps <= 1)).any()

    if found > 0:
        assert holds(found * (1 - 1e-6))
    assert not holds(found * (1 + 1e-6) + 1e-9)


def test_all_the_score_is_certified_to_the_end_of_the_equation():
    """At eps = 1 the largest delta with (1 + e) delta < 1."""
    limit = 1 / math.sqrt(2 * math.log(1.25 * (1 + math.e)))
    found = robust_radius(numbers(1.0), numbers(0.0), 1.0).item()
    assert 0.99 * limit < found <= limit


@given(own=st.floats(0, 1), rival=st.floats(0, 1))
def test_nothing_is_certified_without_a_lead(own, rival):
    own, rival = min(own, rival), max(own, rival)
    assert robust_radius(numbers(own), numbers(rival), 1.0).item() == 0


@given(delta=st.sampled_from(DELTAS.tolist()), eps=st.floats(1e-3, 1))
def test_the_noise_of_the_equation_is_private_enough(delta, eps):
    """By the Gaussian mechanism's exact delta (Balle & Wang 2018, theorem 5)."""
    assert exact_delta(math.sqrt(2 * math.log(1.25 / delta)) / eps, eps) <= delta


@pytest.mark.xfail(raises=AssertionError, strict=True)
def test_negative_control_half_the_noise_is_not():
    assert exact_delta(math.sqrt(2 * math.log(1.25 / 0.05)) / 2, 1.0) <= 0.05


def exact_delta(sigma, eps):
    a, b = 1 / (2 * sigma), eps * sigma
    phi = torch.special.ndtr(numbers(a - b, -a - b))
    return (phi[0] - math.exp(eps) * phi[1]).item()


# Soundness where the expectation is known


@given(margin=st.floats(0, 10), sigma=st.floats(0.1, 3))
def test_a_step_is_never_certified_beyond_its_boundary(margin, sigma):
    """w x = margin, |w| = 1: the expected score falls to 1/2 at that distance."""
    score = torch.special.ndtr(numbers(margin / sigma))
    assert robust_radius(score, 1 - score, sigma).item() <= margin


def test_a_certificate_is_worth_something():
    score = torch.special.ndtr(numbers(1.5, 2.0, 3.0))
    found = robust_radius(score, 1 - score, 1.0)
    assert (found > numbers(0.15, 0.25, 0.4)).all()


@given(seed=st.integers(0, 2**32), place=st.floats(-2, 2))
@settings(deadline=None, max_examples=50)
def test_the_label_of_the_expected_scores_stays_within_the_radius(seed, place):
    """Networks of one input, whose expectations are integrals."""
    with global_from(seeded(seed)):
        network = mlp((1,), 3, hidden=(8,)).double()
        with torch.no_grad():
            network[-1].weight.mul_(20)
            network[-1].bias.uniform_(-3, 3)
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    nodes, weights = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())

    def expected(x):
        scores = network((x.view(-1, 1) + CONFIG.sigma * nodes).view(-1, 1)).softmax(1)
        return (scores.view(len(x), -1, 3) * weights.view(-1, 1)).sum(1)

    with torch.no_grad():
        own, rival = expected(numbers(place)).topk(2).values[0]
        radius = robust_radius(own.view(1), rival.view(1), CONFIG.sigma)
        around = place + 0.999 * radius * torch.linspace(-1, 1, 41)
        assert len(expected(around).argmax(1).unique()) == 1


# Bounds of the expectations


@given(draws=st.integers(1, 50), p=st.floats(1e-3, 1 - 1e-3), tail=st.floats(1e-3, 0.2))
@settings(deadline=None, max_examples=50)
def test_each_end_holds_but_for_its_tail(draws, p, tail):
    """Of coins, the widest distribution there is: summed over all outcomes."""
    hits = np.arange(draws + 1)
    lower, upper = expectation_bounds(numbers(*(hits / draws)).view(1, -1), draws, tail)
    likely = torch.from_numpy(binom.pmf(hits, draws, p))
    assert likely[lower[0] > p].sum() <= tail + 1e-9
    assert likely[upper[0] < p].sum() <= tail + 1e-9


@given(draws=st.integers(1, 1000), mean=st.floats(0, 1), tail=st.floats(1e-4, 0.2))
def test_the_ends_solve_the_equation(draws, mean, tail):
    lower, upper = (
        each.item() for each in expectation_bounds(numbers(mean).view(1, 1), draws, tail)
    )
    assert 0 <= lower <= mean <= upper <= 1
    for end in (lower, upper):
        if 1e-9 < end < 1 - 1e-9 and abs(end - mean) > 1e-6:
            parts = [(mean, end), (1 - mean, 1 - end)]
            divergence = sum(m * math.log(m / p) for m, p in parts if m > 0)
            assert divergence == pytest.approx(-math.log(tail) / draws, rel=1e-4)


def test_a_mean_of_1_has_the_end_of_clopper_and_pearson():
    lower, upper = expectation_bounds(numbers(1.0, 0.0).view(1, 2), 300, 0.01)
    assert lower[0, 0].item() == pytest.approx(0.01 ** (1 / 300))
    assert upper[0, 1].item() == pytest.approx(1 - 0.01 ** (1 / 300))
    assert (upper[0, 0].item(), lower[0, 1].item()) == (1, 0)


# The whole


def test_no_row_of_a_step_is_certified_beyond_its_boundary():
    x = spread(200)
    found = certified(step(), x, Certified(draws=200, level=0.999), rng=seeded(1))
    exact = (x @ W).abs() / W.norm()
    assert (found.radius <= exact).all()
    sure = found.radius > 0
    assert (found.label[sure] == (x[sure] @ W < 0)).all()
    assert sure[exact > 3 * CONFIG.sigma].all()
    assert not sure[exact < 0.05 * CONFIG.sigma].any()


def test_more_draws_certify_more():
    x = spread(100)
    few, many = (
        certified(step(), x, Certified(draws=draws), rng=seeded(0)).radius.mean()
        for draws in (20, 400)
    )
    assert 0 < few < many


@given(rows=st.permutations(range(5)), many=st.integers(1, 5), batch=st.integers(1, 5))
@settings(deadline=None, max_examples=20)
def test_a_rows_certificate_does_not_depend_on_its_neighbours(rows, many, batch):
    x, config = spread(5), Certified(draws=30)
    with global_from(seeded(0)):
        model = NoisyNetwork(nn.Identity(), mlp((3,), 4, hidden=(6,)).double(), CONFIG)
    whole = certified(model, x, config, rng=seeded(2))
    part = certified(model, x[rows[:many]], config, rng=seeded(2), batch=batch)
    torch.testing.assert_close(part.radius, whole.radius[rows[:many]])
    assert torch.equal(part.label, whole.label[rows[:many]])


def test_the_draws_come_from_the_generator_and_the_model_is_handed_back():
    model, x, state = step().train(), spread(50), torch.get_rng_state()
    first, again, other = (
        certified(model, x, Certified(draws=30), rng=seeded(seed)).radius for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    model.seed.add_(1)  # the bank of answers has no part in it
    assert torch.equal(certified(model, x, Certified(draws=30), rng=seeded(0)).radius, first)


def test_a_network_without_noise_is_refused():
    with pytest.raises(BadInput, match=r"is a Linear.*PixelDP"):
        certified(nn.Linear(3, 2), spread(1), Certified(), rng=seeded(0))
