"""The Lagrangian attack: its proximal steps by their definition, its end by the first-order law."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trilemma.attacks.evasion import Distributional, L2Penalty, LinfPenalty, distributional
from trilemma.core.box import Box
from trilemma.core.generators import seeded

ANYWHERE = Box(-math.inf, math.inf)
PENALTIES = [LinfPenalty(squared=s) for s in (True, False)] + [
    L2Penalty(squared=s) for s in (True, False)
]
seeds = st.integers(0, 2**32 - 1)
penalties = st.sampled_from(PENALTIES)


def cost(penalty, delta):
    norm = delta.norm(p=math.inf if isinstance(penalty, LinfPenalty) else 2, dim=1)
    return norm.square() if penalty.squared else norm


def linear(seed, d=5):
    """Logits of two classes, -s and s; with label 1 the loss is log(1 + exp(-2 s))."""
    w = torch.randn(d, generator=seeded(seed), dtype=torch.float64)
    return w, lambda z: torch.stack([-(z @ w), z @ w], dim=1)


def loss(w, z):
    return torch.nn.functional.softplus(-2 * (z @ w))


@given(seed=seeds, penalty=penalties, price=st.floats(0.0, 5.0), size=st.floats(0.01, 3.0))
def test_the_proximal_step_is_the_least_of_its_definition(seed, penalty, price, size):
    """What is minimised is strictly convex: no way from its least point leads down."""
    g = seeded(seed)
    v = torch.randn(1, 6, generator=g, dtype=torch.float64)

    def total(u):
        return (u - v).square().sum(1) / 2 + price * cost(penalty, u)

    least = penalty.proximal(v, price)
    ways = torch.randn(200, 6, generator=g, dtype=torch.float64)
    others = [least + size * ways, least + 1e-3 * ways, 0.9 * least, 1.1 * least, v, 0 * v]
    assert (total(torch.cat(others)) >= total(least) - 1e-12).all()


@given(seed=seeds, penalty=penalties)
def test_no_price_no_pull_and_a_high_price_all_the_way(seed, penalty):
    v = torch.randn(3, 6, generator=seeded(seed), dtype=torch.float64)
    torch.testing.assert_close(penalty.proximal(v, 0.0), v)
    assert penalty.proximal(v, 1e6).abs().max() < 1e-5


@given(seed=seeds, gamma=st.floats(4.0, 20.0), linf=st.booleans())
@settings(max_examples=8)
def test_at_the_end_the_loss_rises_as_fast_as_the_price(seed, gamma, linf):
    """Where the price outweighs the loss's curvature (2 gamma > 5 = d |w|^2): gradient = 2 gamma
    delta, or for L_inf its L_1 norm = 2 gamma |delta|, with the gradient's signs."""
    w, _ = linear(seed)
    w = w.sign() * (0.5 + w.abs().clamp(max=1))  # along a flat feature the way is long
    w = w / w.norm()
    x = torch.randn(4, 5, generator=seeded(seed + 1), dtype=torch.float64)
    penalty = LinfPenalty() if linf else L2Penalty()

    def model(z):
        return torch.stack([-(z @ w), z @ w], dim=1)

    config = Distributional(gamma=gamma, steps=100, penalty=penalty)
    found = distributional(
        model, x, torch.ones(4, dtype=torch.long), config, box=ANYWHERE, rng=seeded(0)
    )
    delta = found - x
    gradient = -2 * torch.sigmoid(-2 * (found @ w))[:, None] * w
    if linf:
        expected = gradient.abs().sum(1, keepdim=True) / (2 * gamma) * gradient.sign()
    else:
        expected = gradient / (2 * gamma)
    torch.testing.assert_close(delta, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("penalty", [LinfPenalty(squared=False), L2Penalty(squared=False)])
@pytest.mark.parametrize(("factor", "moves"), [(1.01, False), (0.9, True)])
def test_a_plain_norm_holds_a_row_whose_gradient_is_less_than_the_price(penalty, factor, moves):
    """In the dual norm, and at x: as printed, eq. 10 leaves such a row alone."""
    w, model = linear(0)
    x = torch.zeros(1, 5, dtype=torch.float64)
    slope = w.norm(p=1 if isinstance(penalty, LinfPenalty) else 2).item()  # sigmoid(0) is 1/2
    config = Distributional(gamma=factor * slope, penalty=penalty, step_size=0.1)
    y = torch.ones(1, dtype=torch.long)
    found = distributional(model, x, y, config, box=ANYWHERE, rng=seeded(0))
    assert torch.equal(found, x) != moves


@pytest.mark.parametrize("penalty", PENALTIES)
def test_what_is_maximised_never_ends_below_its_start(penalty):
    w, model = linear(3)
    x = 0.3 + 0.4 * torch.rand(50, 5, generator=seeded(0), dtype=torch.float64)
    config = Distributional(gamma=4.0, penalty=penalty, step_size=0.05, steps=40)
    found = distributional(model, x, torch.ones(50, dtype=torch.long), config, rng=seeded(0))
    value = loss(w, found) - 4.0 * cost(penalty, found - x)
    assert (value >= loss(w, x) - 1e-12).all()
    assert (value > loss(w, x) + 1e-3).any() == penalty.squared


@pytest.mark.parametrize("penalty", [LinfPenalty(), L2Penalty()])
def test_the_dearer_the_nearer(penalty):
    _, model = linear(1)
    x = torch.rand(20, 5, generator=seeded(0), dtype=torch.float64)
    y = torch.ones(20, dtype=torch.long)
    distances = [
        cost(penalty, distributional(model, x, y, config, box=ANYWHERE, rng=seeded(0)) - x)
        for config in (Distributional(gamma=g, penalty=penalty, steps=60) for g in (3, 6, 50))
    ]
    assert (distances[0] > distances[1]).all()
    assert (distances[1] > distances[2]).all()


def test_the_first_step_is_up_the_gradient_and_back_by_the_proximal_map():
    w, model = linear(2)
    x = torch.rand(3, 5, generator=seeded(0), dtype=torch.float64)
    config = Distributional(gamma=0.7, steps=1, step_size=0.2, penalty=L2Penalty())
    y = torch.ones(3, dtype=torch.long)
    found = distributional(model, x, y, config, box=ANYWHERE, rng=seeded(0))
    gradient = -2 * torch.sigmoid(-2 * (x @ w))[:, None] * w
    torch.testing.assert_close(found, x + 0.2 * gradient / (1 + 2 * 0.2 * 0.7))


def test_rows_without_a_finite_gradient_come_back_as_nan():
    def model(z):
        s = z[:, 0].sqrt()
        return torch.stack([-s, s], dim=1)

    x, y = torch.tensor([[0.0], [0.5]], dtype=torch.float64), torch.ones(2, dtype=torch.long)
    found = distributional(model, x, y, Distributional(gamma=1.0), rng=seeded(0))
    assert found[0].isnan().all()
    assert found[1].isfinite().all()


@pytest.mark.parametrize("wrong", [{"gamma": 0.0}, {"gamma": math.inf}, {"steps": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Distributional(**{"gamma": 1.0, **wrong})
