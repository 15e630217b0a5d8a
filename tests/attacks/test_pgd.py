"""PGD against closed forms; what its losses, targets and early leave change, and what not."""

import dataclasses
import math
import sys
from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from trilemma.attacks.evasion import PGD, BenignKL, CrossEntropy, Margin, pgd
from trilemma.core.balls import L2, Linf
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded

ANYWHERE = Box(-math.inf, math.inf)
seeds = st.integers(0, 2**32 - 1)


def linear(d, seed, classes=2):
    """Logits -s and s with s = <w, x>, whose cross-entropy is monotone in s."""
    w = torch.randn(d, generator=seeded(seed), dtype=torch.float64)
    return w, lambda z: torch.stack([-(z @ w), z @ w], dim=1)


def small_net(seed=0, d=6, k=3):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(d, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, k)
        ).double()


def rows(n=7, d=6, seed=1, dtype=torch.float64):
    g = seeded(seed)
    return torch.rand(n, d, generator=g, dtype=dtype), torch.randint(0, 3, (n,), generator=g)


@pytest.mark.parametrize(("ball", "dual"), [(Linf, 1), (L2, 2)])
@given(seed=seeds, d=st.integers(1, 12), radius=st.floats(1e-3, 2.0), random_start=st.booleans())
@settings(max_examples=20)
def test_optimal_on_a_linear_model(ball, dual, seed, d, radius, random_start):
    """max over the ball of <w, delta> is radius times the dual norm of w."""
    w, model = linear(d, seed)
    x = torch.randn(3, d, generator=seeded(seed + 1), dtype=torch.float64)
    # few units: far from saturation the loss has a gradient that float64 resolves
    x = x / (1 + (x @ w).abs().max())
    config = PGD(ball=ball(radius), steps=20, step_size=radius / 2, random_start=random_start)
    y = torch.ones(3, dtype=torch.long)
    adv = pgd(model, x, y, config, box=ANYWHERE, rng=seeded(seed))
    lost = x @ w - adv @ w
    torch.testing.assert_close(lost, (radius * w.norm(p=dual)).expand(3), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.3)], ids=["Linf", "L2"])
def test_the_published_attack_is_equation_9_written_out(ball):
    """From x itself; nothing is drawn."""
    model, (x, y) = small_net().eval(), rows()
    config = PGD.published(ball=ball, steps=7, step_size=0.03)
    z = x.clone()
    for _ in range(7):
        z.requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(z), y), z)
        step = gradient.sign() if isinstance(ball, Linf) else nn.functional.normalize(gradient)
        away = z.detach() + 0.03 * step - x
        length = away.norm(dim=1, keepdim=True)
        near = (
            away.clamp(-0.1, 0.1) if isinstance(ball, Linf) else away * (0.3 / length).clamp(max=1)
        )
        z = UNIT.clip(x + near)
    for seed in (0, 1):
        found = pgd(model, x, y, config, rng=seeded(seed))
        torch.testing.assert_close(found, z.detach())
    beside = pgd(model, x, y, dataclasses.replace(config, random_start=True), rng=seeded(0))
    assert not torch.allclose(beside, z)


@given(seed=seeds, radius=st.floats(1e-3, 1.0))
def test_optimal_in_a_ball_cut_by_the_box(seed, radius):
    """For Linf, feature by feature: the end of [x - r, x + r] cut by [0, 1]."""
    w, model = linear(5, seed)
    x = torch.rand(4, 5, generator=seeded(seed + 1), dtype=torch.float64)
    config = PGD(ball=Linf(radius), steps=20)
    adv = pgd(model, x, torch.ones(4, dtype=torch.long), config, rng=seeded(0))
    torch.testing.assert_close(adv, (x - radius * w.sign()).clamp(0, 1))


@given(seed=seeds, low=st.floats(-2.0, 0.0), width=st.floats(0.1, 2.0))
def test_a_box_may_differ_from_feature_to_feature(seed, low, width):
    w, model = linear(3, seed)
    lows = torch.tensor([low, low - 1, low], dtype=torch.float64)
    box = Box(lows, lows + torch.tensor([width, 1.0, 0.0], dtype=torch.float64))
    x = box.clip(torch.randn(4, 3, generator=seeded(seed), dtype=torch.float64))
    adv = pgd(
        model, x, torch.ones(4, dtype=torch.long), PGD(ball=Linf(0.3)), box=box, rng=seeded(0)
    )
    torch.testing.assert_close(adv, box.clip(x - 0.3 * w.sign()))


def test_the_paper_start_is_one_gradient_step_from_x():
    """Eq. 9 with T = 1 and no random start is x + eta sign(gradient)."""
    model, (x, y) = small_net().eval(), rows()
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(nn.functional.cross_entropy(model(leaf), y), leaf)
    config = PGD(ball=Linf(0.1), steps=1, step_size=0.03, random_start=False)
    adv = pgd(model, x, y, config, box=ANYWHERE, rng=seeded(0))
    torch.testing.assert_close(adv, x + 0.03 * g.sign())


@pytest.mark.parametrize("ball", [Linf(0.2), L2(0.2)])
def test_more_restarts_never_lose(ball):
    model, (x, y) = small_net(), rows(40)
    heights = []
    for restarts in (1, 3, 9):
        config = PGD(ball=ball, steps=2, restarts=restarts)
        adv = pgd(model, x, y, config, rng=seeded(0))
        loss = nn.functional.cross_entropy(model.eval()(adv), y, reduction="none")
        heights.append(loss)
    assert (heights[1] >= heights[0]).all()
    assert (heights[2] >= heights[1]).all()
    assert (heights[2] > heights[0]).any()


def test_default_step_size_is_two_and_a_half_radii_over_the_steps():
    assert PGD(ball=Linf(0.1), steps=5).rate == pytest.approx(0.05)
    assert PGD(ball=Linf(0.1), steps=5, step_size=0.2).rate == 0.2


@given(share=st.floats(0.01, 1.0))
def test_scaled_shrinks_radius_and_step_alike(share):
    config = PGD(ball=L2(0.4), steps=3, step_size=0.1).scaled(share)
    assert config.ball == L2(share * 0.4)
    assert config.rate == pytest.approx(share * 0.1)


def test_rows_without_a_finite_gradient_come_back_as_nan():
    """sqrt has no derivative at 0: such a row was not attacked and must not look robust."""
    w, _ = linear(3, 0)

    def model(z):
        s = (z @ w) + z[:, 0].sqrt()
        return torch.stack([-s, s], dim=1)

    x = torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.5, 0.5]], dtype=torch.float64)
    config = PGD(ball=Linf(0.1), steps=3, random_start=False)
    adv = pgd(model, x, torch.ones(2, dtype=torch.long), config, rng=seeded(0))
    assert adv[0].isnan().all()
    assert adv[1].isfinite().all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"step_size": 0.0},
        {"step_size": math.inf},
        {"restarts": 0},
        {"stepsize": 0.1},
        {"ball": 0.1},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        PGD(**{"ball": Linf(0.1), **wrong})


def test_settings_are_frozen_and_keyword_only():
    with pytest.raises(FrozenInstanceError):
        PGD(ball=Linf(0.1)).steps = 3
    with pytest.raises(ValidationError, match="positional"):
        PGD(Linf(0.1))


def test_inputs_outside_the_box_are_refused():
    model, (x, y) = small_net(), rows()
    x[2, 3] = 7.5
    with pytest.raises(BadInput, match=r"1 of 7 inputs lie outside the box .*7\.5"):
        pgd(model, x, y, PGD(ball=Linf(0.1)), rng=seeded(0))


def loss_at(model, z, y):
    return nn.functional.cross_entropy(model(z), y, reduction="none")


@given(seed=seeds, step=st.floats(0.01, 3.0), which=st.integers(0, 2))
@settings(max_examples=20)
def test_on_a_convex_loss_no_step_goes_down(seed, step, which):
    """f(z') >= f(z) + <f'(z), z' - z>, and a projected step has no part against the gradient."""
    g = seeded(seed)
    w = torch.randn(4, 3, generator=g, dtype=torch.float64)
    x, y = torch.rand(5, 4, generator=g, dtype=torch.float64), torch.arange(5) % 3
    ball, box = [(Linf(0.3), UNIT), (Linf(0.3), ANYWHERE), (L2(0.3), ANYWHERE)][which]

    def model(z):
        return z @ w

    heights = []
    for steps in range(1, 7):
        config = PGD(ball=ball, steps=steps, step_size=step * ball.radius)
        adv = pgd(model, x, y, config, box=box, rng=seeded(seed))
        heights.append(loss_at(model, adv, y))
    path = torch.stack(heights)
    assert (path[1:] >= path[:-1] - 1e-12).all()


def test_more_steps_do_not_hurt_on_average():
    model, (x, y) = small_net().eval(), rows(200)
    means = []
    for steps in (1, 2, 5, 20, 60):
        config = PGD(ball=L2(0.5), steps=steps, step_size=0.03, random_start=False)
        adv = pgd(model, x, y, config, rng=seeded(0))
        means.append(loss_at(model, adv, y).mean().item())
    assert means == sorted(means)
    assert means[0] > loss_at(model, x, y).mean().item()


@given(seed=seeds)
@settings(max_examples=10)
def test_a_target_is_approached_as_far_as_the_ball_lets(seed):
    """On a linear model of two classes, towards one is away from the other."""
    w, model = linear(5, seed)
    x = 0.5 + torch.zeros(3, 5, dtype=torch.float64)
    zeros = torch.zeros(3, dtype=torch.long)
    config = PGD(ball=Linf(0.2), steps=20, targeted=True)
    towards = pgd(model, x, zeros, config, rng=seeded(0))
    torch.testing.assert_close(towards, x - 0.2 * w.sign())


@pytest.mark.parametrize("loss", [BenignKL(), Margin(), Margin(confidence=0.5), CrossEntropy()])
def test_every_loss_is_raised(loss):
    model, (x, y) = small_net().eval(), rows(40)
    with torch.no_grad():
        benign = model(x)
        adv = pgd(model, x, y, PGD(ball=Linf(0.2), loss=loss), rng=seeded(0))
        assert (loss(model(adv), y, benign) >= loss(benign, y, benign)).all()
        other = pgd(model, x, y, PGD(ball=Linf(0.2)), rng=seeded(0))
    assert torch.equal(adv, other) == isinstance(loss, CrossEntropy)


def test_any_loss_may_be_handed_over():
    model, (x, y) = small_net(), rows()
    config = PGD(ball=Linf(0.1), steps=5)
    given_ = pgd(model, x, y, config, rng=seeded(0), loss=lambda z, y: Margin()(z, y))
    declared = dataclasses.replace(config, loss=Margin())
    assert torch.equal(given_, pgd(model, x, y, declared, rng=seeded(0)))


def test_two_classes_have_one_direction():
    """Cross-entropy and margin are monotone in each other, so the signs of gradients agree."""
    model, (x, y) = small_net(k=2), rows()
    y = y.clamp(max=1)
    found = [
        pgd(model, x, y, PGD(ball=Linf(0.1), steps=5, loss=loss), rng=seeded(0))
        for loss in (CrossEntropy(), Margin())
    ]
    assert torch.equal(*found)


class Counting(nn.Module):
    """A linear model that counts the rows it is asked about."""

    def __init__(self):
        super().__init__()
        self.rows = 0

    def forward(self, z):
        self.rows += len(z)
        return torch.stack([-z.sum(1), z.sum(1)], dim=1)


def test_rows_that_rest_are_asked_about_no_more():
    """At the end of the ball no step moves a row; without the early leave all would be asked."""
    model, x = Counting().double(), torch.full((6, 3), 0.5, dtype=torch.float64)
    config = PGD(ball=Linf(0.1), steps=40, step_size=0.1)
    adv = pgd(model, x, torch.ones(6, dtype=torch.long), config, rng=seeded(0))
    torch.testing.assert_close(adv, x - 0.1)
    assert model.rows == 6 * 4


def test_no_gradient_is_computed_that_is_not_needed():
    model, x = Counting().double(), torch.rand(6, 3, generator=seeded(0), dtype=torch.float64)
    y = torch.ones(6, dtype=torch.long)
    pgd(model, x, y, PGD(ball=Linf(0.3), steps=3), rng=seeded(0))
    assert model.rows == 6 * 3
    model.rows = 0
    pgd(model, x, y, PGD(ball=Linf(0.3), steps=3, restarts=2), rng=seeded(0))
    assert model.rows == 6 * (3 + 3 + 2)


def test_leaving_early_changes_nothing(monkeypatch):
    """Against looking for resting rows never."""
    module = sys.modules[PGD.__module__]
    model, (x, y) = small_net().eval(), rows(60)
    config = PGD(ball=Linf(0.05), steps=30, loss=Margin(confidence=0.2), restarts=2)
    early = pgd(model, x, y, config, rng=seeded(0))
    monkeypatch.setattr(module, "LOOK", 10**9)
    torch.testing.assert_close(early, pgd(model, x, y, config, rng=seeded(0)), rtol=0, atol=1e-12)


def test_the_start_does_not_depend_on_how_the_inputs_lie():
    x = torch.rand(3, 2, 4, 4, generator=seeded(0), dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 2)).double()
    y, config = torch.zeros(3, dtype=torch.long), PGD(ball=L2(0.1), steps=1)
    other = x.contiguous(memory_format=torch.channels_last)
    found = [pgd(model, each, y, config, rng=seeded(0)) for each in (x, other)]
    torch.testing.assert_close(*found)
