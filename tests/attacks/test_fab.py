"""FAB against closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trilemma.attacks.evasion import FABT, fabt
from trilemma.attacks.evasion.fab import to_hyperplane
from trilemma.core.balls import L2, Linf
from trilemma.core.box import UNIT, Box
from trilemma.core.generators import seeded

ANYWHERE = Box(-math.inf, math.inf)
NORMS = [(Linf, math.inf, 1), (L2, 2, 2)]
seeds = st.integers(0, 2**32 - 1)


def linear(k, d, seed):
    g = seeded(seed)
    w = torch.randn(k, d, generator=g, dtype=torch.float64)
    b = torch.randn(k, generator=g, dtype=torch.float64)
    return w, lambda z: z @ w.T + b


def nearest_boundary(model, w, x, y, dual):
    """min_j (z_y - z_j) / ||w_y - w_j||_dual."""
    z = model(x)
    gap = z.gather(1, y[:, None]) - z
    lengths = (w[y][:, None] - w[None]).norm(p=dual, dim=2)
    own = nn.functional.one_hot(y, len(w)).bool()
    return (gap / lengths).masked_fill(own, math.inf).amin(1)


@pytest.mark.parametrize(("ball", "norm", "dual"), NORMS)
@given(seed=seeds, k=st.integers(2, 6), d=st.integers(1, 9))
@settings(max_examples=15)
def test_the_distance_on_a_linear_model_is_that_of_the_boundary(ball, norm, dual, seed, k, d):
    w, model = linear(k, d, seed)
    x = torch.randn(5, d, generator=seeded(seed + 1), dtype=torch.float64)
    y = model(x).argmax(1)
    adv = fabt(model, x, y, FABT(ball=ball(1e9), steps=10), box=ANYWHERE, rng=seeded(0))
    found = (adv - x).norm(p=norm, dim=1)
    expected = nearest_boundary(model, w, x, y, dual)
    there = expected < 1e6  # in one dimension a class may win nowhere
    assert (model(adv).argmax(1) != y)[there].all()
    assert (found >= expected - 1e-9)[there].all()
    assert (found <= 1.01 * expected + 1e-9)[there].all()


@pytest.mark.parametrize(("ball", "norm", "dual"), NORMS)
def test_what_lies_beyond_the_ball_does_not_count(ball, norm, dual):
    w, model = linear(4, 6, 0)
    x = torch.randn(60, 6, generator=seeded(1), dtype=torch.float64)
    y = model(x).argmax(1)
    distance = nearest_boundary(model, w, x, y, dual)
    radius = distance.median().item() + 1e-3
    adv = fabt(model, x, y, FABT(ball=ball(radius)), box=ANYWHERE, rng=seeded(0))
    fooled = model(adv).argmax(1) != y
    clear = (distance / radius - 1).abs() > 0.01
    assert torch.equal(fooled[clear], (distance < radius)[clear])
    assert torch.equal(adv[~fooled], x[~fooled])


def test_a_row_that_is_misclassified_is_its_own_nearest_example():
    _, model = linear(3, 4, 0)
    x = torch.randn(9, 4, generator=seeded(1), dtype=torch.float64)
    y = (model(x).argmax(1) + 1) % 3
    assert torch.equal(fabt(model, x, y, FABT(ball=L2(9.0)), box=ANYWHERE, rng=seeded(0)), x)


@pytest.mark.parametrize("ball", [Linf(1e3), L2(1e3)])
def test_more_steps_and_restarts_never_lead_farther(ball):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    x = torch.rand(40, 6, generator=seeded(1), dtype=torch.float64)
    y = model(x).argmax(1)
    norm = math.inf if isinstance(ball, Linf) else 2

    def distance(**settings):
        config = FABT(ball=ball, **settings)
        adv = fabt(model, x, y, config, box=ANYWHERE, rng=seeded(0))
        far = (adv - x).norm(p=norm, dim=1)
        return torch.where(model(adv).argmax(1) != y, far, math.inf)

    once, twice = distance(steps=20), distance(steps=20, restarts=3)
    # the final search ends within a thousandth, from wherever it starts
    assert (twice <= 1.002 * once).all()
    assert (once <= 1.002 * distance(steps=5)).all()


def brute(z, w, f, low, high, euclidean):
    """The least norm by bisection over t, with min(t s, c) written out feature by feature."""
    u = -w * math.copysign(1, f)
    best = None
    lo, hi = 0.0, 1e9
    for _ in range(200):
        t = (lo + hi) / 2
        delta = [
            math.copysign(
                min(t * (abs(uj) if euclidean else 1), (high - zj) if uj > 0 else zj - low), uj
            )
            if uj
            else 0.0
            for zj, uj in zip(z.tolist(), u.tolist(), strict=True)
        ]
        gain = sum(abs(uj * dj) for uj, dj in zip(u.tolist(), delta, strict=True))
        best = delta
        lo, hi = (t, hi) if gain < abs(f) else (lo, t)
    return torch.tensor(best, dtype=torch.float64)


@pytest.mark.parametrize("euclidean", [True, False])
@given(seed=seeds, d=st.integers(1, 8), f=st.floats(-3, 3).filter(lambda f: abs(f) > 1e-3))
@settings(max_examples=40)
def test_the_way_to_a_hyperplane_is_the_shortest_in_the_box(euclidean, seed, d, f):
    g = seeded(seed)
    z = torch.rand(1, d, generator=g, dtype=torch.float64)
    w = torch.randn(1, d, generator=g, dtype=torch.float64)
    value = torch.tensor([f], dtype=torch.float64)
    delta = to_hyperplane(z, w, value, UNIT, euclidean=euclidean)
    assert (z + delta >= -1e-12).all()
    assert (z + delta <= 1 + 1e-12).all()
    expected = brute(z[0], w[0], f, 0.0, 1.0, euclidean)
    torch.testing.assert_close(delta[0], expected, rtol=1e-3, atol=1e-3)
    # the first-order condition: no other point of the hyperplane in the box is nearer
    reach = (w * delta).sum() + value
    if abs(reach.item()) < 1e-3 * abs(f):
        p = 2 if euclidean else math.inf
        other = torch.rand(200, d, generator=g, dtype=torch.float64) - z
        on_side = (other @ w[0] + f) * math.copysign(1, f) <= 0
        if on_side.any():
            assert other[on_side].norm(p=p, dim=1).min() >= delta.norm(p=p) * (1 - 1e-3)


def test_no_gradient_no_move():
    z = torch.full((1, 3), 0.5, dtype=torch.float64)
    for euclidean in (True, False):
        for box in (UNIT, ANYWHERE):
            f = torch.tensor([-1.0], dtype=torch.float64)
            delta = to_hyperplane(z, torch.zeros_like(z), f, box, euclidean=euclidean)
            assert (delta == 0).all()


def test_rows_without_a_finite_gradient_come_back_as_nan():
    def model(z):
        s = z[:, 1] + 0 * (z[:, 0] - 0.5).abs().sqrt()
        return torch.stack([s, -s], dim=1)

    x = torch.tensor([[0.5, 0.5], [0.2, 0.5]], dtype=torch.float64)
    y = torch.zeros(2, dtype=torch.long)
    adv = fabt(model, x, y, FABT(ball=L2(0.1)), rng=seeded(0))
    assert adv[0].isnan().all()
    assert torch.equal(adv[1], x[1])
