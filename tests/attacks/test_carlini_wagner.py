"""The nearest adversarial example, against linear models, whose boundary's distance is known."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from trilemma.attacks.evasion import CarliniWagner, carlini_wagner
from trilemma.core.box import UNIT, Box
from trilemma.core.generators import seeded

ANYWHERE = Box(-math.inf, math.inf)
QUICK = CarliniWagner(initial_const=0.1, binary_search_steps=7)


def linear(seed, d=6, k=3):
    """Logits Wx + b that tie near the middle of the unit box."""
    g = seeded(seed)
    w = torch.randn(k, d, generator=g, dtype=torch.float64)
    b = 0.1 * torch.randn(k, generator=g, dtype=torch.float64) - 0.5 * w.sum(1)
    return w, b, lambda z: z @ w.T + b


def distances(w, z, y):
    """From each row to the boundary towards each label: |z_y - z_j| / |w_y - w_j|."""
    gaps = z.gather(1, y[:, None]) - z
    norms = (w[y][:, None] - w[None]).norm(dim=2)
    return (gaps / norms).scatter(1, y[:, None], math.inf)


@pytest.mark.parametrize("box", [UNIT, ANYWHERE], ids=["box", "no box"])
@pytest.mark.parametrize(("seed", "k"), [(0, 2), (2, 4)])
def test_within_one_percent_of_the_boundary(seed, k, box):
    """Of more than two classes a descent finds the boundary towards one, not always the nearest."""
    w, _, model = linear(seed, k=k)
    x = 0.5 + 0.05 * torch.randn(30, 6, generator=seeded(seed + 1), dtype=torch.float64)
    y = model(x).argmax(1)
    known = distances(w, model(x), y)
    assert known.amin(1).max() < 0.3  # the box does not bind
    found = carlini_wagner(model, x, y, QUICK, box=box, rng=seeded(0))
    assert (model(found).argmax(1) != y).all()
    towards = known.gather(1, model(found).argmax(1, keepdim=True)).squeeze(1)
    ratio = (found - x).norm(dim=1) / towards
    assert (ratio >= 1 - 1e-9).all()
    assert (ratio <= 1.01).all()
    assert (towards == known.amin(1)).double().mean() > 0.7


def test_towards_a_label_the_distance_is_that_boundarys():
    seed = 3
    w, _, model = linear(seed, k=2)
    x = 0.5 + 0.05 * torch.randn(6, 6, generator=seeded(seed + 1), dtype=torch.float64)
    y = model(x).argmax(1)
    config = dataclasses.replace(QUICK, targeted=True)
    found = carlini_wagner(model, x, 1 - y, config, box=ANYWHERE, rng=seeded(0))
    assert (model(found).argmax(1) == 1 - y).all()
    expected = distances(w, model(x), y).amin(1)
    torch.testing.assert_close((found - x).norm(dim=1), expected, rtol=0.01, atol=1e-6)


@pytest.mark.parametrize("kappa", [0.0, 0.2, 1.0])
def test_confidence_is_a_lead_and_costs_its_distance(kappa):
    """Two classes: the lead is 2 s with s = <w, x>, so kappa / (2 |w|) further."""
    w = torch.tensor([1.0, -2.0, 2.0], dtype=torch.float64)

    def model(z):
        s = (z - 0.5) @ w
        return torch.stack([-s, s], dim=1)

    x = torch.full((1, 3), 0.5, dtype=torch.float64) + 0.02 * w
    y = torch.tensor([1])
    config = dataclasses.replace(QUICK, confidence=kappa)
    found = carlini_wagner(model, x, y, config, rng=seeded(0))
    z = model(found)
    assert z[0, 0] - z[0, 1] >= kappa
    expected = 0.02 * w.norm() + kappa / (2 * w.norm())
    torch.testing.assert_close((found - x).norm(), expected, rtol=0.01, atol=0)


def test_a_fixed_feature_stays_and_a_wide_one_moves_as_far_as_it_may():
    """Width 0, 10 and 1: the rate follows the width."""
    low = torch.tensor([0.5, -5.0, 0.0], dtype=torch.float64)
    box = Box(low, low + torch.tensor([0.0, 10.0, 1.0], dtype=torch.float64))
    w = torch.tensor([5.0, 1.0, 0.0], dtype=torch.float64)

    def model(z):
        s = z @ w
        return torch.stack([s, -s], dim=1)

    x = torch.tensor([[0.5, 1.0, 0.5]], dtype=torch.float64)
    found = carlini_wagner(model, x, torch.tensor([0]), QUICK, box=box, rng=seeded(0))
    expected = torch.tensor([[0.5, -2.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0.01, atol=1e-3)


def constant(z):
    return torch.stack([z.sum(1) * 0 + 1, z.sum(1) * 0], dim=1)


def test_where_none_is_found_the_model_still_gets_the_row_right():
    x, y = torch.rand(3, 4, generator=seeded(0), dtype=torch.float64), torch.tensor([0, 1, 0])
    config = CarliniWagner(steps=10, binary_search_steps=3)
    found = carlini_wagner(constant, x, y, config, rng=seeded(0))
    assert torch.equal(found, x)
    assert (constant(found).argmax(1) == y).tolist() == [True, False, True]


def test_a_row_that_is_wrong_already_is_not_moved():
    _, _, model = linear(0)
    x = torch.rand(20, 6, generator=seeded(1), dtype=torch.float64)
    y = (model(x).argmax(1) + torch.arange(20) % 2) % 3
    config = CarliniWagner(steps=100, initial_const=1.0, binary_search_steps=4)
    found = carlini_wagner(model, x, y, config, rng=seeded(0))
    wrong = torch.arange(20) % 2 == 1
    assert torch.equal(found[wrong], x[wrong])
    assert ((found - x)[~wrong].norm(dim=1) > 0).all()


def test_rows_without_numbers_come_back_as_nan():
    def model(z):
        s = z[:, 0].log() + 10
        return torch.stack([s, s * 0], dim=1)

    x = torch.tensor([[0.0], [0.5]], dtype=torch.float64)
    config = CarliniWagner(steps=20, binary_search_steps=3)
    found = carlini_wagner(model, x, torch.zeros(2, dtype=torch.long), config, rng=seeded(0))
    assert found[0].isnan().all()
    assert found[1].isfinite().all()


class Counting(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.most, self.rows = inner, 0, 0

    def forward(self, z):
        self.most, self.rows = max(self.most, len(z)), self.rows + len(z)
        return self.inner(z)


def test_every_call_is_within_the_batch_and_counted():
    """One look at each row, then for those that are right so many steps for each price."""
    _, _, model = linear(0)
    x = torch.rand(11, 6, generator=seeded(1), dtype=torch.float64)
    y = torch.zeros(11, dtype=torch.long)
    right = int((model(x).argmax(1) == y).sum())
    assert 0 < right < 11
    counted, config = Counting(model), CarliniWagner(steps=7, binary_search_steps=4)
    carlini_wagner(counted, x, y, config, rng=seeded(0), batch=4)
    assert counted.most == 4
    assert counted.rows == 11 + right * 7 * 4


def test_more_prices_and_steps_come_nearer():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 3)).double()
    x = torch.rand(30, 6, generator=seeded(1), dtype=torch.float64)
    y = model(x).argmax(1)
    means = []
    for prices, steps in ((9, 10), (9, 100)):
        config = CarliniWagner(steps=steps, binary_search_steps=prices)
        found = carlini_wagner(model, x, y, config, rng=seeded(0))
        moved = torch.where(model(found).argmax(1) != y, (found - x).norm(dim=1), math.inf)
        means.append(moved.median().item())
    assert means[1] < means[0]
