"""PGD against closed forms, and the laws of every evasion attack."""

import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from trilemma.attacks.evasion import ATTACKS, PGD, pgd
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


# The laws of the family: every attack of the table, each in both balls, and one that breaks them.


def _neighbourly(model, x, y, config, *, box=UNIT, rng, batch=64):
    """Moves every row along the mean gradient: inside the ball, but not by the row alone."""
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(nn.functional.cross_entropy(model(leaf), y), leaf)
    return box.clip(x + config.ball.project(g.mean(0, keepdim=True).sign().expand_as(x)))


def _overshooting(model, x, y, config, *, box=UNIT, rng, batch=64):
    """Returns its last step before the projection, of which the gradient's sign is all it took."""
    moved = pgd(model, x, y, config, box=ANYWHERE, rng=rng)
    return x + 1.2 * (moved - x)


BALLS = [Linf(0.1), L2(0.5)]
EXAMPLES = {PGD: lambda ball: PGD(ball=ball, steps=5, restarts=2)}
LAWFUL = [
    pytest.param(attack, EXAMPLES[config](ball), id=f"{config.__name__}-{type(ball).__name__}")
    for config, attack in ATTACKS.items()
    for ball in BALLS
]


def _control(attack):
    mark = pytest.mark.xfail(raises=AssertionError, strict=True)
    return pytest.param(attack, EXAMPLES[PGD](Linf(0.1)), id="negative control", marks=mark)


def test_every_attack_of_the_table_is_under_the_laws():
    assert set(EXAMPLES) == set(ATTACKS)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("attack", "config"), [*LAWFUL, _control(_overshooting)])
def test_law_feasible(attack, config, dtype):
    model, (x, y) = small_net().to(dtype), rows(50, dtype=dtype)
    adv = attack(model, x, y, config, rng=seeded(3))
    # x + delta is rounded once, by at most half a unit in the last place of a number below 2
    slack = 2 * torch.finfo(dtype).eps * math.sqrt(x[0].numel())
    norm = math.inf if isinstance(config.ball, Linf) else 2
    assert (adv >= 0).all()
    assert (adv <= 1).all()
    assert ((adv - x).flatten(1).norm(p=norm, dim=1) <= config.ball.radius + slack).all()
    assert adv.dtype == dtype
    assert adv.shape == x.shape


@pytest.mark.parametrize(("attack", "config"), [*LAWFUL, _control(_neighbourly)])
def test_law_a_row_does_not_depend_on_its_neighbours(attack, config):
    model, (x, y) = small_net().eval(), rows(9)
    together = attack(model, x, y, config, rng=seeded(3))
    alone = [attack(model, x[[i]], y[[i]], config, rng=seeded(3)) for i in range(9)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)
    flipped = attack(model, x.flip(0), y.flip(0), config, rng=seeded(3)).flip(0)
    torch.testing.assert_close(together, flipped, rtol=0, atol=1e-12)
    by_two = attack(model, x, y, config, rng=seeded(3), batch=2)
    torch.testing.assert_close(together, by_two, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_randomness_comes_from_the_generator_alone(attack, config):
    model, (x, y) = small_net(), rows()
    before = torch.random.get_rng_state()
    first = attack(model, x, y, config, rng=seeded(3))
    torch.testing.assert_close(first, attack(model, x, y, config, rng=seeded(3)), rtol=0, atol=0)
    assert not torch.equal(first, attack(model, x, y, config, rng=seeded(4)))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_the_model_comes_back_as_it_went(attack, config):
    model, (x, y) = small_net().train(), rows()
    model[0].eval()
    model[0].weight.requires_grad_(requires_grad=False)
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    seen = x.clone(), y.clone()
    adv = attack(model, x, y, config, rng=seeded(3))
    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(x, seen[0])
    assert torch.equal(y, seen[1])
    assert not adv.requires_grad


@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_the_model_is_asked_in_eval_mode(attack, config):
    """With dropout on, two equal calls would differ."""
    model, (x, y) = small_net().train(), rows()
    inside = attack(model, x, y, config, rng=seeded(3))
    torch.testing.assert_close(inside, attack(model.eval(), x, y, config, rng=seeded(3)))


@pytest.mark.parametrize("ball", [Linf(0.0), L2(0.0)])
@pytest.mark.parametrize("attack", [pytest.param(pgd, id="PGD")])
def test_law_radius_0_is_the_identity(attack, ball):
    model, (x, y) = small_net(), rows()
    adv = attack(model, x, y, EXAMPLES[PGD](ball), rng=seeded(3))
    assert torch.equal(adv, x)
    assert adv is not x


@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_no_rows_no_work(attack, config):
    x, y = rows(0)
    assert attack(small_net(), x, y, config, rng=seeded(3)).shape == (0, 6)


@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_works_where_gradients_are_off(attack, config):
    model, (x, y) = small_net(), rows()
    with torch.no_grad():
        quiet = attack(model, x, y, config, rng=seeded(3))
    torch.testing.assert_close(quiet, attack(model, x, y, config, rng=seeded(3)))
