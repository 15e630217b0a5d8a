"""What a private training costs, which trainings can be private, and that each repeats."""

import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.optimize import brentq
from scipy.stats import norm

from trilemma.attacks.evasion import PGD
from trilemma.bounds import Interval
from trilemma.core.balls import Linf
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput, MissingExtra
from trilemma.core.generators import seeded
from trilemma.core.keys import encode
from trilemma.experiments.decode import decode
from trilemma.training import (
    L2,
    MLP,
    SGD,
    AbstractInterpretation,
    Adam,
    Adversarial,
    Checkpoint,
    Crop,
    Devices,
    DifferentialPrivacy,
    DomainAdaptation,
    FashionCNN,
    Flip,
    IntervalBoundPropagation,
    MixedAdversarial,
    Natural,
    Objective,
    Recipe,
    Spent,
    Sum,
    Validation,
    Verified,
    WideResNet,
    regress,
    train,
)
from trilemma.training.privacy import ORDERS, account_of, epsilon_of, noise_for

pytest.importorskip("opacus")

ATTACK = PGD(ball=Linf(0.1), steps=2)
NOISE = st.floats(0.3, 20)
DELTAS = st.floats(1e-9, 1e-2)
RATES = st.floats(1e-3, 0.9)


def gaussian(noise, delta):
    """The least epsilon of the Gaussian mechanism of sensitivity 1, by its characterisation.

    Balle & Wang, "Improving the Gaussian mechanism for differential privacy", ICML 2018, theorem 8.
    """

    def excess(epsilon):
        far = norm.logcdf(-1 / (2 * noise) - epsilon * noise)
        return norm.cdf(1 / (2 * noise) - epsilon * noise) - math.exp(epsilon + far) - delta

    return brentq(excess, 0, 1e4) if excess(0) > 0 else 0.0


@given(noise=NOISE, delta=DELTAS)
def test_one_step_on_all_rows_is_the_gaussian_mechanism(noise, delta):
    """Its Renyi divergence of order a is a / (2 sigma^2) (Mironov 2017, proposition 7)."""
    closed = min(
        a / (2 * noise**2) + math.log1p(-1 / a) - (math.log(delta) + math.log(a)) / (a - 1)
        for a in ORDERS
    )
    assert epsilon_of(noise, 1.0, 1, delta) == pytest.approx(max(0, closed), rel=1e-9)


@given(noise=st.floats(0.5, 10), delta=st.floats(1e-7, 1e-3))
def test_it_is_an_upper_bound_and_not_far_off(noise, delta):
    true = gaussian(noise, delta)
    assert true <= epsilon_of(noise, 1.0, 1, delta) <= 1.25 * true + 0.05


@settings(max_examples=15)
@given(noise=NOISE, rate=RATES, steps=st.integers(1, 500), delta=DELTAS)
def test_more_steps_more_rows_less_noise_less_delta_cost_more(noise, rate, steps, delta):
    cost = epsilon_of(noise, rate, steps, delta)
    assert cost >= 0
    slack = 1 + 1e-9
    assert cost <= epsilon_of(noise, rate, steps + 1, delta) * slack
    assert cost <= epsilon_of(noise, min(1.0, 1.1 * rate), steps, delta) * slack
    assert cost <= epsilon_of(noise / 1.1, rate, steps, delta) * slack
    assert cost <= epsilon_of(noise, rate, steps, delta / 2) * slack


def test_without_steps_nothing_is_spent():
    assert epsilon_of(1.0, 0.1, 0, 1e-5) == 0


def test_sampling_makes_it_cheaper():
    assert epsilon_of(1.0, 0.01, 1, 1e-5) < 0.5 * epsilon_of(1.0, 1.0, 1, 1e-5)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0, 1000.0])
def test_the_noise_of_a_declared_epsilon_keeps_it_just_so(epsilon):
    noise = noise_for(epsilon, 0.1, 100, 1e-5)
    assert 0.998 * epsilon < epsilon_of(noise, 0.1, 100, 1e-5) <= epsilon


def test_an_epsilon_that_no_noise_keeps_is_refused():
    with pytest.raises(BadInput, match=r"privacy.epsilon: 1e-09 is not to be kept over 100 steps"):
        noise_for(1e-9, 0.1, 100, 1e-5)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({}, "neither is given"),
        ({"epsilon": 1, "noise_multiplier": 1}, "both are given"),
        ({"epsilon": 0}, "greater than 0"),
        ({"noise_multiplier": 0}, "greater than or equal to 0.01"),
        ({"epsilon": 1, "delta": 1}, "less than 1"),
        ({"epsilon": 1, "clip_norm": 0}, "greater than 0"),
    ],
)
def test_a_declaration_that_promises_nothing_is_refused(given_, said):
    with pytest.raises(ValidationError, match=said):
        DifferentialPrivacy(**given_)


def test_a_delta_of_one_row_is_no_promise():
    privacy = DifferentialPrivacy(epsilon=1, delta=0.1)
    with pytest.raises(BadInput, match=r"privacy.delta: is 0.1 with 10 rows.*Give less than 0.1"):
        account_of(privacy, "DP-SGD", rows=10, batch=5, epochs=1)
    assert account_of(privacy, "DP-SGD", rows=9, batch=50, epochs=1).sampling_rate == 1


def test_rows_are_clipped_and_not_their_mean():
    with pytest.raises(ValidationError, match="clip_norm: is 1 beside privacy"):
        MLP(clip_norm=1, privacy=DifferentialPrivacy(epsilon=1))


def test_yaml_declares_it():
    table = {"kind": "SmallCNN", "privacy": {"kind": "DifferentialPrivacy", "epsilon": 4}}
    assert decode(table, Recipe).privacy == DifferentialPrivacy(epsilon=4)
    del table["privacy"]["kind"]
    assert decode(table, Recipe).privacy == DifferentialPrivacy(epsilon=4)
    assert decode({"kind": "MLP", "privacy": None}, Recipe).privacy is None


def test_the_keys_of_others_stay_as_they_were():
    assert "privacy" not in encode(MLP())
    private = encode(MLP(privacy=DifferentialPrivacy(epsilon=4)))
    assert private["privacy"]["epsilon"] == 4
    assert private["privacy"]["REVISION"] == DifferentialPrivacy.REVISION


def data(n=60, shape=(6,), classes=3):
    g = seeded(0)
    y = torch.randint(0, classes, (n,), generator=g)
    x = torch.rand(n, *shape, generator=g)
    x.flatten(1)[:, 0] = y / classes
    return Dataset(x, y)


def small(optimiser=None, *, noise=1.0, **changes):
    privacy = DifferentialPrivacy(noise_multiplier=noise, delta=1e-4)
    about = {"epochs": 4, "batch": 16, "hidden": (8,)} | changes
    return MLP(optimiser=optimiser or Adam(learning_rate=0.01), privacy=privacy, **about)


def trained(recipe, objective=None, seed=0, shape=(6,), **more):
    return train(recipe, objective or Natural(), data(shape=shape), seed, classes=3, **more)


def same(one, other):
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_what_it_cost_is_told_after_each_epoch_and_in_the_end():
    notes = []
    done = trained(small(), progress=lambda epoch, epochs, note: notes.append(note))
    costs = [epsilon_of(1.0, 16 / 60, 4 * epoch, 1e-4) for epoch in (1, 2, 3, 4)]
    assert [note.split(", ")[1] for note in notes] == [f"epsilon {cost:.2f}" for cost in costs]
    assert done.privacy == Spent(
        epsilon=costs[-1],
        delta=1e-4,
        noise_multiplier=1.0,
        clip_norm=1.0,
        sampling_rate=16 / 60,
        steps=16,
        mechanism="DP-Adam",
    )
    assert trained(small(SGD())).privacy.mechanism == "DP-SGD"
    assert trained(MLP(epochs=1)).privacy is None


def test_a_declared_epsilon_is_kept():
    recipe = MLP(epochs=3, batch=60, privacy=DifferentialPrivacy(epsilon=2, delta=1e-4))
    assert 1.99 < trained(recipe).privacy.epsilon <= 2


def test_the_plain_architecture_is_handed_back():
    private, plain = trained(small()), trained(MLP(hidden=(8,), epochs=1))
    assert private.model.state_dict().keys() == plain.model.state_dict().keys()
    assert type(private.model) is type(plain.model)
    assert not private.model.training


def test_it_learns_where_the_noise_is_small():
    done = trained(small(noise=0.01, epochs=60))
    assert done.history[-1].loss < 0.3 < done.history[0].loss


ROBUST = Adversarial(attack=ATTACK) + 1e-3 * L2()


class Stopped(Exception):
    """What a test raises where a process would be killed."""


@pytest.mark.parametrize(
    ("recipe", "shape"),
    [
        (small(), (6,)),
        (small(SGD(), dropout=0.5), (6,)),
        (
            FashionCNN(
                epochs=3,
                batch=30,
                ramp=0,
                scale=0.01,
                augmentation=(Crop(padding=1), Flip()),
                privacy=DifferentialPrivacy(noise_multiplier=0.5, delta=1e-4),
            ),
            (1, 8, 8),
        ),
    ],
)
def test_stopped_and_taken_up_again_it_ends_at_the_same_weights(recipe, shape, tmp_path):
    def stop(done, total, note):
        if done == 2:
            raise Stopped

    checkpoint = Checkpoint(tmp_path, every_seconds=0.0)
    whole = trained(recipe, ROBUST, shape=shape)
    with pytest.raises(Stopped):
        trained(recipe, ROBUST, shape=shape, checkpoint=checkpoint, progress=stop)
    seen = []
    again = trained(
        recipe,
        ROBUST,
        shape=shape,
        checkpoint=checkpoint,
        progress=lambda done, total, note: seen.append((done, note)),
    )
    assert seen[0][0] == 3
    assert same(whole, again)
    assert whole.history == again.history
    assert whole.privacy == again.privacy
    assert not same(whole, trained(recipe, ROBUST, seed=1, shape=shape))


def test_another_privacy_is_another_training(tmp_path):
    checkpoint = Checkpoint(tmp_path, every_seconds=0.0)
    trained(small(), checkpoint=checkpoint)
    with pytest.raises(BadInput, match="another training"):
        trained(small(noise=2.0), checkpoint=checkpoint)


def test_an_early_stop_is_no_discount():
    """When to stop was decided by a look at the weights, which only the whole budget allows."""
    held_out = Validation(data=data(20), attack=ATTACK, patience=1)
    done = trained(small(epochs=12), validation=held_out)
    assert len(done.history) < 12
    assert done.privacy.steps == 12 * 4


BALL = {"ball": Linf(0.1)}


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (Natural() + DomainAdaptation(attack=ATTACK), "DomainAdaptation is no mean"),
        (MixedAdversarial(attack=ATTACK, ratio=0.5), "MixedAdversarial is no mean"),
        (0.5 * (Natural() + Verified(**BALL, domain=Interval())), "Verified is no mean"),
        (AbstractInterpretation(**BALL, domain=Interval()), "AbstractInterpretation is no mean"),
        (IntervalBoundPropagation(**BALL), "IntervalBoundPropagation is no mean"),
        (2 * L2(), "no row counts in the loss"),
        (Sum(terms=(L2(), L2())), "no row counts in the loss"),
    ],
)
def test_a_term_that_couples_rows_is_refused_before_any_work(objective, said, monkeypatch):
    monkeypatch.setattr(sys.modules[train.__module__], "build", None)  # nothing is built
    with pytest.raises(BadInput, match=said):
        trained(small(), objective)


def test_a_new_term_is_refused_until_it_says_that_it_can():
    from typing import get_args

    from trilemma.training.objectives import Scaled
    from trilemma.training.objectives.term import Term

    assert not Term.BY_ROW
    assert not Term.FREE
    able = {kind.__name__ for kind in get_args(Objective) if kind.BY_ROW}
    assert able == {"Natural", "Adversarial", "DistributionalTraining", "TRADES"}
    assert {kind.__name__ for kind in get_args(Objective) if kind.FREE} == {"L1", "L2"}
    assert not Scaled.BY_ROW


def test_batch_norm_is_refused_before_any_step():
    privacy = DifferentialPrivacy(epsilon=4, delta=1e-4)
    recipe = WideResNet(scale=1, epochs=1, privacy=privacy)
    with pytest.raises(BadInput, match=r"BatchNorm2d .* normalises over the rows of a batch"):
        trained(recipe, shape=(3, 8, 8), progress=lambda *_: pytest.fail("a step was taken"))


def test_several_devices_are_refused(monkeypatch):
    monkeypatch.setattr(sys.modules[train.__module__], "build", None)
    with pytest.raises(BadInput, match="2 cannot share a private training"):
        trained(small(), devices=Devices(count=2, accelerator="cpu"))


def test_one_device_of_choice_trains_the_same():
    pytest.importorskip("lightning_fabric")
    there = trained(small(), devices=Devices(count=1, accelerator="cpu"))
    here = trained(small())
    assert same(there, here)
    assert there.privacy == here.privacy


def test_a_regression_is_not_private():
    x = torch.rand(20, 6)
    with pytest.raises(BadInput, match="privacy: is no part of a regression"):
        regress(small(), lambda out, y: (out[:, 0] - y) ** 2, x, x[:, 0], 0, outputs=1)


def test_opacus_is_asked_for_by_name_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus", None)
    with pytest.raises(MissingExtra, match=r"needs opacus.*pip install 'trilemma\[private\]'"):
        trained(small())
    assert trained(MLP(epochs=1)).privacy is None
