"""How an attack's radius grows over the epochs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trilemma.training.recipes import MLP
from trilemma.training.schedule import strength

EPOCHS = st.integers(0, 60)
POWERS = st.floats(1, 8)


@given(warmup=EPOCHS, ramp=EPOCHS, power=POWERS)
def test_it_never_falls_is_nothing_in_the_warm_up_and_full_after_the_ramp(warmup, ramp, power):
    shares = [strength(e, warmup=warmup, ramp=ramp, power=power) for e in range(warmup + ramp + 2)]
    assert shares == sorted(shares)
    assert shares[:warmup] == [0] * warmup
    assert all(0 < share < 1 for share in shares[warmup:-2])
    assert shares[-2:] == [1, 1]


@given(ramp=EPOCHS, power=POWERS)
def test_a_power_is_that_of_the_way(ramp, power):
    for epoch in range(ramp + 2):
        way = strength(epoch, warmup=0, ramp=ramp)
        assert strength(epoch, warmup=0, ramp=ramp, power=power) == pytest.approx(way**power)


def test_a_recipe_says_how():
    assert [MLP(ramp=3, ramp_power=2).strength(epoch) for epoch in range(3)] == [
        1 / 16,
        1 / 4,
        9 / 16,
    ]
    with pytest.raises(ValidationError):
        MLP(ramp_power=0.5)
