"""A training that collapsed is told by what its loss says of the rows, whatever else it has."""

import math

import pytest
import torch
from torch import nn

from trilemma.attacks.evasion import PGD
from trilemma.core.balls import Linf
from trilemma.core.dataset import Dataset
from trilemma.core.errors import TrainingCollapsed
from trilemma.core.generators import seeded
from trilemma.training import (
    L1,
    L2,
    MLP,
    SGD,
    Adam,
    Adversarial,
    AdversarialRegularisation,
    MixedAdversarial,
    Natural,
    train,
)
from trilemma.training.history import Epoch, refuse_collapse, uninformed
from trilemma.training.objectives import by_row

ROBUST = Adversarial(attack=PGD(ball=Linf(0.05), steps=2))


def data(n=40, classes=3):
    g = seeded(0)
    return Dataset(torch.rand(n, 6, generator=g), torch.randint(0, classes, (n,), generator=g))


def small(optimiser):
    return MLP(epochs=6, batch=16, hidden=(8,), warmup=1, ramp=1, optimiser=optimiser)


def nothing_to_learn(shares, n=60):
    """Rows whose features say nothing about the class, with so many of each class."""
    y = torch.cat([torch.full((round(n * share),), k) for k, share in enumerate(shares)])
    return Dataset(torch.rand(n, 6, generator=seeded(0)), y)


@pytest.mark.parametrize("shares", [(1 / 3, 1 / 3, 1 / 3), (0.85, 0.15), (0.7, 0.2, 0.1)])
def test_a_collapse_is_noticed_at_the_entropy_of_the_labels(shares):
    """In a ball as wide as the box nothing can be told apart: their entropy is the best there is,
    ln k where they are balanced."""
    recipe = MLP(epochs=200, batch=60, hidden=(8,), optimiser=SGD(learning_rate=0.1))
    objective = Adversarial(attack=PGD(ball=Linf(1.0), steps=3))
    with pytest.raises(TrainingCollapsed, match=r"ignores the input.*warmup") as caught:
        train(recipe, objective, nothing_to_learn(shares), 5, classes=len(shares))
    entropy = -sum(share * math.log(share) for share in shares)
    assert caught.value.chance == pytest.approx(entropy)
    assert 10 <= caught.value.epoch < 200


def test_what_an_uninformed_answer_loses():
    assert uninformed(torch.tensor([0, 1, 2] * 4), 3) == pytest.approx([math.log(3)] * 2)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert uninformed(torch.tensor([1, 0, 1, 1]), 4) == pytest.approx([entropy, math.log(4)])
    assert uninformed(torch.tensor([1, 1]), 2) == pytest.approx([math.log(2)])  # 0 is no sign


def linear(weight):
    model = nn.Linear(2, 2, bias=False)
    nn.init.constant_(model.weight, 0)
    model.weight.data += weight * torch.eye(2)
    return model


def epochs(*losses, strength=1.0):
    return [Epoch(loss=loss, strength=strength, learning_rate=0.1) for loss in losses]


IDLE, LEVELS = math.log(2), (0.4227, math.log(2))


@pytest.mark.parametrize(
    ("history", "ended", "refused"),
    [
        (epochs(*[IDLE] * 10), False, True),
        (epochs(*[0.42, 0.425, IDLE, IDLE, 0.423] * 2), False, True),
        (epochs(*[0.55] * 10), True, False),  # between the two
        (epochs(*[0.41] * 10), True, False),  # below what an uninformed answer reaches
        (epochs(*[IDLE] * 9), False, False),  # may yet learn
        (epochs(IDLE, strength=0.9) + epochs(*[IDLE] * 9), False, False),
        (epochs(0.1, strength=0.9) + epochs(*[IDLE] * 9), True, True),
        (epochs(0.1, strength=0.9) + epochs(*[IDLE] * 3), True, True),
        (epochs(0.1, strength=0.9) + epochs(*[IDLE] * 3), False, False),
        (epochs(*[IDLE] * 9, strength=0.9) + epochs(*[IDLE] * 2), True, False),
        (epochs(0.7) + epochs(0.5) + epochs(*[IDLE] * 4), True, False),  # left it once
        (epochs(*[IDLE] * 5) + epochs(0.3), True, False),
        ([], True, False),
    ],
)
def test_a_collapse_is_a_loss_that_stays_and_answers_that_ignore_the_input(history, ended, refused):
    x = torch.eye(2) * 9
    if refused:
        with pytest.raises(TrainingCollapsed):
            refuse_collapse(history, linear(0), x, LEVELS, ended=ended)
    else:
        refuse_collapse(history, linear(0), x, LEVELS, ended=ended)
    # loss ln k by accident: right on some rows, as wrong on others
    refuse_collapse(history, linear(1), x, LEVELS, ended=ended)


def test_a_short_training_that_has_collapsed_is_noticed_at_its_end():
    """Each step halves the weights: every answer becomes the uniform one."""
    halving = SGD(learning_rate=0.5, momentum=0.0, weight_decay=1.0)
    recipe = MLP(epochs=9, batch=60, hidden=(4,), warmup=4, ramp=1, optimiser=halving)
    with pytest.raises(TrainingCollapsed) as caught:
        train(recipe, ROBUST, nothing_to_learn((0.5, 0.5)), 5, classes=2)
    assert caught.value.epoch == 9


ATTACK = PGD(ball=Linf(0.05), steps=1)
GAME = AdversarialRegularisation(answer=(4,), label=(4,), both=(4,))


@pytest.mark.parametrize(
    "objective",
    [
        3 * Natural(),
        Natural() + Adversarial(attack=ATTACK),
        Natural() + 3 * GAME,
        2 * (Natural() + GAME),
    ],
)
def test_a_collapse_is_noticed_whatever_else_the_loss_has(objective):
    """Rows that are all alike: the best that can be is the entropy of the labels."""
    alike = Dataset(torch.full((60, 6), 0.5), torch.arange(60) % 3)
    recipe = MLP(epochs=40, batch=60, hidden=(8,), optimiser=SGD(learning_rate=0.02))
    with pytest.raises(TrainingCollapsed) as caught:
        train(recipe, objective, alike, 5, classes=3, reference=alike)
    assert caught.value.loss == pytest.approx(math.log(3), rel=0.01)


@pytest.mark.parametrize(
    ("objective", "part"),
    [
        (Natural(), None),
        (0.4 * Natural() + 0.6 * Adversarial(attack=ATTACK), None),
        (MixedAdversarial(attack=ATTACK, ratio=0.5), None),
        (L2(), None),
        (Natural() - Natural(), None),
        (3 * Natural(), 1.0 * Natural()),
        (2 * (Natural() + GAME), 1.0 * Natural()),
        (Natural() + 0.1 * L1(), None),  # which may be meant to leave no more than that
        (
            Natural() + 3 * Adversarial(attack=ATTACK),
            0.25 * Natural() + 0.75 * Adversarial(attack=ATTACK),
        ),
    ],
)
def test_what_of_a_loss_says_how_well_rows_are_classified(objective, part):
    assert by_row(objective) == part


def test_what_of_the_loss_is_by_row_is_recorded_and_steps_are_as_they_were():
    """At weight 0 what is added moves nothing, and what is left is the loss without it."""
    plain = train(small(Adam()), ROBUST, data(), 5, classes=3)
    more = train(small(Adam()), ROBUST + 0 * GAME, data(), 5, classes=3, reference=data())
    assert [each.by_row for each in plain.history] == [None] * len(plain.history)
    assert [e.by_row for e in more.history] == pytest.approx([e.loss for e in plain.history])
    played = train(small(Adam()), ROBUST + GAME, data(), 5, classes=3, reference=data())
    assert all(each.by_row > each.loss for each in played.history)  # the gain is negative
