"""Membership signals: their values in closed form, and the laws of the family."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from trilemma.attacks.evasion import PGD, HopSkipJump
from trilemma.attacks.membership import (
    METHODS,
    STATISTICS,
    Access,
    AdversarialConfidence,
    AugmentationRobustness,
    BoundaryDistance,
    Confidence,
    EarlyDecisions,
    Gap,
    GaussianNoise,
    NoiseRobustness,
    SmoothedRadius,
    VerifiedConfidence,
    adversarial_confidence,
    confidence,
)
from trilemma.bounds import Interval, Smoothing
from trilemma.core.balls import L2, Linf
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.oracles import Local

ANYWHERE = Box(-math.inf, math.inf)
seeds = st.integers(0, 2**32 - 1)
EXAMPLES = {
    Confidence: Confidence(),
    AdversarialConfidence: AdversarialConfidence(attack=PGD(ball=Linf(0.1), steps=5)),
    VerifiedConfidence: VerifiedConfidence(ball=Linf(0.1), domain=Interval()),
    Gap: Gap(),
    BoundaryDistance: BoundaryDistance(search=HopSkipJump(max_queries=60)),
    EarlyDecisions: EarlyDecisions(
        attack=BoundaryDistance(search=HopSkipJump(max_queries=60)), threshold=0.1
    ),
    NoiseRobustness: NoiseRobustness(noise=GaussianNoise(sigma=0.1), copies=40),
    AugmentationRobustness: AugmentationRobustness(),
    SmoothedRadius: SmoothedRadius(smoothing=Smoothing(sigma=0.2, samples=200)),
    **{kind: kind() for kind in STATISTICS},
}


def net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).double()


def rows(n=9, seed=1):
    g = seeded(seed)
    x = torch.rand(n, 4, generator=g, dtype=torch.float64)
    return x, torch.randint(0, 3, (n,), generator=g)


@given(margin=st.floats(-30, 30))
def test_confidence_is_the_logistic_of_the_margin(margin):
    """Two classes: F(x)_y = 1 / (1 + exp(-(z_y - z_other)))."""
    x = torch.tensor([[0.0, margin]], dtype=torch.float64)
    found = confidence(nn.Identity(), x, torch.tensor([1]))
    assert found.item() == pytest.approx(1 / (1 + math.exp(-margin)), rel=1e-12)


def test_confidences_near_1_stay_apart():
    """A float32 softmax would answer 1 for both: it cannot tell 1 - 1e-8 from 1 - 1e-10."""
    x = torch.tensor([[0.0, 18.4], [0.0, 23.0]])
    p = confidence(nn.Identity(), x, torch.tensor([1, 1]))
    assert p[0] < p[1] < 1


def test_a_model_and_its_oracle_give_the_same_confidence():
    model, (x, y) = net(), rows()
    torch.testing.assert_close(confidence(model, x, y), confidence(Local(model, classes=3), x, y))


def test_a_module_that_has_classes_is_still_a_module():
    model, (x, y) = net(), rows()
    model.classes = 3
    torch.testing.assert_close(confidence(model, x, y), confidence(net(), x, y))


@pytest.mark.parametrize(("ball", "dual"), [(Linf, 1), (L2, 2)])
@given(seed=seeds, radius=st.floats(0.01, 1.0))
@settings(max_examples=20)
def test_adversarial_confidence_of_a_linear_model(ball, dual, seed, radius):
    """The margin 2<w, x> falls by 2 radius ||w||_dual, and nothing in the ball takes more."""
    w = torch.randn(5, generator=seeded(seed), dtype=torch.float64)
    x = torch.randn(3, 5, generator=seeded(seed + 1), dtype=torch.float64)
    config = AdversarialConfidence(attack=PGD(ball=ball(radius), steps=20, step_size=radius / 2))
    found = adversarial_confidence(
        lambda z: torch.stack([-(z @ w), z @ w], dim=1),
        x,
        torch.ones(3, dtype=torch.long),
        config,
        box=ANYWHERE,
        rng=seeded(0),
    )
    expected = torch.sigmoid(2 * (x @ w - radius * w.norm(p=dual)))
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-6)


def test_an_attack_that_allows_nothing_leaves_the_confidence():
    model, (x, y) = net(), rows()
    config = AdversarialConfidence(attack=PGD(ball=Linf(0.0)))
    found = adversarial_confidence(model, x, y, config, rng=seeded(0))
    torch.testing.assert_close(found, confidence(model, x, y), rtol=0, atol=0)


def test_an_attack_lowers_the_confidence():
    model, (x, y) = net(), rows(40)
    config = EXAMPLES[AdversarialConfidence]
    assert (
        adversarial_confidence(model, x, y, config, rng=seeded(0)) < confidence(model, x, y)
    ).all()


def test_a_model_without_gradient_is_not_scored():
    def model(z):
        s = z.sum(1).sqrt()
        return torch.stack([-s, s], dim=1)

    x, y = torch.zeros(2, 3), torch.tensor([0, 1])
    config = AdversarialConfidence(attack=PGD(ball=Linf(0.1), random_start=False))
    with pytest.raises(BadInput, match="NaN"):
        adversarial_confidence(model, x, y, config, rng=seeded(0))


def test_settings_that_do_not_exist_are_refused():
    with pytest.raises(ValidationError, match="threshold"):
        Confidence(threshold=0.5)
    with pytest.raises(ValidationError, match="attack"):
        AdversarialConfidence(attack="PGD")


def _rank(target, x, y, config, *, box, rng):
    """Negative control: a rank in the batch, in [0, 1], which depends on the neighbours."""
    return confidence(target, x, y).argsort().argsort().double() / len(x)


def _in_percent(target, x, y, config, *, box, rng):
    """Negative control: right but for its scale."""
    return 100 * confidence(target, x, y)


def _one_short(target, x, y, config, *, box, rng):
    """Negative control: the last row is forgotten."""
    return confidence(target, x, y)[:-1]


def _of_images(signal):
    """The four features as the pixels of an image."""

    def score(target, x, y, config, *, box, rng):
        images = x.view(-1, 1, 2, 2)
        return signal(nn.Sequential(nn.Flatten(), target), images, y, config, box=box, rng=rng)

    return score


def _lawful(kinds):
    signals = {kind: METHODS[kind].signal for kind in kinds}
    if AugmentationRobustness in signals:
        signals[AugmentationRobustness] = _of_images(signals[AugmentationRobustness])
    return [pytest.param(signals[kind], EXAMPLES[kind], id=kind.__name__) for kind in kinds]


LAWFUL = _lawful(METHODS)
CONFIDENCES = _lawful([Confidence, AdversarialConfidence])  # the verified one's log-odds are scored


def _control(signal):
    mark = pytest.mark.xfail(raises=AssertionError, strict=True)
    return pytest.param(signal, Confidence(), id="negative control", marks=mark)


def test_every_method_of_the_table_is_under_the_laws():
    assert set(EXAMPLES) == set(METHODS)
    white = {kind for kind, method in METHODS.items() if method.needs is Access.MODEL}
    assert white == {AdversarialConfidence, VerifiedConfidence}


@pytest.mark.parametrize(("signal", "config"), [*LAWFUL, _control(_one_short)])
def test_law_one_number_a_row(signal, config):
    model, (x, y) = net(), rows()
    score = signal(model, x, y, config, box=UNIT, rng=seeded(0))
    assert score.shape == (9,)
    assert score.dtype == torch.float64
    assert score.isfinite().all()


@pytest.mark.parametrize(("signal", "config"), [*CONFIDENCES, _control(_in_percent)])
def test_a_confidence_is_a_probability(signal, config):
    model, (x, y) = net(), rows()
    score = signal(model, x, y, config, box=UNIT, rng=seeded(0))
    assert (score >= 0).all()
    assert (score <= 1).all()


@pytest.mark.parametrize(("signal", "config"), [*LAWFUL, _control(_rank)])
def test_law_a_row_does_not_depend_on_its_neighbours(signal, config):
    model, (x, y) = net(), rows()
    together = signal(model, x, y, config, box=UNIT, rng=seeded(0))
    alone = [signal(model, x[[i]], y[[i]], config, box=UNIT, rng=seeded(0)) for i in range(9)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("signal", "config"), LAWFUL)
def test_law_larger_means_more_likely_a_member(signal, config):
    """A model that learnt its members by heart: on average they score above the others."""
    x, y = rows(60)
    others, labels = rows(60, seed=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 128), nn.ReLU(), nn.Linear(128, 3)).double()
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(800):
        adam.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        adam.step()
    inside = signal(model, x, y, config, box=UNIT, rng=seeded(0))
    outside = signal(model, others, labels, config, box=UNIT, rng=seeded(0))
    assert inside.mean() > outside.mean()
