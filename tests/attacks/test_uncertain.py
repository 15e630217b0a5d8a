"""Uncertain examples: the definition by hand, and linear models whose answer is known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trilemma.attacks.evasion import (
    PGD,
    UncertainExamples,
    pgd,
    uncertain_examples,
    uncertainty,
)
from trilemma.attacks.evasion.losses import uniform_divergence
from trilemma.core.balls import L2, Linf
from trilemma.core.box import Box
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded

ANYWHERE = Box(-math.inf, math.inf)
seeds = st.integers(0, 2**32 - 1)


def net(seed=0, k=4):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Linear(6, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, k)
        return nn.Sequential(*layers).double()


def rows(n=9):
    return torch.rand(n, 6, generator=seeded(1), dtype=torch.float64)


@given(seed=seeds)
def test_delta_is_the_spread_of_the_confidences(seed):
    model, x = net(seed).eval(), rows()
    p = model(x).softmax(1)
    expected = [max(row) - min(row) for row in p.tolist()]
    torch.testing.assert_close(uncertainty(model, x, batch=4).tolist(), expected)
    assert ((p >= 0) & (p <= 1)).all()


@given(seed=seeds, radius=st.floats(0.2, 1.0))
@settings(max_examples=15)
def test_on_a_linear_model_the_boundary_is_reached_where_the_ball_holds_it(seed, radius):
    """Two classes tie where <w, x> = 0; on the way there the divergence only falls."""
    w = torch.randn(5, generator=seeded(seed), dtype=torch.float64)
    w = w / w.norm()

    def model(z):
        return torch.stack([-(z @ w), z @ w], dim=1)

    x = torch.tensor([[0.5], [1.5]], dtype=torch.float64) * radius * w
    config = UncertainExamples(
        ball=L2(radius), steps=400, step_size=0.01 * radius, random_start=False
    )
    found = uncertain_examples(model, x, config, box=ANYWHERE, rng=seeded(0))
    reach = (found @ w).abs()
    assert reach[0] <= 0.01 * radius + 1e-9  # one step to and fro
    torch.testing.assert_close(reach[1].item(), 0.5 * radius)


@pytest.mark.parametrize("ball", [Linf(0.2), L2(0.5)])
def test_answers_come_nearer_to_uniform_and_stay_in_the_ball(ball):
    model, x = net().eval(), rows(40)
    config = UncertainExamples(ball=ball, steps=20)
    found = uncertain_examples(model, x, config, rng=seeded(0))
    with torch.no_grad():
        assert (uniform_divergence(model(found)) < uniform_divergence(model(x))).all()
    assert uncertainty(model, found).mean() < 0.8 * uncertainty(model, x).mean()
    norm = math.inf if isinstance(ball, Linf) else 2
    assert ((found - x).norm(p=norm, dim=1) <= ball.radius + 1e-12).all()
    assert ((found >= 0) & (found <= 1)).all()


def test_a_step_goes_down_the_divergence():
    model, x = net().eval(), rows()
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(uniform_divergence(model(leaf)).sum(), leaf)
    config = UncertainExamples(ball=Linf(0.2), steps=1, step_size=0.01, random_start=False)
    found = uncertain_examples(model, x, config, box=ANYWHERE, rng=seeded(0))
    torch.testing.assert_close(found, x - 0.01 * g.sign())


def test_it_is_pgd_on_that_divergence():
    model, x = net(), rows()
    y = torch.zeros(len(x), dtype=torch.long)
    path = PGD(ball=Linf(0.1), steps=10)
    same = pgd(model, x, y, path, rng=seeded(0), loss=lambda z, _: -uniform_divergence(z))
    config = UncertainExamples(ball=Linf(0.1))
    assert torch.equal(uncertain_examples(model, x, config, rng=seeded(0)), same)
    assert not torch.equal(pgd(model, x, y, path, rng=seeded(0)), same)


def test_a_row_depends_on_itself_and_the_generator_alone():
    model, x = net().eval(), rows()
    config = UncertainExamples(ball=L2(0.3))
    whole = uncertain_examples(model, x, config, rng=seeded(5))
    alone = [uncertain_examples(model, x[[i]], config, rng=seeded(5)) for i in range(9)]
    torch.testing.assert_close(whole, torch.cat(alone), rtol=0, atol=1e-12)
    by_two = uncertain_examples(model, x, config, rng=seeded(5), batch=2)
    torch.testing.assert_close(whole, by_two, rtol=0, atol=1e-12)
    assert not torch.equal(whole, uncertain_examples(model, x, config, rng=seeded(6)))


def test_the_model_is_asked_in_eval_mode_and_comes_back_as_it_went():
    model, x = net().train(), rows()
    seen, config = x.clone(), UncertainExamples(ball=Linf(0.1))
    found = uncertain_examples(model, x, config, rng=seeded(0))
    spread = uncertainty(model, x)
    assert model.training
    assert torch.equal(x, seen)
    assert all(each.grad is None for each in model.parameters())
    assert torch.equal(found, uncertain_examples(model.eval(), x, config, rng=seeded(0)))
    assert torch.equal(spread, uncertainty(model, x))


def test_nothing_to_move():
    model, x = net(), rows()
    nowhere = UncertainExamples(ball=Linf(0.0))
    assert torch.equal(uncertain_examples(model, x, nowhere, rng=seeded(0)), x)
    config = UncertainExamples(ball=Linf(0.1))
    assert uncertain_examples(model, x[:0], config, rng=seeded(0)).shape == (0, 6)
    assert uncertainty(model, x[:0]).shape == (0,)
    with pytest.raises(BadInput, match="9 of 9 inputs lie outside"):
        uncertain_examples(model, x + 2, config, rng=seeded(0))


def test_defaults_are_the_papers_step():
    """2/255 in a ball of 8/255 with a synthesis budget of 10."""
    config = UncertainExamples(ball=Linf(8 / 255))
    path = PGD(ball=config.ball, steps=config.steps, step_size=config.step_size)
    assert path.rate == pytest.approx(2 / 255)
