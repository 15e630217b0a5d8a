"""Radii under noise as a membership signal, on a model whose distances are known."""

import pytest
import torch
from torch import nn

from trilemma.attacks.membership import SmoothedRadius, smoothed_radius
from trilemma.bounds import Smoothing
from trilemma.core.box import UNIT
from trilemma.core.generators import seeded
from trilemma.oracles import Local, TopLabel

SHARP = Smoothing(sigma=0.5, samples=20_000)


def half_spaces():
    """Two classes on both sides of a plane, and the signed distance of each row from it."""
    model = nn.Linear(3, 2).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]]))
        model.bias.copy_(torch.tensor([0.0, -2.0]))
    x = torch.rand(40, 3, generator=seeded(0), dtype=torch.float64)
    return model, x, (x @ torch.tensor([3.0, 4.0, 0.0]).double() - 2.0) / 5.0


@pytest.mark.parametrize("lower", [False, True])
def test_the_radius_of_a_half_space_is_the_distance(lower):
    model, x, distance = half_spaces()
    y = (distance > 0).long()
    config = SmoothedRadius(smoothing=SHARP, lower=lower)
    found = smoothed_radius(model, x, y, config, box=UNIT, rng=seeded(1))
    torch.testing.assert_close(found, distance.abs(), rtol=0, atol=0.05)
    if lower:  # the noise is one bank for all rows, so that they are high or low together
        assert (found <= distance.abs() + 1e-9).double().mean() > 0.9


def test_a_wrong_label_has_no_radius():
    model, x, distance = half_spaces()
    y = (distance < 0).long()
    found = smoothed_radius(model, x, y, SmoothedRadius(smoothing=SHARP), box=UNIT, rng=seeded(1))
    assert (found[distance.abs() > 0.02] == 0).all()


def test_labels_are_enough():
    model, x, distance = half_spaces()
    y, config = (distance > 0).long(), SmoothedRadius(smoothing=Smoothing(samples=100))
    oracle = TopLabel(Local(model, classes=2))
    found = [
        smoothed_radius(target, x, y, config, box=UNIT, rng=seeded(2)) for target in (model, oracle)
    ]
    assert torch.equal(*found)
