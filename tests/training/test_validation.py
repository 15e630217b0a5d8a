"""Robust validation: the best epoch's weights are kept, no step changes, resuming ends the same."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trilemma.attacks.evasion import PGD
from trilemma.core.balls import Linf
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.training import (
    MLP,
    SGD,
    Adversarial,
    Checkpoint,
    Constant,
    Crop,
    Flip,
    MixedAdversarial,
    Natural,
    Validation,
    robust_accuracy,
    train,
)
from trilemma.training.validation import best_of, spent, stream

ATTACK = PGD(ball=Linf(0.05), steps=3)
ROBUST = Adversarial(attack=ATTACK)
WILD = SGD(learning_rate=0.5)  # so that accuracy goes up and down


def data(n=40, seed=0, shape=(6,)):
    g = seeded(seed)
    x = torch.rand(n, *shape, generator=g)
    return Dataset(x, (x.flatten(1)[:, 0] * 3).long())


HELD_OUT = Validation(data=data(60, seed=1), attack=ATTACK)


def wild(epochs=12, **changes):
    return MLP(epochs=epochs, batch=10, hidden=(16,), optimiser=WILD, course=Constant(), **changes)


def same(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_robust_accuracy_of_a_linear_model_counts_margins_above_the_reach():
    """Two classes, margin m: kept in the ball just where m exceeds 2 radius ||w||_1."""
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    model = nn.Linear(3, 2, bias=False).double()
    model.weight.data.copy_(torch.stack([-w, w]))
    x = 0.2 + 0.6 * torch.rand(200, 3, generator=seeded(0), dtype=torch.float64)
    y = torch.randint(0, 2, (200,), generator=seeded(1))
    margin = 2 * (x @ w) * (2 * y - 1)
    attack = PGD(ball=Linf(0.1), steps=20)
    found = robust_accuracy(model, Dataset(x, y), attack, rng=seeded(2))
    expected = (margin > 2 * 0.1 * w.abs().sum()).double().mean().item()
    assert 0.05 < expected < (margin > 0).double().mean() - 0.05
    assert found == pytest.approx(expected)


def test_a_row_whose_attack_fails_is_not_right():
    class Broken(nn.Module):
        """No gradient where the first feature is large."""

        def forward(self, x):
            root = (x[:, :1] - 0.5).clamp(min=0).mul(0).sqrt() * (x[:, :1] > 0.5)
            return torch.cat([1 + root + x[:, 1:2] * 0, 0 * x[:, :1]], 1)

    x = torch.tensor([[0.2, 0.1], [0.9, 0.1], [0.1, 0.3], [0.3, 0.2]])
    rows = Dataset(x, torch.zeros(4, dtype=torch.long))
    assert robust_accuracy(Broken(), rows, ATTACK, rng=seeded(0)) == 0.75


scores = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=8)


@given(scores)
def test_the_best_epoch_is_the_first_of_the_highest(found):
    assert best_of(found) == found.index(max(found))


@given(scores, st.integers(1, 4))
def test_patience_is_spent_after_so_many_epochs_without_a_better_one(found, patience):
    since = len(found) - 1 - found.index(max(found))
    assert spent(found, patience) == (since >= patience)
    assert not spent(found, None)


def test_the_weights_kept_are_those_of_the_best_epoch():
    """A training that ends at the best epoch has the same weights: the rate is constant."""
    done = train(wild(), ROBUST, data(), 5, classes=3, validation=HELD_OUT)
    found = [each.robust_accuracy for each in done.history]
    best = best_of(found)
    assert best < 11  # or the law says nothing
    shorter = train(wild(best + 1), ROBUST, data(), 5, classes=3)
    assert same(done.model, shorter.model)
    again = robust_accuracy(done.model, HELD_OUT.data, ATTACK, rng=stream("validation", 5))
    assert again == max(found)
    assert not done.model.training


def test_validation_changes_no_step():
    with_, without = (
        train(wild(), ROBUST, data(), 5, classes=3, validation=each).history
        for each in (HELD_OUT, None)
    )
    assert [each.loss for each in with_] == [each.loss for each in without]
    assert all(each.robust_accuracy is None for each in without)


def test_epochs_below_full_strength_do_not_compete():
    done = train(wild(6, warmup=2, ramp=1), ROBUST, data(), 5, classes=3, validation=HELD_OUT)
    measured = [each.robust_accuracy is not None for each in done.history]
    assert measured == [each.strength == 1 for each in done.history] == [False] * 3 + [True] * 3
    never = train(wild(3, warmup=3), Natural(), data(), 5, classes=3, validation=HELD_OUT)
    assert same(never.model, train(wild(3, warmup=3), Natural(), data(), 5, classes=3).model)


def test_patience_ends_a_training():
    patient = Validation(data=HELD_OUT.data, attack=ATTACK, patience=2)
    whole = train(wild(20), ROBUST, data(), 5, classes=3, validation=HELD_OUT)
    early = train(wild(20), ROBUST, data(), 5, classes=3, validation=patient)
    found = [each.robust_accuracy for each in whole.history]
    ends = next(n for n in range(1, 21) if spent(found[:n], 2))
    assert ends < 20
    assert early.history == whole.history[:ends]


class Stopped(Exception):
    """What a test raises where a process would be killed."""


@pytest.mark.parametrize("stop", [2, 5, 9])
def test_taken_up_again_it_ends_at_the_same_bits(tmp_path, stop):
    """With everything that draws: augmentation, dropout, a fixed part of the rows."""
    recipe = wild(10, augmentation=(Crop(padding=1), Flip()), dropout=0.2)
    objective = MixedAdversarial(attack=ATTACK, ratio=0.5)
    rows = data(shape=(1, 3, 2))
    held_out = Validation(data=data(60, 1, (1, 3, 2)), attack=ATTACK, patience=10)

    def go(**more):
        return train(recipe, objective, rows, 5, classes=3, validation=held_out, **more)

    def stopping(done, total, note):
        if done == stop:
            raise Stopped

    folder = Checkpoint(tmp_path, every_seconds=0.0)
    whole = go()
    with pytest.raises(Stopped):
        go(checkpoint=folder, progress=stopping)
    resumed = go(checkpoint=folder)
    assert resumed.history == whole.history
    assert same(resumed.model, whole.model)
    assert same(go(checkpoint=folder).model, whole.model)  # a finished one


def test_a_checkpoint_under_another_validation_is_refused(tmp_path):
    folder = Checkpoint(tmp_path, every_seconds=0.0)
    train(wild(2), ROBUST, data(), 5, classes=3, validation=HELD_OUT, checkpoint=folder)
    others = (
        None,
        Validation(data=data(60, seed=2), attack=ATTACK),
        Validation(data=HELD_OUT.data, attack=PGD(ball=Linf(0.1))),
    )
    for other in others:
        with pytest.raises(BadInput, match="another training"):
            train(wild(2), ROBUST, data(), 5, classes=3, validation=other, checkpoint=folder)


def test_streams_are_their_own():
    draws = {
        int(torch.randint(2**60, (), generator=stream(*each)))
        for each in (("standing", 0), ("standing", 1), ("validation", 0), ("validation", 1))
    }
    assert len(draws) == 4
    assert math.isfinite(stream("validation", 2**62).initial_seed())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Validation(data=data(0), attack=ATTACK), "no rows"),
        (lambda: Validation(data=data(), attack=ATTACK, patience=0), "patience: is 0"),
    ],
)
def test_validation_that_cannot_be_is_refused(make, said):
    with pytest.raises(BadInput, match=said):
        make()
