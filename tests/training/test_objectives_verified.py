"""Verified objectives: closed forms of linear models, soundness, schedules, what is shared."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from trilemma.attacks.evasion import PGD, pgd
from trilemma.bounds import BOUNDS, Dual, Interval, margins
from trilemma.core.balls import L2, Linf
from trilemma.core.box import UNIT, Box
from trilemma.core.generators import seeded
from trilemma.training import (
    AbstractInterpretation,
    Batch,
    IntervalBoundPropagation,
    Natural,
    Verified,
)
from trilemma.training.objectives import batch as batches

ANYWHERE = Box(-math.inf, math.inf)
BALL, INTERVAL = Linf(0.1), Interval()
DOMAINS = pytest.mark.parametrize(
    "domain", [kind() for kind in BOUNDS], ids=lambda d: type(d).__name__
)


def linear(k=4, d=3, seed=0):
    model, g = nn.Linear(d, k).double(), seeded(seed)
    model.weight.data.normal_(generator=g)
    model.bias.data.normal_(generator=g)
    return model


def net(seed=0):
    return nn.Sequential(linear(8, 3, seed), nn.ReLU(), linear(4, 8, seed + 1))


def batch(strength=1.0, n=10, k=4, box=UNIT):
    g = seeded(1)
    x = torch.rand(n, 3, generator=g, dtype=torch.float64)
    y = torch.randint(0, k, (n,), generator=g)
    return Batch(x, y, seeded(2), strength=strength, box=box)


def worst_margins(model, b, ball, dual):
    """Of a linear model: m_j = <w_y - w_j, x> + b_y - b_j - strength radius |w_y - w_j|_dual."""
    w = model.weight[b.y].unsqueeze(1) - model.weight
    shift = model.bias[b.y].unsqueeze(1) - model.bias
    least = (w @ b.x.unsqueeze(2)).squeeze(2) + shift
    return least - b.strength * ball.radius * w.norm(p=dual, dim=2)


BALLS = pytest.mark.parametrize(("ball", "dual"), [(Linf, 1), (L2, 2)])


@BALLS
@DOMAINS
@given(strength=st.floats(0, 1), radius=st.floats(0, 1), seed=st.integers(0, 5))
@settings(max_examples=8)
def test_verified_is_the_worst_case_of_a_linear_model(ball, dual, domain, strength, radius, seed):
    model, b = linear(seed=seed), batch(strength, box=ANYWHERE)
    m = worst_margins(model, b, ball(radius), dual)
    expected = F.cross_entropy(-m, b.y)
    found = Verified(ball=ball(radius), domain=domain)(model, b)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@BALLS
@given(strength=st.floats(0, 1), radius=st.floats(0, 1))
@settings(max_examples=15)
def test_abstract_interpretation_is_the_softplus_of_the_worst_lead(ball, dual, strength, radius):
    model, b = linear(), batch(strength, box=ANYWHERE)
    m = worst_margins(model, b, ball(radius), dual)
    lead = (-m).scatter(1, b.y[:, None], -math.inf).amax(1)
    found = AbstractInterpretation(ball=ball(radius), domain=INTERVAL)(model, b)
    torch.testing.assert_close(found, (1 + lead.exp()).log().mean(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_between_two_classes_softplus_and_cross_entropy_are_one(strength):
    model = nn.Sequential(linear(8), nn.ReLU(), linear(2, 8))
    found = [
        kind(ball=BALL, domain=INTERVAL)(model, batch(strength, k=2))
        for kind in (Verified, AbstractInterpretation)
    ]
    torch.testing.assert_close(*found)


def test_of_more_classes_softplus_is_the_smaller():
    """It counts the worst rival alone."""
    model = net()
    found = [
        kind(ball=BALL, domain=INTERVAL)(model, batch())
        for kind in (AbstractInterpretation, Verified)
    ]
    assert found[0] < found[1]


@DOMAINS
@given(seed=st.integers(0, 100), radius=st.floats(0.01, 0.3))
@settings(max_examples=8)
def test_no_input_of_the_ball_does_worse(domain, seed, radius):
    model, b = net(seed), batch()
    bound = Verified(ball=Linf(radius), domain=domain)(model, b)
    found = pgd(model, b.x, b.y, PGD(ball=Linf(radius), steps=10), rng=seeded(seed))
    assert F.cross_entropy(model(found), b.y) <= bound + 1e-9


def test_the_valid_inputs_bound_the_ball():
    model = net()
    objective = Verified(ball=Linf(0.5), domain=INTERVAL)
    assert objective(model, batch()) < objective(model, batch(box=ANYWHERE))


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.2)])
@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_interval_bound_propagation_mixes_by_kappa_and_grows_by_strength(ball, strength):
    model, b = net(), batch(strength)
    scaled = type(ball)(strength * ball.radius)
    worst = F.cross_entropy(-margins(model, b.x, b.y, scaled, INTERVAL, UNIT), b.y)
    kappa = 1 - strength * 0.8
    expected = kappa * F.cross_entropy(model(b.x), b.y) + (1 - kappa) * worst
    found = IntervalBoundPropagation(ball=ball, kappa=0.2)(model, b)
    torch.testing.assert_close(found, expected)


def test_the_ends_of_kappa():
    model, b = net(), batch()
    worst = Verified(ball=BALL, domain=INTERVAL)(model, b)
    assert IntervalBoundPropagation(ball=BALL, kappa=0.0)(model, b) == worst
    assert IntervalBoundPropagation(ball=BALL, kappa=1.0)(model, b) == Natural()(model, b)


class Unreadable(nn.Module):
    """A layer that no bounds are known for."""

    def forward(self, x):
        return x.tanh()


@pytest.mark.parametrize(
    "objective",
    [
        Verified(ball=BALL, domain=INTERVAL),
        IntervalBoundPropagation(ball=BALL),
        IntervalBoundPropagation(ball=BALL, kappa=0.0),
    ],
)
def test_at_strength_0_it_is_the_natural_loss_and_no_bounds_are_computed(objective):
    model = nn.Sequential(linear(4), Unreadable())
    assert objective(model, batch(0.0)) == Natural()(model, batch())
    with pytest.raises(ValueError, match="no bounds are known"):
        objective(model, batch(0.1))


def test_terms_share_bounds_and_other_balls_do_not(monkeypatch):
    asked = []

    def counted(*args, **kwargs):
        asked.append(args[3])
        return margins(*args, **kwargs)

    monkeypatch.setattr(batches, "margins", counted)
    here = {"ball": BALL, "domain": INTERVAL}
    objective = Verified(**here) + 0.5 * AbstractInterpretation(**here) + Natural()
    (objective + IntervalBoundPropagation(ball=BALL))(net(), batch(0.5))
    assert asked == [Linf(0.05)]
    (objective + Verified(ball=L2(0.1), domain=INTERVAL))(net(), batch())
    assert asked[1:] == [BALL, L2(0.1)]


def test_the_gradient_is_that_of_the_closed_form():
    model, b = linear(), batch(box=ANYWHERE)
    loss = F.cross_entropy(-worst_margins(model, b, BALL, 1), b.y)
    expected = torch.autograd.grad(loss, model.weight)[0]
    found = torch.autograd.grad(Verified(ball=BALL, domain=INTERVAL)(model, b), model.weight)[0]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_random_projections_are_drawn_anew_at_each_step_from_its_generator(monkeypatch):
    asked = []

    def watched(*args, domain, **kwargs):
        asked.append(domain)
        return margins(*args, domain=domain, **kwargs)

    monkeypatch.setattr(batches, "margins", watched)
    objective = Verified(ball=BALL, domain=Dual(projections=2, seed=7))
    b, rng = batch(), seeded(5)
    for again in (rng, rng, seeded(5)):
        (objective + 0.5 * objective)(net(), Batch(b.x, b.y, again))
    assert [each.projections for each in asked] == [2, 2, 2]
    assert asked[0] == asked[2]
    assert len({7, *(each.seed for each in asked)}) == 3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Verified(ball=BALL), "domain"),
        (lambda: Verified(ball=0.1, domain=INTERVAL), "ball"),
        (lambda: AbstractInterpretation(domain=INTERVAL), "ball"),
        (lambda: IntervalBoundPropagation(ball=BALL, kappa=1.5), "kappa"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, said):
    with pytest.raises(ValidationError, match=said):
        make()
