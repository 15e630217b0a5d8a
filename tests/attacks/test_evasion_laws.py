"""The laws of every evasion attack of the table, each with an attack that breaks it."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from trilemma.attacks.evasion import (
    APGD,
    APGDT,
    ATTACKS,
    CW100,
    DLR,
    FABT,
    FGSM,
    IFGSM,
    PGD,
    AutoAttack,
    BenignKL,
    CarliniWagner,
    Distributional,
    L2Penalty,
    Margin,
    Square,
    pgd,
)
from trilemma.core.balls import L2, Linf
from trilemma.core.box import UNIT, Box
from trilemma.core.generators import seeded

ANYWHERE = Box(-math.inf, math.inf)


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    """AutoAttack with fewer steps: the laws hold for any number."""

    def parts(self):
        ball = self.ball
        return (
            APGD(ball=ball, steps=4),
            APGDT(ball=ball, steps=4),
            FABT(ball=ball, steps=4),
            Square(ball=ball, queries=12),
        )

    monkeypatch.setattr(AutoAttack, "parts", property(parts))


def small_net(seed=0, d=6, k=4):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(d, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, k)
        ).double()


def rows(n=7, d=6, seed=1, dtype=torch.float64):
    g = seeded(seed)
    return torch.rand(n, d, generator=g, dtype=dtype), torch.randint(0, 4, (n,), generator=g)


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


def wide(ball):
    """So that some row is misclassified in it, where only that counts."""
    return type(ball)(4 * ball.radius)


EXAMPLES = {  # one at least; what has no ball ignores it
    PGD: lambda ball: [
        PGD(ball=ball, steps=5, restarts=2),
        PGD(ball=ball, steps=5, loss=BenignKL()),
        PGD(ball=ball, steps=5, loss=Margin(confidence=0.1)),
        PGD(ball=ball, steps=5, targeted=True),
    ],
    FGSM: lambda ball: [FGSM(ball=ball)],
    IFGSM: lambda ball: [IFGSM(ball=ball, steps=3)],
    CW100: lambda ball: [CW100(ball=ball)],
    CarliniWagner: lambda _: [CarliniWagner(steps=20, binary_search_steps=3)],
    Distributional: lambda ball: [
        Distributional(gamma=2.0)
        if isinstance(ball, Linf)
        else Distributional(gamma=0.1, penalty=L2Penalty(squared=False))
    ],
    APGD: lambda ball: [APGD(ball=ball, steps=5, restarts=2), APGD(ball=ball, steps=9, loss=DLR())],
    APGDT: lambda ball: [APGDT(ball=ball, steps=5, restarts=2)],
    FABT: lambda ball: [FABT(ball=wide(ball), steps=5)],
    Square: lambda ball: [Square(ball=ball, queries=30, restarts=2)],
    AutoAttack: lambda ball: [AutoAttack(ball=wide(ball))],
}
DRAW_NOTHING = {FABT, FGSM, IFGSM, CarliniWagner, Distributional}
LAWFUL = [
    pytest.param(attack, example, id=f"{config.__name__}-{type(ball).__name__}-{i}")
    for config, attack in ATTACKS.items()
    for ball in BALLS
    for i, example in enumerate(EXAMPLES[config](ball))
]


IN_A_BALL = [each for each in LAWFUL if hasattr(each.values[1], "ball")]


def _control(attack):
    mark = pytest.mark.xfail(raises=AssertionError, strict=True)
    return pytest.param(attack, EXAMPLES[PGD](Linf(0.1))[0], id="negative control", marks=mark)


def test_every_attack_of_the_table_is_under_the_laws():
    assert set(EXAMPLES) == set(ATTACKS)
    without = {type(each.values[1]) for each in LAWFUL if each not in IN_A_BALL}
    assert without == {CarliniWagner, Distributional}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("attack", "config"), [*LAWFUL, _control(_overshooting)])
def test_law_feasible(attack, config, dtype):
    model, (x, y) = small_net().to(dtype), rows(50, dtype=dtype)
    adv = attack(model, x, y, config, rng=seeded(3))
    # x + delta is rounded once, by at most half a unit in the last place of a number below 2
    slack = 2 * torch.finfo(dtype).eps * math.sqrt(x[0].numel())
    assert (adv >= 0).all()
    assert (adv <= 1).all()
    if hasattr(config, "ball"):
        norm = math.inf if isinstance(config.ball, Linf) else 2
        assert ((adv - x).flatten(1).norm(p=norm, dim=1) <= config.ball.radius + slack).all()
    assert adv.dtype == dtype
    assert adv.shape == x.shape


@pytest.mark.parametrize(("attack", "config"), [*LAWFUL, _control(_neighbourly)])
def test_law_a_row_does_not_depend_on_its_neighbours(attack, config):
    model, (x, y) = small_net().eval(), rows(9)
    together = attack(model, x, y, config, rng=seeded(3))
    alone = [attack(model, x[[i]], y[[i]], config, rng=seeded(3)) for i in range(0, 9, 3)]
    torch.testing.assert_close(together[::3], torch.cat(alone), rtol=0, atol=1e-12)
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
    other = attack(model, x, y, config, rng=seeded(4))
    assert torch.equal(first, other) == (type(config) in DRAW_NOTHING)
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


@pytest.mark.parametrize(("attack", "config"), IN_A_BALL)
def test_law_radius_0_is_the_identity(attack, config):
    model, (x, y) = small_net(), rows()
    nowhere = dataclasses.replace(config, ball=type(config.ball)(0.0))
    adv = attack(model, x, y, nowhere, rng=seeded(3))
    assert torch.equal(adv, x)
    assert adv is not x


@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_a_share_of_the_attack_stays_nearer(attack, config):
    """As a training that ramps the radius up asks for it."""
    model, (x, y) = small_net(), rows()
    part = config.scaled(0.01)
    whole, less = (attack(model, x, y, each, rng=seeded(3)) for each in (config, part))
    if isinstance(config, CarliniWagner):
        assert part == config
    else:
        assert (less - x).norm() < 0.2 * (whole - x).norm()


@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_images_may_lie_in_memory_as_they_like(attack, config):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4))
    model = model.double().eval()
    x, y = rows(5, 50)
    x = x.view(5, 2, 5, 5)
    adv = attack(model, x, y, config, rng=seeded(3), batch=2)
    other = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(attack(model, other, y, config, rng=seeded(3)), adv)


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
