"""FGSM, I-FGSM and CW-100: what they are in terms of one gradient, or of PGD."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trilemma.attacks.evasion import (
    CW100,
    FGSM,
    IFGSM,
    PGD,
    BenignKL,
    Margin,
    cw100,
    fgsm,
    ifgsm,
    pgd,
)
from trilemma.core.balls import L2, Linf
from trilemma.core.generators import seeded

seeds = st.integers(0, 2**32 - 1)


def net(seed=0, k=3):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, k)).double()


def rows(n=6):
    g = seeded(1)
    x = 0.3 + 0.4 * torch.rand(n, 4, generator=g, dtype=torch.float64)
    return x, torch.randint(0, 3, (n,), generator=g)


def gradient(model, x, y):
    leaf = x.clone().requires_grad_()
    loss = nn.functional.cross_entropy(model(leaf), y, reduction="sum")
    return torch.autograd.grad(loss, leaf)[0]


@given(seed=seeds, radius=st.floats(0.01, 0.3))
@settings(max_examples=20)
def test_fgsm_is_x_plus_the_radius_times_the_sign(seed, radius):
    model, (x, y) = net(seed), rows()
    g = gradient(model, x, y)
    up = fgsm(model, x, y, FGSM(ball=Linf(radius)), rng=seeded(0))
    torch.testing.assert_close(up, x + radius * g.sign())
    down = fgsm(model, x, y, FGSM(ball=Linf(radius), targeted=True), rng=seeded(0))
    torch.testing.assert_close(down, x - radius * g.sign())
    along = fgsm(model, x, y, FGSM(ball=L2(radius)), rng=seeded(0))
    torch.testing.assert_close(along, x + radius * g / g.norm(dim=1, keepdim=True))


def test_one_small_step_is_fgsm():
    model, (x, y) = net(), rows()
    once = ifgsm(model, x, y, IFGSM(ball=Linf(0.1), steps=1), rng=seeded(0))
    assert torch.equal(once, fgsm(model, x, y, FGSM(ball=Linf(0.1)), rng=seeded(0)))


def test_small_steps_follow_the_gradient_from_x():
    model, (x, y) = net(), rows()
    z = x
    for _ in range(3):
        z = z + 0.05 * gradient(model, z, y).sign()
    found = ifgsm(model, x, y, IFGSM(ball=Linf(0.2), steps=3, step_size=0.05), rng=seeded(0))
    torch.testing.assert_close(found, z)


@pytest.mark.parametrize("ball", [Linf(0.3), L2(0.3)])
def test_straight_steps_end_on_the_surface(ball):
    assert IFGSM(ball=ball, steps=4).rate == pytest.approx(0.3 / 4)
    w = torch.randn(4, generator=seeded(0), dtype=torch.float64)
    x, y = rows()
    found = ifgsm(
        lambda z: torch.stack([z @ w, -(z @ w)], 1), x, y * 0, IFGSM(ball=ball), rng=seeded(0)
    )
    norm = torch.inf if isinstance(ball, Linf) else 2
    torch.testing.assert_close((found - x).norm(p=norm, dim=1), 0.3 * torch.ones(6).double())


def test_cw100_is_pgd_on_the_margin():
    model, (x, y) = net(), rows()
    config = CW100(ball=Linf(8 / 255))
    assert config.as_pgd().rate == pytest.approx(2 / 255)
    assert config.as_pgd().steps == 100
    found = cw100(model, x, y, config, rng=seeded(0))
    same = PGD(ball=Linf(8 / 255), steps=100, step_size=2 / 255, loss=Margin())
    assert torch.equal(found, pgd(model, x, y, same, rng=seeded(0)))
    other = dataclasses.replace(same, loss=BenignKL())
    assert not torch.equal(found, pgd(model, x, y, other, rng=seeded(0)))
