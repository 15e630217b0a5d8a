"""A robust objective is trained at its full radius for an epoch at least, or not at all."""

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trilemma.attacks.evasion import PGD, BenignKL, Distributional
from trilemma.bounds import Interval
from trilemma.core.balls import Linf
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput
from trilemma.experiments.specs import experiment
from trilemma.training import (
    L1,
    L2,
    MLP,
    TRADES,
    AbstractInterpretation,
    Adversarial,
    DistributionalTraining,
    DomainAdaptation,
    IntervalBoundPropagation,
    MixedAdversarial,
    Natural,
    Verified,
    YaleCNN,
    train,
)
from trilemma.training import full_strength as room
from trilemma.training.full_strength import check_full_strength, scaled_by_strength
from trilemma.training.schedule import strength

BALL = Linf(0.1)
ATTACK = PGD(ball=BALL, steps=1)
ROBUST = (
    Adversarial(attack=ATTACK),
    MixedAdversarial(attack=ATTACK, ratio=0.5),
    DistributionalTraining(attack=Distributional(gamma=1.0)),
    TRADES(attack=PGD(ball=BALL, steps=1, loss=BenignKL())),
    Verified(ball=BALL, domain=Interval()),
    AbstractInterpretation(ball=BALL, domain=Interval()),
    IntervalBoundPropagation(ball=BALL),
    Natural() + 0.5 * DomainAdaptation(attack=ATTACK),
)
PLAIN = (Natural(), L1(), L2(), Natural() + 0.1 * (L1() + 2.0 * L2()))
epochs = st.integers(0, 12)


@pytest.mark.parametrize("objective", ROBUST, ids=lambda each: type(each).__name__)
def test_what_attacks_or_verifies_is_known_in_any_sum(objective):
    assert scaled_by_strength(objective)
    assert scaled_by_strength(Natural() + 0.5 * (L2() + 2.0 * objective))
    with pytest.raises(BadInput, match="none of the radius"):
        check_full_strength(MLP(epochs=10, warmup=10), objective)


@pytest.mark.parametrize("objective", PLAIN, ids=lambda each: type(each).__name__)
def test_what_has_no_radius_may_have_any_schedule(objective):
    assert not scaled_by_strength(objective)
    check_full_strength(MLP(epochs=1, warmup=99), objective)


@given(count=st.integers(1, 30), warmup=epochs, ramp=epochs)
def test_it_is_refused_just_where_no_epoch_is_at_full_strength(count, warmup, ramp):
    recipe = MLP(epochs=count, warmup=warmup, ramp=ramp)
    reached = any(strength(epoch, warmup=warmup, ramp=ramp) == 1 for epoch in range(count))
    if reached:
        check_full_strength(recipe, ROBUST[0])
        return
    with pytest.raises(BadInput) as caught:
        check_full_strength(recipe, ROBUST[0], "there")
    said = str(caught.value)
    assert said.startswith(f"there: epochs {count}, warmup {warmup} and ramp {ramp} reach ")
    enough = int(said.partition("Give epochs: ")[2].split()[0])
    check_full_strength(MLP(epochs=enough, warmup=warmup, ramp=ramp), ROBUST[0])


def test_a_training_is_refused_before_any_work(monkeypatch):
    data = Dataset(torch.rand(4, 1, 8, 8), torch.arange(4) % 2)
    monkeypatch.setattr(sys.modules[train.__module__], "build", None)  # nothing is built
    with pytest.raises(BadInput, match=r"recipe: epochs 10, warmup 10 and ramp 10 reach none"):
        train(YaleCNN(epochs=10), ROBUST[0], data, 0, classes=2)
    with pytest.raises(BadInput, match=r"reach 0.5 of the radius"):
        train(YaleCNN(epochs=3, warmup=2, ramp=1), ROBUST[4], data, 0, classes=2)


@pytest.mark.parametrize(
    "objective",
    [
        {"kind": "Adversarial", "attack": {"kind": "PGD", "ball": {"kind": "Linf", "radius": 0.1}}},
        {"kind": "IntervalBoundPropagation", "ball": {"kind": "Linf", "radius": 0.1}},
    ],
)
def test_a_declared_model_is_refused_by_its_path(objective):
    def spec(recipe):
        model = {"recipe": recipe, "objective": objective}
        return {"name": "x", "data": {"kind": "Digits"}, "models": {"robust": model}}

    said = r"models\.robust\.recipe: epochs 10, warmup 10 and ramp 10.*epochs: 21 or more"
    with pytest.raises(BadInput, match=said):
        experiment(spec({"kind": "YaleCNN", "epochs": 10}))
    experiment(spec({"kind": "YaleCNN", "epochs": 21}))


@pytest.mark.xfail(strict=True, reason="negative control: a term that is forgotten is noticed")
def test_a_forgotten_term_is_noticed(monkeypatch):
    monkeypatch.setattr(room, "Scaled", ())
    test_what_attacks_or_verifies_is_known_in_any_sum(ROBUST[0])
