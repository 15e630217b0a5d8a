"""Noise robustness: Phi(d / sigma) of a linear model, flips by brute force, rows on their own."""

import math
from itertools import product

import pytest
import torch
from decisions import ANYWHERE, Recording, right, rows, small_net
from pydantic import ValidationError

from trilemma.attacks.membership import (
    BernoulliFlips,
    GaussianNoise,
    NoiseRobustness,
    noise_robustness,
)
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput, BudgetExceeded
from trilemma.core.generators import seeded
from trilemma.oracles import Local, Metered, TopLabel

D, COPIES = 6, 3000
NOISES = [GaussianNoise(sigma=0.3), BernoulliFlips(probability=0.2)]


def plane(w, b=0.0):
    def model(x):
        margin = x.flatten(1) @ w - b
        return torch.stack([-margin, margin], dim=1)

    return Local(model, classes=2)


def phi(z):
    return (1 + torch.erf(z / math.sqrt(2))) / 2


@pytest.mark.parametrize("sigma", [0.25, 1.0])
def test_of_a_linear_model_the_share_tells_the_distance(sigma):
    """Phi(d / sigma), also where d is below 0: on the wrong side."""
    w = torch.randn(D, generator=seeded(0), dtype=torch.float64)
    d = torch.linspace(-2, 2, 17, dtype=torch.float64) * sigma
    x = torch.randn(17, D, generator=seeded(1), dtype=torch.float64)
    x = x + (d - x @ w / w.norm()).view(-1, 1) * w / w.norm()
    config = NoiseRobustness(noise=GaussianNoise(sigma=sigma), copies=COPIES)
    y = torch.ones(17, dtype=torch.long)
    found = noise_robustness(plane(w), x, y, config, box=ANYWHERE, rng=seeded(2))
    expected = phi(d / sigma)
    error = (expected * (1 - expected) / COPIES).sqrt()
    assert ((found - expected).abs() < 4.5 * error).all()
    assert ((found - phi(1.25 * d / sigma)).abs() > 4.5 * error).any()  # as it would if d were off


def test_flips_by_brute_force():
    """Over all 2^d sets of flips, each with its probability."""
    p, w = 0.15, torch.tensor([3.0, -2.0, 1.0, 1.0, -1.0, 0.5], dtype=torch.float64)
    x = torch.tensor(list(product([0.0, 1.0], repeat=D)), dtype=torch.float64)
    oracle = plane(w, b=1.1)
    y = oracle(x).argmax(1)
    flips = x.bool()
    probability = torch.where(flips, p, 1 - p).double().prod(1)
    kept = torch.stack([oracle((row.bool() ^ flips).double()).argmax(1) for row in x]) == y.view(
        -1, 1
    )
    expected = kept.double() @ probability
    config = NoiseRobustness(noise=BernoulliFlips(probability=p), copies=1000)
    found = noise_robustness(oracle, x, y, config, rng=seeded(0))
    error = (expected * (1 - expected) / 1000).sqrt()
    assert ((found - expected).abs() < 4.5 * error + 1e-12).all()


def candidates(noise, n=9):
    model, (x, _) = small_net(), rows(n)
    x = x.round() if isinstance(noise, BernoulliFlips) else x
    return model, x, right(model, x)


@pytest.mark.parametrize("copies", [1, 64, 150])
@pytest.mark.parametrize("noise", NOISES)
def test_a_row_does_not_depend_on_its_neighbours(noise, copies):
    """To the last copy: the noises are the same for all rows, however many there are."""
    model, x, y = candidates(noise)
    config = NoiseRobustness(noise=noise, copies=copies)

    def scores(index):
        return noise_robustness(model, x[index], y[index], config, rng=seeded(3))

    together = scores(torch.arange(9))
    assert torch.equal(together, scores(torch.arange(9)))
    assert torch.equal(together.flip(0), scores(torch.arange(9).flip(0)))
    assert torch.equal(together[[7]], scores([7]))
    if copies > 1:
        other = noise_robustness(model, x, y, config, rng=seeded(4))
        assert not torch.equal(together, other)


@pytest.mark.parametrize("noise", NOISES)
def test_all_copies_are_asked_about_and_none_outside_the_box(noise):
    model, x, y = candidates(noise)
    recorded = Recording(Local(model, classes=3))
    oracle = Metered(TopLabel(recorded), limit=9 * 150)
    config = NoiseRobustness(noise=noise, copies=150)
    found = noise_robustness(oracle, x, y, config, rng=seeded(3))
    asked = torch.cat(recorded.points)
    assert oracle.spent == len(asked) == 9 * 150
    assert max(map(len, recorded.points)) <= 64  # memory does not grow with rows or copies
    assert len(recorded.points) <= 1.1 * 9 * 150 / 64 + 9
    assert torch.equal(UNIT.clip(asked), asked)
    assert torch.equal(found, noise_robustness(model, x, y, config, rng=seeded(3)))
    with pytest.raises(BudgetExceeded):
        noise_robustness(Metered(oracle.inner, limit=99), x, y, config, rng=seeded(3))


def test_flips_turn_the_ends_of_any_box():
    box = Box(torch.tensor([-1.0, 2.0]), torch.tensor([1.0, 5.0]))
    x = torch.tensor([[-1.0, 5.0], [1.0, 2.0]])
    flips = torch.tensor([[True, False], [True, True]])
    found = BernoulliFlips(probability=0.5).copies(x, flips, box)
    assert found.tolist() == [[[1, 5], [1, 2]], [[-1, 2], [-1, 5]]]
    share = BernoulliFlips(probability=0.3).draw(4000, x, seeded(0)).double().mean(0)
    assert ((share - 0.3).abs() < 0.03).all()


def test_images_are_changed_pixel_by_pixel():
    """A shape of its own per row is kept; half precision, too."""
    x = torch.rand(3, 2, 4, 5, generator=seeded(0)).half()
    noise = GaussianNoise(sigma=0.5)
    bank = noise.draw(7, x, seeded(1))
    copies = noise.copies(x, bank, ANYWHERE)
    assert copies.shape == (3, 7, 2, 4, 5)
    assert copies.dtype == torch.float16
    torch.testing.assert_close(
        copies - x.unsqueeze(1), (0.5 * bank).expand_as(copies), rtol=0, atol=4e-3
    )


def test_what_is_wrong_is_refused_before_any_query():
    x, y = rows(4)
    flips = NoiseRobustness(noise=BernoulliFlips(probability=0.1))
    config = NoiseRobustness(noise=NOISES[0])
    oracle = Recording(Local(small_net(), classes=3))
    with pytest.raises(BadInput, match="of 4 rows have features between the ends"):
        noise_robustness(oracle, x, y, flips, rng=seeded(0))
    with pytest.raises(BadInput, match="outside the box"):
        noise_robustness(oracle, x + 1, y, config, rng=seeded(0))
    with pytest.raises(BadInput, match="labels"):
        noise_robustness(oracle, x, -1 - y, config, rng=seeded(0))
    assert oracle.spent == 0
    assert noise_robustness(oracle, x[:0], y[:0], config, rng=seeded(0)).shape == (0,)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (GaussianNoise, {"sigma": 0.0}),
        (BernoulliFlips, {"probability": 1.0}),
        (NoiseRobustness, {"noise": NOISES[0], "copies": 0}),
    ],
)
def test_settings_out_of_range_are_refused(kind, wrong):
    with pytest.raises(ValidationError):
        kind(**wrong)
