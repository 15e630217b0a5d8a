"""AutoAttack: verdicts in closed form, the union of its parts, full micro-batches."""

import math
from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trilemma.attacks.evasion import (
    APGD,
    APGDT,
    FABT,
    AutoAttack,
    Square,
    apgd,
    apgdt,
    autoattack,
    fabt,
    square,
)
from trilemma.attacks.evasion.pool import FULL, capacity, drive
from trilemma.core.balls import L2, Linf
from trilemma.core.box import Box
from trilemma.core.generators import seeded

ANYWHERE = Box(-math.inf, math.inf)
BALLS = [Linf(0.15), L2(0.3)]
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """The parts, with fewer steps: what is tested here holds for any number."""

    def parts(self):
        ball = self.ball
        return (
            APGD(ball=ball, steps=20),
            APGDT(ball=ball, steps=20),
            FABT(ball=ball, steps=10),
            Square(ball=ball, queries=30),
        )

    monkeypatch.setattr(AutoAttack, "parts", property(parts))


def net(k=4, d=6):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(d, 16), nn.ReLU(), nn.Linear(16, k)).double()


def rows(n=40, d=6, k=4):
    g = seeded(1)
    x = torch.rand(n, d, generator=g, dtype=torch.float64)
    return x, torch.where(torch.rand(n, generator=g) < 0.8, net(k, d)(x).argmax(1), 0)


def resists(model, x, y, ball, **settings):
    adv = autoattack(model, x, y, AutoAttack(ball=ball), rng=seeded(0), **settings)
    return model(adv).argmax(1) == y


@pytest.mark.parametrize(("ball", "dual"), [(Linf, 1), (L2, 2)])
@pytest.mark.parametrize("k", [2, 3, 4, 12])
@given(seed=seeds)
@settings(max_examples=2)
def test_a_row_of_a_linear_model_resists_where_its_margin_is_wide_enough(ball, dual, k, seed):
    """Iff min_j (z_y - z_j) / ||w_y - w_j||_dual > radius."""
    g = seeded(seed)
    w = torch.randn(k, 5, generator=g, dtype=torch.float64)
    x = torch.randn(16, 5, generator=g, dtype=torch.float64)
    z = x @ w.T
    y = z.argmax(1)
    lengths = (w[y][:, None] - w[None]).norm(p=dual, dim=2)
    own = nn.functional.one_hot(y, k).bool()
    margin = ((z.gather(1, y[:, None]) - z) / lengths).masked_fill(own, math.inf).amin(1)
    radius = margin.median().item() * 1.001
    found = resists(lambda u: u @ w.T, x, y, ball(radius), box=ANYWHERE)
    clear = (margin / radius - 1).abs() > 0.005
    assert torch.equal(found[clear], (margin > radius)[clear])


@pytest.mark.parametrize("ball", BALLS)
def test_what_resists_is_what_resists_all_its_parts(ball):
    """With the parts' own draws, so on the rows that no draw decides: any part's success counts."""
    model, (x, y) = net(), rows()
    found = resists(model, x, y, ball)
    each = torch.ones_like(found)
    parts = AutoAttack(ball=ball).parts
    for attack, config in zip((apgd, apgdt, fabt, square), parts, strict=True):
        each &= model(attack(model, x, y, config, rng=seeded(0))).argmax(1) == y
    assert (found != each).sum() <= 1
    assert found.any()
    assert not found.all()


def test_only_survivors_are_handed_on(monkeypatch):
    model, (x, y) = net(), rows()
    handed = []
    module = import_module("trilemma.attacks.evasion.autoattack")  # the function has its name
    attacks = module._attacks

    def watched(*args):
        def watch(attack):
            def run(x, y, targets):
                found = attack(x, y, targets)
                handed.append((len(x), int(found.wrong.sum())))
                return found

            return run

        return [watch(attack) for attack in attacks(*args)]

    monkeypatch.setattr(module, "_attacks", watched)
    left = int((model(x).argmax(1) == y).sum())
    autoattack(model, x, y, AutoAttack(ball=Linf(0.15)), rng=seeded(0))
    for given_rows, broken in handed:
        assert given_rows == left
        left -= broken
    assert handed[0][1] > 0


@pytest.mark.parametrize("kind", [Linf, L2])
def test_fewer_rows_resist_in_a_larger_ball(kind):
    model, (x, y) = net(), rows()
    counts = [int(resists(model, x, y, kind(radius)).sum()) for radius in (0.02, 0.1, 0.3, 0.9)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


@pytest.mark.parametrize("ball", BALLS)
def test_rows_that_resist_and_rows_that_were_wrong_come_back_as_they_were(ball):
    model, (x, y) = net(), rows()
    adv = autoattack(model, x, y, AutoAttack(ball=ball), rng=seeded(0))
    wrong = model(x).argmax(1) != y
    resisted = model(adv).argmax(1) == y
    assert torch.equal(adv[wrong | resisted], x[wrong | resisted])
    moved = (adv - x)[~(wrong | resisted)]
    assert (moved.norm(p=math.inf if isinstance(ball, Linf) else 2, dim=1) > 0).all()


def test_images_lie_as_they_came_whatever_the_layout_they_are_asked_in():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 5 * 3, 5)
        ).double()
    x = torch.rand(20, 3, 7, 5, generator=seeded(1), dtype=torch.float64)
    y = model(x).argmax(1)
    lows = torch.zeros(3, 7, 5, dtype=torch.float64)
    lows[:, 2] = x[:, :, 2].amin((0, 2))[:, None] * 0.9
    for ball in BALLS:
        adv = autoattack(model, x, y, AutoAttack(ball=ball), box=Box(lows, 1.0), rng=seeded(0))
        assert adv.shape == x.shape
        assert (adv >= lows).all()
        norm = math.inf if isinstance(ball, Linf) else 2
        assert ((adv - x).flatten(1).norm(p=norm, dim=1) <= ball.radius + 1e-9).all()
        assert (model(adv).argmax(1) != y).any()


def test_rows_of_which_nothing_can_be_said_are_nan():
    """An answer that is no number, and one that is but has no gradient."""

    def model(z):
        s = 9 + z[:, 1] + 0 * z[:, 0].sqrt()
        return torch.stack([s, -s], dim=1)

    x = torch.tensor([[-0.5, 0.5], [0.0, 0.5], [0.5, 0.5]], dtype=torch.float64)
    y, box = torch.zeros(3, dtype=torch.long), Box(-1.0, 1.0)
    adv = autoattack(model, x, y, AutoAttack(ball=Linf(0.1)), box=box, rng=seeded(0))
    assert adv[:2].isnan().all()
    assert torch.equal(adv[2], x[2])


@given(n=st.integers(1, 300), runs=st.integers(1, 9), most=st.integers(1, 128))
def test_micro_batches_are_even(n, runs, most):
    size = capacity(n, runs, most)
    assert 1 <= size <= min(n, most)
    assert math.ceil(n * runs / size) == math.ceil(n * runs / most) or size == n


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=40),
    runs=st.integers(1, 4),
    most=st.integers(1, 16),
)
def test_every_search_runs_to_its_end_and_the_calls_are_full(lengths, runs, most):
    """Row r needs `lengths[r]` steps a run; rows of even length are settled by their first run."""
    need = torch.tensor(lengths)
    took, sizes = torch.zeros(len(lengths), runs, dtype=torch.long), []

    class State(tuple):
        __slots__ = ()

        def __new__(cls, row, run, k):
            return super().__new__(cls, (row, run, k))

    def begin(row, run):
        return State(row, run, torch.zeros_like(row))

    def step(state):
        row, run, k = state
        assert len(row.unique()) == len(row)  # a row is never under way twice
        sizes.append(len(row))
        took[row, run] += 1
        ended = k + 1 >= need[row]
        return State(row, run, k + 1), ended, ended & (need[row] % 2 == 0)

    drive(torch.arange(len(lengths)), runs, most, begin, step)
    settled = (need % 2 == 0)[:, None] & (torch.arange(runs) > 0)
    assert torch.equal(took, need[:, None].expand(-1, runs).masked_fill(settled, 0))
    assert max(sizes) <= most
    if runs == 1:
        full = capacity(len(lengths), 1, most)
        waiting = sum(sizes)
        for size in sizes:
            waiting -= size
            # calls are short only once no row waits: then fewer are left than would fill them
            assert size > FULL * full or waiting <= size * max(lengths)
