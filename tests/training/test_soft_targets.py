"""Soft targets: what trains on them, to what end, and what asks for labels."""

import math

import pytest
import torch
from torch import nn

from trilemma.attacks.evasion import PGD, BenignKL
from trilemma.bounds import Interval
from trilemma.core.balls import Linf
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.training import (
    MLP,
    TRADES,
    AbstractInterpretation,
    Adam,
    Adversarial,
    Batch,
    Checkpoint,
    IntervalBoundPropagation,
    MixedAdversarial,
    Natural,
    Validation,
    Verified,
    train,
)
from trilemma.training.history import uninformed

ROBUST = Adversarial(attack=PGD(ball=Linf(0.05), steps=2))


def data():
    g = seeded(0)
    return Dataset(torch.rand(40, 6, generator=g), torch.randint(0, 3, (40,), generator=g))


def weights(trained):
    return trained.model.state_dict()


def small(optimiser):
    return MLP(epochs=6, batch=16, hidden=(8,), warmup=1, ramp=1, optimiser=optimiser)


def stopped(done, total, note):
    if done == 2:
        raise InterruptedError


def test_what_an_uninformed_answer_to_soft_targets_loses():
    """The mean target is the best constant answer, and its loss the mean's entropy."""
    y = torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64)
    entropy = -(0.6 * math.log(0.6) + 0.4 * math.log(0.4))
    assert uninformed(y, 2) == pytest.approx([entropy, math.log(2)])
    constant = y.mean(0).log().expand(2, 2)
    assert nn.functional.cross_entropy(constant, y).item() == pytest.approx(entropy)


SOFT_TERMS = {
    "natural": Natural(),
    "adversarial": ROBUST,
    "TRADES": TRADES(attack=PGD(ball=Linf(0.05), steps=2, loss=BenignKL())),
    "a sum": 0.5 * Natural() + MixedAdversarial(attack=ROBUST.attack, ratio=0.5),
}


@pytest.mark.parametrize("objective", SOFT_TERMS.values(), ids=SOFT_TERMS.keys())
def test_soft_targets_that_are_labels_train_the_same_model(objective):
    rows = data()
    soft = Dataset(rows.x, nn.functional.one_hot(rows.y, 3).float())
    hard_run, soft_run = (
        train(small(Adam()), objective, each, 5, classes=3) for each in (rows, soft)
    )
    for (name, w), other in zip(weights(hard_run).items(), weights(soft_run).values(), strict=True):
        torch.testing.assert_close(w, other, rtol=1e-4, atol=1e-5, msg=name)


def test_soft_targets_are_what_the_answers_come_to():
    """The least cross-entropy is at the targets themselves."""
    wanted = torch.tensor([0.2, 0.7, 0.1])
    x = torch.eye(6)[torch.arange(36) % 6]
    telling = Dataset(x, torch.stack([wanted, wanted.flip(0)])[torch.arange(36) % 2])
    recipe = MLP(epochs=100, batch=12, hidden=(16,), optimiser=Adam(learning_rate=0.02))
    model = train(recipe, Natural(), telling, 5, classes=3).model
    torch.testing.assert_close(model(x).softmax(1), telling.y, rtol=0, atol=0.05)


def test_soft_targets_in_a_checkpoint(tmp_path):
    rows = Dataset(data().x, torch.full((40, 3), 1 / 3))
    folder, recipe = Checkpoint(tmp_path, every_seconds=0.0), small(Adam())
    whole = train(recipe, Natural(), rows, 5, classes=3)
    with pytest.raises(InterruptedError):
        train(recipe, Natural(), rows, 5, classes=3, checkpoint=folder, progress=stopped)
    resumed = weights(train(recipe, Natural(), rows, 5, classes=3, checkpoint=folder))
    assert all(torch.equal(w, resumed[name]) for name, w in weights(whole).items())


HARD_TERMS = [
    Verified(ball=Linf(0.05), domain=Interval()),
    AbstractInterpretation(ball=Linf(0.05), domain=Interval()),
    IntervalBoundPropagation(ball=Linf(0.05)),
]


@pytest.mark.parametrize("term", HARD_TERMS, ids=lambda each: type(each).__name__)
def test_terms_that_need_labels_refuse_soft_targets_by_name(term):
    rows = Dataset(torch.rand(4, 6), torch.full((4, 3), 1 / 3))
    for objective in (term, Natural() + 0.5 * term):
        with pytest.raises(BadInput, match=f"soft targets: do not fit {type(term).__name__}"):
            train(small(Adam()), objective, rows, 5, classes=3)
    model = nn.Linear(6, 3).eval()
    for strength in (0.0, 1.0):
        with pytest.raises(BadInput, match=type(term).__name__):
            term(model, Batch(rows.x, rows.y, seeded(0), strength=strength))


def test_soft_targets_do_not_tell_which_epoch_is_best():
    rows = Dataset(torch.rand(4, 6), torch.full((4, 3), 1 / 3))
    with pytest.raises(BadInput, match="validation data: have soft targets"):
        Validation(data=rows, attack=ROBUST.attack)
