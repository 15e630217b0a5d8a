"""Square: feasible, never worse with more queries, and answers are all it asks for."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trilemma.attacks.evasion import Square, square
from trilemma.attacks.evasion.square import shares
from trilemma.attacks.evasion.windows import pyramids, sides
from trilemma.core.balls import L2, Linf
from trilemma.core.box import Box
from trilemma.core.generators import seeded

BALLS = [Linf(0.1), L2(0.5)]
SHAPES = [(3, 8, 8), (1, 6, 9), (7, 5), (11,), (2,), (1,), (2, 3, 2, 2)]
seeds = st.integers(0, 2**32 - 1)


def net(shape, k=3):
    d = torch.Size(shape).numel()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(d, 16), nn.ReLU(), nn.Linear(16, k)).double()


def lead(model, x, y):
    z = model(x)
    return z.gather(1, y[:, None])[:, 0] - z.scatter(1, y[:, None], -math.inf).amax(1)


def labelled(shape, n=12):
    model, x = net(shape), torch.rand(n, *shape, generator=seeded(1), dtype=torch.float64)
    return model, x, model(x).argmax(1)


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("shape", SHAPES)
def test_no_query_leaves_the_ball_or_the_box(ball, shape):
    """Not the result alone: all that the model is asked about."""
    model, x, y = labelled(shape, n=1)
    norm = math.inf if isinstance(ball, Linf) else 2
    asked = []

    def watched(z):
        asked.append(z.clone())
        return model(z)

    square(watched, x, y, Square(ball=ball, queries=60), rng=seeded(0))
    z = torch.cat(asked)
    assert z.shape[1:] == x.shape[1:]
    assert (z >= 0).all()
    assert (z <= 1).all()
    assert ((z - x).flatten(1).norm(p=norm, dim=1) <= ball.radius + 1e-12).all()


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("shape", SHAPES[:4])
def test_the_lead_never_rises_from_one_query_to_the_next(ball, shape):
    """Along the best point so far; a run asks about changes of that point alone."""
    model, x, y = labelled(shape, n=1)
    leads = []

    def watched(z):
        leads.append(lead(model, z, y).item())
        return model(z)

    adv = square(watched, x, y, Square(ball=ball, queries=80), rng=seeded(0))
    assert lead(model, adv, y).item() == pytest.approx(min(leads), abs=1e-12)
    assert len(leads) <= 80
    assert len(leads) == 80 or leads[-1] < 0


@pytest.mark.parametrize("ball", BALLS)
def test_more_restarts_never_lose(ball):
    model, x, y = labelled((3, 8, 8), n=30)
    once = square(model, x, y, Square(ball=ball, queries=20), rng=seeded(0))
    often = square(model, x, y, Square(ball=ball, queries=20, restarts=3), rng=seeded(0))
    a, b = lead(model, once, y), lead(model, often, y)
    assert (b <= a + 1e-12)[a >= 0].all()
    assert torch.equal(once[a < 0], often[a < 0])
    assert (b < a).any()


@pytest.mark.parametrize("ball", BALLS)
def test_it_comes_near_the_optimum_on_a_linear_model(ball):
    """Of the lead that the ball allows to take, random search finds most."""
    w = torch.randn(64, generator=seeded(0), dtype=torch.float64)

    def model(z):
        s = z.flatten(1) @ w
        return torch.stack([s, -s], dim=1) + torch.tensor([1e3, 0.0], dtype=torch.float64)

    x, y = torch.full((2, 1, 8, 8), 0.5, dtype=torch.float64), torch.zeros(2, dtype=torch.long)
    adv = square(model, x, y, Square(ball=ball, queries=3000), rng=seeded(0))
    lost = lead(model, x, y) - lead(model, adv, y)
    optimum = 2 * ball.radius * w.norm(p=1 if isinstance(ball, Linf) else 2)
    assert (lost <= optimum + 1e-9).all()
    # for L2 no window is smaller than 3 x 3, which such a rough w would need
    assert (lost >= (0.9 if isinstance(ball, Linf) else 0.7) * optimum).all()


@pytest.mark.parametrize("ball", BALLS)
def test_models_without_gradient_are_attacked(ball):
    model, x, y = labelled((3, 8, 8))

    def quantised(z):
        assert not torch.is_grad_enabled()
        return (100 * model(z)).round()

    adv = square(quantised, x, y, Square(ball=ball, queries=200), rng=seeded(0))
    assert (lead(model, adv, y) - lead(model, x, y)).mean() < -0.02


@given(low=st.floats(0, 0.4), width=st.floats(0.1, 0.5))
@settings(max_examples=10)
@pytest.mark.parametrize("ball", BALLS)
def test_a_box_may_differ_from_feature_to_feature(ball, low, width):
    model = net((3, 8, 8))
    lows = torch.full((3, 1, 1), low, dtype=torch.float64)
    lows[1] /= 2
    box = Box(lows, 0.4 + width)
    x = box.clip(torch.rand(4, 3, 8, 8, generator=seeded(1), dtype=torch.float64))
    y = model(x).argmax(1)
    adv = square(model, x, y, Square(ball=ball, queries=60), box=box, rng=seeded(0))
    assert (adv >= lows).all()
    assert (adv <= 0.4 + width).all()
    assert lead(model, adv, y).mean() < lead(model, x, y).mean()


def test_windows_shrink_as_in_the_paper():
    """p is halved after 10, 50, 200, 500, 1000, ... of 10,000 queries."""
    p = list(shares(Square(ball=Linf(0.1), queries=10_000)))
    assert [p[t] for t in (0, 10, 11, 51, 201, 501, 1001, 8001)] == [
        0.8 / 2**i for i in (0, 0, 1, 2, 3, 4, 5, 9)
    ]
    half = list(shares(Square(ball=Linf(0.1), queries=5000)))
    assert half == p[::2]


@given(p=st.floats(1e-4, 1), h=st.integers(1, 40), w=st.integers(1, 40))
def test_windows_fit_the_image(p, h, w):
    a, b = sides(p, h, w)
    assert 1 <= a <= h
    assert 1 <= b <= w


@given(a=st.integers(1, 12), b=st.integers(1, 12), turned=st.booleans())
def test_pyramids_have_norm_1_and_two_signs(a, b, turned):
    eta = pyramids(a, b, turned=turned)
    assert eta.shape == (a, b)
    assert eta.norm().item() == pytest.approx(1)
    assert (eta > 0).any()
    assert a * b == 1 or (eta < 0).any()


def test_the_top_of_a_pyramid():
    """5 x 5: 1 + 1/4 + 1/9 in the middle, then 1/4 + 1/9, then 1/9."""
    eta = pyramids(10, 5, turned=False)[:5]
    ratio = (eta / eta[0, 0]).tolist()
    assert ratio[2][2] == pytest.approx(9 * (1 + 1 / 4 + 1 / 9))
    assert ratio[1][2] == pytest.approx(9 * (1 / 4 + 1 / 9))


def test_rows_without_a_finite_answer_come_back_as_nan():
    def model(z):
        s = z[:, 0].sqrt()
        return torch.stack([1 + s, -s], dim=1)

    x = torch.tensor([[-0.5, 0.5], [0.5, 0.5]], dtype=torch.float64)
    y, box = torch.zeros(2, dtype=torch.long), Box(-1.0, 1.0)
    adv = square(model, x, y, Square(ball=Linf(0.1), queries=9), box=box, rng=seeded(0))
    assert adv[0].isnan().all()
    assert adv[1].isfinite().all()
