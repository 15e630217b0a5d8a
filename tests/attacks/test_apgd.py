"""Auto-PGD against closed forms and against the paper's schedule."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from trilemma.attacks.evasion import APGD, APGDT, DLR, CrossEntropy, Margin, apgd, apgdt
from trilemma.attacks.evasion.climb import checkpoints
from trilemma.core.balls import L2, Linf
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded

ANYWHERE = Box(-math.inf, math.inf)
seeds = st.integers(0, 2**32 - 1)


def pair(d, seed):
    """Logits -s and s with s = <w, x>."""
    w = torch.randn(d, generator=seeded(seed), dtype=torch.float64)
    return w, lambda z: torch.stack([-(z @ w), z @ w], dim=1)


def net(k=5, d=6):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(d, 16), nn.ReLU(), nn.Linear(16, k)).double()


def labelled(model, n=30, d=6, seed=1):
    x = torch.rand(n, d, generator=seeded(seed), dtype=torch.float64)
    return x, model(x).argmax(1)


@pytest.mark.parametrize(("ball", "dual"), [(Linf, 1), (L2, 2)])
@pytest.mark.parametrize("loss", [CrossEntropy(), Margin(), None])
@given(seed=seeds, d=st.integers(1, 12), radius=st.floats(1e-3, 2.0))
@settings(max_examples=10)
def test_optimal_on_a_linear_model(ball, dual, loss, seed, d, radius):
    """max over the ball of <w, delta> is radius times the dual norm of w; None is APGD-T."""
    w, model = pair(d, seed)
    x = torch.randn(3, d, generator=seeded(seed + 1), dtype=torch.float64)
    x = x / (1 + (x @ w).abs().max())  # far from saturation
    y = torch.ones(3, dtype=torch.long)
    if loss is None:
        adv = apgdt(model, x, y, APGDT(ball=ball(radius), steps=40), box=ANYWHERE, rng=seeded(seed))
    else:
        config = APGD(ball=ball(radius), steps=40, loss=loss)
        adv = apgd(model, x, y, config, box=ANYWHERE, rng=seeded(seed))
    lost = x @ w - adv @ w
    torch.testing.assert_close(lost, (radius * w.norm(p=dual)).expand(3), rtol=1e-3, atol=1e-9)


@given(seed=seeds, radius=st.floats(1e-3, 1.0))
@settings(max_examples=20)
def test_optimal_in_a_ball_cut_by_the_box(seed, radius):
    w, model = pair(5, seed)
    x = torch.rand(4, 5, generator=seeded(seed + 1), dtype=torch.float64)
    config = APGD(ball=Linf(radius), steps=20, loss=Margin())
    adv = apgd(model, x, torch.ones(4, dtype=torch.long), config, box=UNIT, rng=seeded(0))
    torch.testing.assert_close(adv @ w, (x - radius * w.sign()).clamp(0, 1) @ w)


@pytest.mark.parametrize("ball", [Linf(0.3), L2(0.5)])
def test_more_steps_and_restarts_never_lose(ball):
    """The point of the highest loss is kept, so runs with more draws contain those with fewer."""
    model = net()
    x, y = labelled(model)

    def lead(config):
        adv = apgd(model, x, y, config, rng=seeded(0))
        z = model(adv)
        return z.scatter(1, y[:, None], -math.inf).amax(1) - z.gather(1, y[:, None])[:, 0]

    once = lead(APGD(ball=ball, steps=20, loss=Margin()))
    often = lead(APGD(ball=ball, steps=20, loss=Margin(), restarts=4))
    assert (often >= once).all()
    assert (often > once).any()
    short = lead(APGD(ball=ball, steps=4, loss=Margin()))
    assert once.mean() > short.mean()


def test_a_misclassified_point_comes_before_one_of_higher_loss():
    """The cross-entropy is highest just below 0, where the label still wins; above 0 it loses."""

    def model(z):
        s = z[:, 0]
        return torch.stack([torch.zeros_like(s), s / 10, -0.05 - 10 * s.relu()], dim=1)

    x, y = torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.long)
    config = APGD(ball=Linf(1.0), restarts=8)
    adv = apgd(model, x, y, config, box=ANYWHERE, rng=seeded(0))
    below = torch.full_like(x, -1e-6)
    loss = nn.functional.cross_entropy
    assert model(adv).argmax(1) == 1
    assert loss(model(adv), y) < loss(model(below), y)


def test_checkpoints_are_the_papers():
    """p = 0, 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99."""
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    assert checkpoints(1000) == (220, 410, 570, 700, 800, 870, 930, 990)


@given(steps=st.integers(1, 500))
def test_checkpoints_come_closer_and_lie_within_the_run(steps):
    w = (0, *checkpoints(steps))
    gaps = [b - a for a, b in pairwise(w)]
    assert all(gap > 0 for gap in gaps)
    assert gaps == sorted(gaps, reverse=True)
    assert w[-1] < max(steps, 1)


def test_a_step_size_that_overshoots_is_halved():
    """On a narrow ridge, steps of a fixed size jump from side to side; the maximum is found."""

    def model(z):
        s = -(z - 0.3).abs().sum(1)
        return torch.stack([1 - s, s], dim=1)

    x, y = torch.zeros(4, 3, dtype=torch.float64), torch.zeros(4, dtype=torch.long)
    config = APGD(ball=Linf(1.0), loss=Margin())
    adv = apgd(model, x, y, config, box=ANYWHERE, rng=seeded(0))
    assert (adv - 0.3).abs().max() < 0.02  # 2 radii halved eight times are 0.008


def test_the_ratio_needs_three_classes():
    model = nn.Linear(4, 2).double()
    x, y = torch.rand(2, 4, dtype=torch.float64), torch.tensor([0, 1])
    with pytest.raises(BadInput, match="needs 3 classes"):
        apgd(model, x, y, APGD(ball=Linf(0.1), loss=DLR()), rng=seeded(0))


@pytest.mark.parametrize("k", [2, 3, 4, 12])
def test_targets_are_the_likeliest_wrong_classes(k):
    """A model that can be fooled towards its third choice alone is, as soon as that is a target."""
    model = net(k)
    x, y = labelled(model)
    adv = apgdt(model, x, y, APGDT(ball=Linf(1.0), steps=10, targets=k - 1), rng=seeded(0))
    few = apgdt(model, x, y, APGDT(ball=Linf(1.0), steps=10, targets=1), rng=seeded(0))
    fooled, by_one = model(adv).argmax(1) != y, model(few).argmax(1) != y
    assert (fooled | ~by_one).all()
    assert fooled.any()


def test_rows_without_a_finite_answer_come_back_as_nan():
    def model(z):
        s = z[:, 0].sqrt()
        return torch.stack([s, -s], dim=1)

    x = torch.tensor([[0.0], [0.5]], dtype=torch.float64)
    y = torch.zeros(2, dtype=torch.long)
    for attack, config in ((apgd, APGD(ball=L2(0.1))), (apgdt, APGDT(ball=L2(0.1)))):
        adv = attack(model, x - 0.05, y, config, box=ANYWHERE, rng=seeded(0))
        assert adv[0].isnan().all()
        assert adv[1].isfinite().all()


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"restarts": 0}, {"rho": 1.5}, {"step_size": 0.1}, {"loss": "ce"}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        APGD(**{"ball": Linf(0.1), **wrong})
