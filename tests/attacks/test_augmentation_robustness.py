"""Augmentation robustness: moves pixel by pixel, turns of ramps and by right angles, hits."""

import math

import pytest
import torch
from decisions import Recording
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from trilemma.attacks.membership import (
    AugmentationRobustness,
    Rotations,
    Translations,
    augmentation_hits,
    augmentation_robustness,
)
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.oracles import Local, Metered, TopLabel

BOTH = AugmentationRobustness()
Q = 1 + 4 + 2


def images(n=5, c=2, h=6, w=5, seed=0):
    return torch.rand(n, c, h, w, generator=seeded(seed), dtype=torch.float64)


def net(c=2, h=6, w=5, k=3):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(c * h * w, 8), nn.ReLU(), nn.Linear(8, k)
        ).double()


def moved(x, i, j):
    """Pixel by pixel."""
    h, w = x.shape[2:]
    out = torch.zeros_like(x)
    for row in range(h):
        for column in range(w):
            if 0 <= row - i < h and 0 <= column - j < w:
                out[:, :, row, column] = x[:, :, row - i, column - j]
    return out


@given(d=st.integers(1, 8), h=st.integers(1, 6), w=st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_translations_are_all_moves_by_d_pixels(d, h, w):
    x = images(2, 1, h, w)
    found = Translations(pixels=d).copies(x)
    ways = [(i, j) for i in range(-d, d + 1) for j in range(-d, d + 1) if abs(i) + abs(j) == d]
    assert found.shape[1] == len(ways) == 4 * d
    expected = torch.stack([moved(x, i, j) for i, j in ways], 1)

    def in_order(copies):
        return sorted(copies.transpose(0, 1).flatten(1).tolist())

    assert in_order(found) == in_order(expected)


@pytest.mark.parametrize("degrees", [90.0, 180.0])
def test_a_turn_by_a_right_angle_moves_pixels(degrees):
    x = images(h=6, w=6)
    turns = round(degrees / 90)
    found = Rotations(degrees=degrees).copies(x)
    expected = [x.rot90(turns * sign, (2, 3)) for sign in (1, -1)]
    either = [found, found.flip(1)]
    assert any(torch.allclose(each, torch.stack(expected, 1), atol=1e-12) for each in either)


@pytest.mark.parametrize(("h", "w"), [(12, 12), (8, 15), (15, 8)])
@given(degrees=st.floats(1, 45))
@settings(max_examples=10, deadline=None)
def test_a_turned_ramp_is_the_ramp_that_way(h, w, degrees):
    """Interpolation is exact for linear images, whatever the sides: no shear, no stretch."""
    down, across = torch.meshgrid(
        torch.arange(h).double() - (h - 1) / 2,
        torch.arange(w).double() - (w - 1) / 2,
        indexing="ij",
    )
    found = Rotations(degrees=degrees).copies((0.3 * down + 0.7 * across).expand(1, 1, h, w))
    angle = math.radians(degrees)
    inside = (down**2 + across**2).sqrt() <= (min(h, w) - 1) / 2
    ways = [
        0.3 * (math.cos(a) * down - math.sin(a) * across)
        + 0.7 * (math.sin(a) * down + math.cos(a) * across)
        for a in (angle, -angle)
    ]
    got = [found[0, i, 0][inside] for i in (0, 1)]
    want = [each[inside] for each in ways]
    close = [
        all(torch.allclose(g, e, atol=1e-9) for g, e in zip(got, order, strict=True))
        for order in (want, want[::-1])
    ]
    assert any(close)


def test_hits_and_their_sum_by_hand():
    """One bright pixel that a model looks for where it is: moved or turned, it is gone."""
    x = torch.zeros(2, 1, 5, 5, dtype=torch.float64)
    x[0, 0, 1, 3] = 1.0
    x[1] = 1.0

    def model(z):
        seen = z[:, 0, 1, 3] - 0.5
        return torch.stack([-seen, seen], dim=1)

    y = torch.tensor([1, 1])
    hits = augmentation_hits(model, x, y, BOTH)
    assert hits.shape == (2, Q)
    assert hits[0].tolist() == [True] + 4 * [False] + hits[0, 5:].tolist()
    assert hits[1, :5].all()
    assert torch.equal(augmentation_robustness(model, x, y, BOTH), hits.sum(1).double())
    three = AugmentationRobustness(augmentations=(Translations(pixels=3),))
    assert augmentation_hits(model, x, y, three).shape == (2, 13)
    assert not augmentation_hits(model, x, y, three)[1].all()  # what comes in is dark


@pytest.mark.parametrize(
    "low", [-2.0, torch.tensor([[[-2.0]], [[-1.0]]], dtype=torch.float64), -math.inf]
)
def test_what_comes_in_from_outside_is_dark(low):
    """The smallest valid value; 0 where there is none."""
    x = images(1)
    recorded = Recording(Local(net(), classes=3))
    box = Box(low, 1.0)
    augmentation_hits(recorded, x, torch.tensor([0]), BOTH, box=box)
    asked = torch.cat(recorded.points)
    dark = torch.as_tensor(low).double().nan_to_num(0, 0, 0).expand(2, 1, 1)
    ways = [(-1, 0), (0, -1), (0, 1), (1, 0)]
    expected = torch.cat([moved(x - dark, i, j) + dark for i, j in ways])
    torch.testing.assert_close(asked[1:5], expected)
    assert torch.equal(asked[0], x[0])
    assert torch.equal(box.clip(asked), asked)


def test_every_copy_costs_one_query_and_labels_tell_all():
    x, y = images(40), torch.arange(40) % 3
    recorded = Recording(Local(net(), classes=3))
    oracle = Metered(TopLabel(recorded), limit=40 * Q)
    found = augmentation_robustness(oracle, x, y, BOTH)
    assert oracle.spent == 40 * Q
    assert max(map(len, recorded.points)) <= 64
    assert torch.equal(found, augmentation_robustness(net(), x, y, BOTH))
    assert 0 < found.sum() < 40 * Q


def test_a_row_does_not_depend_on_its_neighbours():
    x, y = images(40), torch.arange(40) % 3
    together = augmentation_hits(net(), x, y, BOTH)
    few = torch.tensor([31, 5])
    assert torch.equal(augmentation_hits(net(), x[few], y[few], BOTH), together[few])
    assert augmentation_robustness(net(), x[:0], y[:0], BOTH).shape == (0,)


def test_what_is_wrong_is_refused():
    with pytest.raises(BadInput, match=r"shape \(3, 7\)"):
        augmentation_robustness(net(), torch.rand(3, 7), torch.zeros(3).long(), BOTH)
    with pytest.raises(BadInput, match="outside the box"):
        augmentation_robustness(net(), images() + 1, torch.zeros(5).long(), BOTH, box=UNIT)
    for wrong in ({"pixels": 0}, {"pixels": 1.5}):
        with pytest.raises(ValidationError):
            Translations(**wrong)
    with pytest.raises(ValidationError):
        Rotations(degrees=0.0)
    with pytest.raises(ValidationError):
        AugmentationRobustness(augmentations=())
