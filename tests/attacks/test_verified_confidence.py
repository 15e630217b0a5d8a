"""The verified worst-case confidence: exact where bounds are, never above what a point has."""

from itertools import pairwise
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from trilemma.attacks.membership import (
    METHODS,
    VerifiedConfidence,
    confidence,
    verified_confidence,
    verified_log_odds,
    worst_case,
    worst_log_odds,
)
from trilemma.bounds import Domain, Dual, Interval
from trilemma.core.balls import L2, Linf
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded

DOMAINS = [pytest.param(kind(), id=kind.__name__) for kind in get_args(Domain)]
BALLS = [pytest.param(kind, id=kind.__name__) for kind in (Linf, L2)]
WIDE = Box(-100.0, 100.0)
seeds = st.integers(0, 2**32 - 1)


def linear(seed, classes=2, features=5):
    layer = nn.Linear(features, classes).double()
    with torch.no_grad():
        for each in layer.parameters():
            each.copy_(torch.randn(each.shape, generator=seeded(seed), dtype=torch.float64))
    return nn.Sequential(layer)


def deep(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = (nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3))
        return nn.Sequential(*layers).double()


def rows(n=6, features=4, classes=3, seed=1):
    g = seeded(seed)
    x = torch.rand(n, features, generator=g, dtype=torch.float64)
    return x, torch.randint(0, classes, (n,), generator=g)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(("ball", "dual"), [(Linf, 1), (L2, 2)])
@given(seed=seeds, radius=st.floats(0.01, 1.0))
@settings(max_examples=5)
def test_on_a_linear_model_of_two_classes_it_is_the_worst_case(domain, ball, dual, seed, radius):
    """The lead z_y - z_other = <w, x> + b falls by radius ||w||_dual, and there it is reached."""
    model, (x, y) = linear(seed), rows(features=5, classes=2)
    layer = model[0]
    w = layer.weight[y] - layer.weight[1 - y]
    lead = (w * x).sum(1) + layer.bias[y] - layer.bias[1 - y]
    expected = torch.sigmoid(lead - radius * w.norm(p=dual, dim=1))
    config = VerifiedConfidence(ball=ball(radius), domain=domain)
    found = verified_confidence(model, x, y, config, box=WIDE)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("ball", BALLS)
def test_no_point_of_the_ball_has_less(domain, ball):
    model, (x, y) = deep(), rows()
    config = VerifiedConfidence(ball=ball(0.1), domain=domain)
    least = verified_confidence(model, x, y, config)
    rng = seeded(2)
    for _ in range(50):
        delta = config.ball.sample(x, rng)
        if isinstance(config.ball, Linf):  # corners too, where linear pieces have their minima
            delta = torch.where(torch.rand(x.shape, generator=rng) < 0.5, delta, delta.sign() * 0.1)
        assert (confidence(model, UNIT.clip(x + delta), y) >= least).all()


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_ball_that_holds_one_point_leaves_the_confidence(domain):
    model, (x, y) = deep(), rows()
    config = VerifiedConfidence(ball=Linf(0.0), domain=domain)
    found = verified_confidence(model, x, y, config)
    torch.testing.assert_close(found, confidence(model, x, y), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_larger_ball_proves_less(domain):
    model, (x, y) = deep(), rows()
    sure = [
        verified_confidence(model, x, y, VerifiedConfidence(ball=Linf(radius), domain=domain))
        for radius in (0.0, 0.01, 0.05, 0.2)
    ]
    for more, less in pairwise(sure):
        assert (less < more).all()


def test_what_lies_outside_the_box_does_not_count():
    """A model whose confidence falls with its input, at the upper end of the box."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False).double())
    model[0].weight.data = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    x, y = torch.ones(1, 1, dtype=torch.float64), torch.tensor([0])
    config = VerifiedConfidence(ball=Linf(0.5), domain=Interval())
    inside = verified_confidence(model, x, y, config)
    torch.testing.assert_close(inside, confidence(model, x, y), rtol=1e-9, atol=0)
    assert verified_confidence(model, x, y, config, box=WIDE) < inside


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=6))
def test_margins_become_the_least_confidence_that_they_leave(leads):
    """1 / (1 + sum exp(-m_j)), and it is above one half only where every margin is positive."""
    margins = torch.tensor([[0.0, *leads]], dtype=torch.float64)
    found = worst_case(margins).item()
    expected = 1 / (1 + torch.tensor(leads, dtype=torch.float64).neg().exp().sum()).item()
    assert found == pytest.approx(expected, rel=1e-12)
    assert found <= 0.5 or min(leads) > 0


@given(leads=st.lists(st.floats(-20, 20), min_size=1, max_size=6), place=st.integers(0, 6))
def test_log_odds_are_those_of_the_confidence(leads, place):
    """log p / (1 - p), wherever the label stands among the classes."""
    label = place % (len(leads) + 1)
    margins = torch.tensor([[*leads[:label], 0.0, *leads[label:]]], dtype=torch.float64)
    found = worst_log_odds(margins, torch.tensor([label]))
    torch.testing.assert_close(found.sigmoid(), worst_case(margins), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("shift", [-2000.0, 2000.0])
def test_log_odds_order_rows_whose_confidence_rounds_to_0_or_1(shift):
    margins = torch.tensor([[0.0, shift + i, shift + 2 * i] for i in range(5)])
    y = torch.zeros(5, dtype=torch.int64)
    assert len(worst_case(margins).unique()) == 1  # all are 0, or all are 1
    assert (worst_log_odds(margins, y).diff() > 0).all()


def test_members_are_told_by_the_log_odds():
    """A model so sharp that every bound rounds to 0: a threshold on those would tell nothing."""
    model, (x, y) = deep(), rows()
    with torch.no_grad():
        model[-1].weight *= 1e6
    config = VerifiedConfidence(ball=Linf(0.5), domain=Interval())
    assert (verified_confidence(model, x, y, config) == 0).all()
    scores = METHODS[VerifiedConfidence].signal(model, x, y, config, box=UNIT, rng=seeded(0))
    assert torch.equal(scores, verified_log_odds(model, x, y, config))
    assert len(scores.unique()) == len(x)
    assert not scores.requires_grad


def test_a_layer_without_bounds_is_named():
    model = nn.Sequential(nn.Linear(4, 3), nn.Softsign()).double()
    config = VerifiedConfidence(ball=Linf(0.1), domain=Interval())
    with pytest.raises(BadInput, match="Softsign"):
        verified_confidence(model, *rows(), config)


def test_estimates_are_refused():
    with pytest.raises(ValidationError, match="no sure bound"):
        VerifiedConfidence(ball=Linf(0.1), domain=Dual(projections=8))


def test_the_model_comes_back_as_it_was_and_nothing_is_remembered():
    model, (x, y) = deep().train(), rows()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    config = VerifiedConfidence(ball=Linf(0.1), domain=Interval())
    found = verified_confidence(model, x, y, config)
    assert not found.requires_grad
    assert all(each.training for each in model.modules())
    assert all(each.grad is None for each in model.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
