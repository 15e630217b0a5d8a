"""Gradients from scores, against gradients that are known; ZOO, against distances that are."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trilemma.attacks.evasion import ZOO, symmetric_difference, zoo
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.oracles import Local

ANYWHERE = Box(-math.inf, math.inf)


def uniform(*shape, seed=0):
    return torch.rand(shape, generator=seeded(seed), dtype=torch.float64)


def quadratic(d, seed=0):
    """z A z + b z and its gradient."""
    a, b = uniform(d, d, seed=seed) - 0.5, uniform(d, seed=seed + 1)

    def score(z):
        z = z.flatten(1)
        return ((z @ a) * z).sum(1) + z @ b

    return score, lambda z: (z.flatten(1) @ (a + a.T) + b).view(z.shape)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), d=st.integers(1, 6), h=st.floats(1e-3, 10))
def test_a_quadratics_gradient_is_exact_whatever_h(seed, d, h):
    score, gradient = quadratic(d, seed)
    x = uniform(3, d, seed=seed + 2)
    torch.testing.assert_close(symmetric_difference(score, x, h), gradient(x), rtol=0, atol=1e-9)


def test_the_error_is_that_of_the_third_derivative():
    """Of exp it is h^2 / 6 e^x and a little: a tenth of h leaves a hundredth of it."""
    x = uniform(4, 3)

    def error(h):
        return symmetric_difference(lambda z: z.exp().sum(1), x, h) / x.exp() - 1

    torch.testing.assert_close(error(0.1), torch.full_like(x, 0.1**2 / 6), rtol=1e-3, atol=0)
    torch.testing.assert_close(error(0.01), error(0.1) / 100, rtol=1e-3, atol=0)


def test_of_a_stump_it_sees_what_lies_within_h():
    """1 where feature 1 is above 0.5: no slope close by, a step over 2 h further out."""

    def stump(z):
        return (z[:, 1] > 0.5).double()

    x = torch.tensor([[0.5, 0.45, 0.5], [0.5, 0.2, 0.5]], dtype=torch.float64)
    assert not symmetric_difference(stump, x, 1e-4).any()
    expected = torch.zeros_like(x)
    expected[0, 1] = 1 / (2 * 0.1)
    torch.testing.assert_close(symmetric_difference(stump, x, 0.1), expected)


def test_at_an_edge_it_is_one_sided_and_asks_inside():
    """Of x^2 in 0, with room to one side only: h, not 0; where there is no room at all: 0."""
    low = torch.tensor([[0.0, -1.0], [0.0, 0.3]], dtype=torch.float64)
    high = torch.tensor([[1.0, 1.0], [0.05, 0.3]], dtype=torch.float64)
    x = torch.tensor([[[0.0, 0.0], [0.05, 0.3]]], dtype=torch.float64)
    box = Box(low, high)

    def score(z):
        assert torch.equal(box.clip(z), z)
        return z.square().sum((1, 2))

    found = symmetric_difference(score, x, 0.1, box=box)
    expected = torch.tensor([[[0.1, 0.0], [0.05, 0.0]]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("batch", [1, 5, 64, None])
def test_calls_are_bounded_and_change_nothing(batch):
    score, gradient = quadratic(12)
    x, calls = uniform(7, 1, 3, 4), []

    def counting(z):
        calls.append(len(z))
        assert z.shape[1:] == x.shape[1:]
        return score(z)

    h = torch.full((3, 4), 0.1, dtype=torch.float64)
    found = symmetric_difference(counting, x, h, batch=batch)
    torch.testing.assert_close(found, gradient(x), rtol=0, atol=1e-9)
    assert sum(calls) == 7 * 2 * 12
    assert max(calls) <= (batch or 1024)


def test_coordinates_that_are_not_wanted_cost_nothing():
    score, gradient = quadratic(6)
    x, asked, wanted = uniform(5, 6), [], torch.tensor([4, 1])

    def counting(z):
        asked.append(len(z))
        return score(z)

    found = symmetric_difference(counting, x, 0.1, coordinates=wanted)
    expected = torch.zeros_like(x).index_copy_(1, wanted, gradient(x)[:, wanted])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert sum(asked) == 5 * 2 * 2
    assert not symmetric_difference(counting, x, 0.1, coordinates=wanted[:0]).any()
    assert symmetric_difference(counting, x[:0], 0.1).shape == (0, 6)


def test_h_and_coordinates_out_of_range_are_refused():
    x = uniform(2, 3)
    with pytest.raises(BadInput, match="h: is 0"):
        symmetric_difference(lambda z: z.sum(1), x, 0.0)
    with pytest.raises(BadInput, match="span 1 to 3"):
        symmetric_difference(lambda z: z.sum(1), x, 1.0, coordinates=torch.tensor([1, 3]))


def linear(seed, d, k):
    """Logits Wx + b that tie near the middle of the unit box, and rows there."""
    g = seeded(seed)
    w = torch.randn(k, d, generator=g, dtype=torch.float64)
    b = 0.1 * torch.randn(k, generator=g, dtype=torch.float64) - 0.5 * w.sum(1)
    x = 0.5 + 0.05 * torch.randn(12, d, generator=g, dtype=torch.float64)
    return w, lambda z: z @ w.T + b, x


def distances(w, z, y):
    """From each row to the boundary towards each label: |z_y - z_j| / |w_y - w_j|."""
    gaps = z.gather(1, y[:, None]) - z
    return (gaps / (w[y][:, None] - w[None]).norm(dim=2)).scatter(1, y[:, None], math.inf)


@pytest.mark.parametrize(
    ("seed", "d", "k", "box"), [(0, 5, 2, ANYWHERE), (1, 50, 2, UNIT), (2, 50, 4, ANYWHERE)]
)
def test_within_five_percent_of_the_boundary_in_5000_queries(seed, d, k, box):
    """Of more than two classes the row follows its strongest rival, which need not be nearest."""
    w, model, x = linear(seed, d, k)
    y = model(x).argmax(1)
    config = ZOO(max_queries=100 * d)
    found = zoo(Local(model, classes=k), x, y, config, box=box, rng=seeded(0))
    assert (model(found.x_adv).argmax(1) != y).all()
    every = distances(w, model(x), y)
    known = every.gather(1, model(found.x_adv).argmax(1, keepdim=True)).squeeze(1)
    assert (found.distance >= known * (1 - 1e-9)).all()
    assert (found.distance <= known * 1.05).all()
    assert (known == every.amin(1)).double().mean() > 0.9
    assert (found.queries == 100 * d).all()


def test_a_wanted_label_is_reached_at_its_boundarys_distance():
    w, model, x = linear(3, 8, 2)
    y = model(x).argmax(1)
    config = ZOO(max_queries=3000, targeted=True)
    found = zoo(Local(model, classes=2), x, 1 - y, config, box=ANYWHERE, rng=seeded(0))
    assert (model(found.x_adv).argmax(1) == 1 - y).all()
    known = distances(w, model(x), y).amin(1)
    torch.testing.assert_close(found.distance, known, rtol=0.01, atol=0)


def test_features_of_other_units_move_in_their_own():
    """Rate and h are shares of the box's width: incomes beside shares; one is fixed."""
    low = torch.tensor([0.0, 0.0, 7.0], dtype=torch.float64)
    box = Box(low, low + torch.tensor([1e5, 1.0, 0.0], dtype=torch.float64))

    def model(z):
        s = z[:, 0] / 1e5 + 1e-9 * z[:, 1] + z[:, 2]
        return torch.stack([s, 2 * 7.7 - s], 1)

    x = torch.tensor([[8e4, 0.5, 7.0]], dtype=torch.float64)
    oracle = Local(model, classes=2)
    found = zoo(oracle, x, torch.tensor([0]), ZOO(max_queries=2000), box=box, rng=seeded(0))
    assert found.distance.item() == pytest.approx(1e4, rel=0.01)


def stumps(z):
    """Twenty steps: the first feature's level in twentieths, as a tree ensemble gives it."""
    level = ((20 * z[:, 0]).floor() + 0.5 - 10) / 5
    return torch.stack([-level, level], 1)


def test_trees_want_a_large_h():
    """The boundary is at 0.5; a small h sees no slope, and the row stays where it is."""
    x, y = torch.full((1, 2), 0.72, dtype=torch.float64), torch.tensor([1])
    oracle = Local(stumps, classes=2)
    blind, found = (
        zoo(oracle, x, y, ZOO(max_queries=600, h=h), rng=seeded(0)) for h in (1e-4, 0.05)
    )
    assert blind.distance.isinf().all()
    assert found.distance.item() == pytest.approx(0.22, rel=0.05)


def test_confidence_leads_deeper():
    """The path ends kappa beyond the boundary; what is returned is near it all the same."""
    asked = []

    def model(z):
        asked.append(z[:, 0].clone())
        return torch.stack([z[:, 0], -z[:, 0]], 1)  # the margin is 2 z

    x, y = torch.tensor([[0.2]], dtype=torch.float64), torch.tensor([0])
    oracle, config = Local(model, classes=2), ZOO(max_queries=1500, confidence=0.3)
    found = zoo(oracle, x, y, config, box=ANYWHERE, rng=seeded(0))
    assert torch.cat(asked)[-20:].mean().item() == pytest.approx(-0.15, abs=0.01)
    assert 0.2 < found.distance.item() < 0.25


def test_an_oracle_that_gives_labels_alone_leads_nowhere():
    _, model, x = linear(1, 6, 3)
    y = model(x).argmax(1)
    found = zoo(
        Local(lambda z: 1e6 * torch.nn.functional.one_hot(model(z).argmax(1), 3).to(z), classes=3),
        x,
        y,
        ZOO(max_queries=100),
        rng=seeded(0),
    )
    assert found.distance.isinf().all()
    assert (found.queries == 100).all()


@pytest.mark.parametrize(
    "wrong", [{"norm": math.inf}, {"h": 0.0}, {"h": 2.0}, {"coordinates": 0}, {"confidence": -1.0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        dataclasses.replace(ZOO(), **wrong)
