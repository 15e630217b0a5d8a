"""HopSkipJump on boundaries whose distance is known, and against its published schedule."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trilemma.attacks.evasion import Arc, Halving, HopSkipJump, hop_skip_jump
from trilemma.core.box import UNIT, Box
from trilemma.core.generators import seeded
from trilemma.oracles import Local

ANYWHERE = Box(-math.inf, math.inf)
seeds = st.integers(0, 2**32 - 1)


def halfspace(d, seed, norm, box, n=2):
    """Inputs on either side of <w, x> = b, and |<w, x> - b| / ||w||_dual."""
    g = seeded(seed)
    w = torch.randn(d, generator=g, dtype=torch.float64)
    dual = w.norm(p=2 if norm == 2 else 1)
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    if box == UNIT:  # the nearest points lie well within it
        x = x.mul_(0.05).add_(0.5).clamp_(0.3, 0.7)
    aim = torch.linspace(-0.15, 0.1, n, dtype=torch.float64) * (1 if norm == 2 else 0.2)
    x = x + ((aim * dual - x @ w + w.sum() / 2) / w.square().sum()).view(-1, 1) * w

    def model(z):
        s = z @ w - w.sum() / 2
        return torch.stack([-s, s], dim=1)

    return model, x, (x @ w - w.sum() / 2).abs() / dual


def excess(config, d, seed, box=ANYWHERE):
    """How much farther than the nearest point, as a share of its distance."""
    model, x, true = halfspace(d, seed, config.norm, box)
    oracle = Local(model, classes=2)
    y = oracle(x).argmax(1)
    found = hop_skip_jump(oracle, x, y, config, box=box, rng=seeded(seed + 1), batch=64)
    assert (found.queries <= config.max_queries).all()
    assert (oracle(found.x_adv).argmax(1) != y).all()
    more = found.distance / true - 1
    assert (more > -1e-9).all()  # nothing is nearer
    return more.max().item()


@pytest.mark.parametrize(
    ("norm", "d", "box"),
    [
        (2.0, 20, ANYWHERE),
        (2.0, 64, UNIT),
        (2.0, 256, ANYWHERE),
        (2.0, 256, UNIT),
        (math.inf, 20, ANYWHERE),
        (math.inf, 64, ANYWHERE),
        (math.inf, 64, UNIT),
    ],
)
@given(seed=seeds)
@settings(max_examples=2)
def test_within_5_percent_of_a_linear_boundary_in_5000_queries(norm, d, box, seed):
    assert excess(HopSkipJump(norm=norm, max_queries=5000), d, seed, box) < 0.05


@pytest.mark.parametrize("norm", [2.0, math.inf])
@given(seed=seeds)
@settings(max_examples=2)
def test_the_published_schedule_gets_there_too(norm, seed):
    assert excess(HopSkipJump.published(norm=norm, max_queries=5000), 20, seed) < 0.05


def test_that_law_can_fail():
    """Too few queries leave it farther away."""
    assert excess(HopSkipJump(max_queries=150), 256, 0) > 0.05
    assert excess(HopSkipJump(norm=math.inf, max_queries=150), 64, 0) > 0.05


@pytest.mark.parametrize("inside", [True, False])
@given(seed=seeds, d=st.integers(2, 30))
@settings(max_examples=3)
def test_within_5_percent_of_a_sphere(inside, seed, d):
    """From within it is R - |x - c| away, from without |x - c| - R."""
    g = seeded(seed)
    centre = torch.randn(d, generator=g, dtype=torch.float64)
    way = nn.functional.normalize(torch.randn(3, d, generator=g, dtype=torch.float64), dim=1)
    far = torch.tensor([[0.3], [0.5], [0.8]] if inside else [[1.3], [2.0], [3.0]]).double()

    def model(z):
        s = (z - centre).norm(dim=1) - 1
        return torch.stack([-s, s], dim=1)

    oracle, x = Local(model, classes=2), centre + far * way
    found = hop_skip_jump(
        oracle,
        x,
        oracle(x).argmax(1),
        HopSkipJump(max_queries=2500),
        box=ANYWHERE,
        rng=seeded(seed + 1),
        starts=centre[None],  # from without, noise hits a small sphere rarely
        batch=64,
    )
    true = (far.squeeze(1) - 1).abs()
    assert (found.distance < 1.05 * true).all()
    assert (found.distance > true - 1e-9).all()


def test_a_box_that_cuts_off_the_nearest_point_is_respected():
    """x1 + x2 > 1.5 from (0.1, 0.6): where x2 <= 0.65, the corner (0.85, 0.65) is nearest."""
    box = Box(0.0, torch.tensor([1.0, 0.65], dtype=torch.float64))
    x = torch.tensor([[0.1, 0.6]], dtype=torch.float64)

    def model(z):
        s = z.sum(1) - 1.5
        return torch.stack([-s, s], dim=1)

    oracle, config = Local(model, classes=2), HopSkipJump(max_queries=1000)
    found = hop_skip_jump(oracle, x, torch.tensor([0]), config, box=box, rng=seeded(0), batch=64)
    assert found.distance.item() == pytest.approx(math.hypot(0.75, 0.05), rel=0.02)


def test_a_start_that_is_given_is_used():
    """Label 1 on a small ball that no noise hits."""
    island = torch.full((1, 12), 0.9, dtype=torch.float64)

    def model(z):
        s = 0.1 - (z - island).norm(dim=1)
        return torch.stack([-s, s], dim=1)

    x, y = torch.zeros(2, 12, dtype=torch.float64), torch.zeros(2, dtype=torch.long)
    oracle, config = Local(model, classes=2), HopSkipJump(max_queries=600)
    without = hop_skip_jump(oracle, x, y, config, rng=seeded(0), batch=64)
    assert (without.distance == math.inf).all()
    found = hop_skip_jump(oracle, x, y, config, rng=seeded(0), starts=island, batch=64)
    true = island.norm().item() - 0.1
    assert found.distance.tolist() == pytest.approx([true, true], rel=0.05)


def test_the_published_settings_are_the_papers():
    """Algorithm 2: B_t = 100 sqrt(t), delta from 1 / d, steps halved, no memory."""
    published = HopSkipJump.published(norm=2, max_queries=25000)
    assert (published.first, published.memory, published.shrink) == (100, 0, False)
    assert (published.probe, published.starts) == (None, 1)
    assert isinstance(published.search, Halving)
    assert 2.0**-published.search.halvings <= 784**-1.5 < 2.0 ** (1 - published.search.halvings)
    assert HopSkipJump(norm=2) == HopSkipJump(norm=2.0)


@pytest.mark.parametrize("search", [Arc(), Halving()])
def test_either_search_may_be_asked_for(search):
    config = dataclasses.replace(HopSkipJump(max_queries=2000), search=search)
    assert excess(config, 20, 3) < 0.05


@pytest.fixture(scope="module")
def digits():
    """A small net that knows the digits of scikit-learn, and 60 of them that it did not see."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images).double().view(-1, 1, 8, 8) / 16, torch.tensor(labels).long()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10)
        ).double()
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(20):
            for rows in torch.randperm(1500).split(100):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimiser.step()
    assert (model(x[1500:]).argmax(1) == y[1500:]).double().mean() > 0.88
    return model.requires_grad_(requires_grad=False).eval(), x[1500:1560], y[1500:1560]


@pytest.mark.slow
@pytest.mark.parametrize("max_queries", [500, 2500])
@pytest.mark.parametrize("norm", [2.0, math.inf])
def test_the_default_schedule_is_no_worse_than_the_published(digits, norm, max_queries):
    """At equal queries, by the median distance of digits, and for most of them."""
    model, x, y = digits
    ours, theirs = (
        hop_skip_jump(
            Local(model, classes=10),
            x,
            y,
            make(norm=norm, max_queries=max_queries),
            rng=seeded(0),
            batch=64,
        )
        for make in (HopSkipJump, HopSkipJump.published)
    )
    assert ours.distance.median() < theirs.distance.median()
    right = ours.distance > 0
    assert (ours.distance <= 1.02 * theirs.distance)[right].double().mean() > 0.7
