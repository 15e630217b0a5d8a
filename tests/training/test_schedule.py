"""How the learning rate and the strength go over the epochs."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trilemma.training import MLP, SGD, Adam, Constant, Cosine, FashionCNN, SmallCNN, Steps, YaleCNN
from trilemma.training.schedule import optimiser_of, rate_share, strength

counts = st.integers(0, 20)


@given(warmup=counts, ramp=counts)
def test_strength_is_0_in_the_warmup_rises_evenly_and_stays_at_1(warmup, ramp):
    course = [strength(epoch, warmup=warmup, ramp=ramp) for epoch in range(60)]
    assert course[:warmup] == [0.0] * warmup
    assert course[warmup + ramp :] == [1.0] * (60 - warmup - ramp)
    rising = course[warmup : warmup + ramp + 1]
    steps = [b - a for a, b in zip([0.0, *rising], rising, strict=False)]
    assert steps == pytest.approx([1 / (ramp + 1)] * (ramp + 1))


@given(epochs=st.integers(1, 100), floor=st.floats(0, 1))
def test_cosine_falls_from_1_towards_its_floor(epochs, floor):
    course = [rate_share(Cosine(floor=floor), epoch, epochs) for epoch in range(epochs)]
    assert course[0] == 1
    assert all(a >= b for a, b in itertools.pairwise(course))
    assert min(course) >= floor
    # point symmetry about the middle
    assert rate_share(Cosine(floor=floor), epochs, epochs) == pytest.approx(floor)
    for epoch in range(epochs):
        mirrored = rate_share(Cosine(floor=floor), epochs - epoch, epochs)
        assert course[epoch] + mirrored == pytest.approx(1 + floor)


def test_steps_multiply_where_they_stand():
    course = [rate_share(Steps(at=(2, 4), factor=0.1), epoch, 6) for epoch in range(6)]
    assert course == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_constant_stays():
    assert {rate_share(Constant(), epoch, 9) for epoch in range(9)} == {1.0}


def test_optimisers_are_torchs_with_the_settings_given():
    weight = [torch.nn.Parameter(torch.zeros(1))]
    adam = optimiser_of(Adam(learning_rate=0.2, weight_decay=0.3), weight)
    assert isinstance(adam, torch.optim.Adam)
    assert (adam.defaults["lr"], adam.defaults["weight_decay"]) == (0.2, 0.3)
    sgd = optimiser_of(SGD(learning_rate=0.2, momentum=0.5, weight_decay=0.1), weight)
    assert isinstance(sgd, torch.optim.SGD)
    settings = (sgd.defaults["lr"], sgd.defaults["momentum"], sgd.defaults["weight_decay"])
    assert settings == (0.2, 0.5, 0.1)


@pytest.mark.parametrize("kind", [SmallCNN, YaleCNN, FashionCNN, MLP])
@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"batch": 0},
        {"warmup": -1},
        {"ramp": -1},
        {"clip_norm": 0.0},
        {"optimiser": "adam"},
        {"lr": 0.1},
    ],
)
def test_settings_out_of_range_are_refused(kind, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        kind(**wrong)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (FashionCNN, {"scale": 0.0}),
        (MLP, {"hidden": (0,)}),
        (Adam, {"learning_rate": 0.0}),
        (Adam, {"weight_decay": -1.0}),
        (SGD, {"momentum": 1.0}),
        (Steps, {"at": (0,)}),
        (Cosine, {"floor": 1.1}),
    ],
)
def test_numbers_out_of_range_are_refused(kind, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        kind(**wrong)
