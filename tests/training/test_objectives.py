"""Objectives: values in closed form, their algebra, and what the terms of a sum share."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from trilemma import training
from trilemma.attacks.evasion import PGD, BenignKL, Distributional
from trilemma.bounds import Interval
from trilemma.core.balls import L2, Linf
from trilemma.core.box import Box
from trilemma.core.generators import seeded
from trilemma.training import (
    L1,
    TRADES,
    AbstractInterpretation,
    Adversarial,
    AdversarialRegularisation,
    Batch,
    DistributionalTraining,
    DomainAdaptation,
    IntervalBoundPropagation,
    MixedAdversarial,
    Natural,
    Objective,
    Scaled,
    Standing,
    Sum,
    Verified,
)

ANYWHERE = Box(-math.inf, math.inf)
ATTACK = PGD(ball=Linf(0.1), steps=3)
BALL = Linf(0.1)


class Counting(nn.Module):
    """A linear model that counts the batches it sees in train mode and in eval mode."""

    def __init__(self, d=4, k=3):
        super().__init__()
        self.layer = nn.Linear(d, k).double()
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(k, d, generator=seeded(0), dtype=torch.float64))
        self.trained = self.evaluated = 0

    def forward(self, x):
        if self.training:
            self.trained += 1
        else:
            self.evaluated += 1
        return self.layer(x)


def batch(strength=1.0, **kwargs):
    g = seeded(1)
    x = 0.9 * torch.rand(8, 4, generator=g, dtype=torch.float64)
    y, standing = torch.randint(0, 3, (8,), generator=g), Standing(torch.arange(8), 8)
    return Batch(x, y, seeded(2), strength=strength, standing=standing, **kwargs)


def test_natural_is_the_mean_negative_log_probability():
    model, b = Counting(), batch()
    p = model.layer(b.x).softmax(1).gather(1, b.y[:, None])
    torch.testing.assert_close(Natural()(model, b), -p.log().mean())


@pytest.mark.parametrize(("ball", "dual"), [(Linf, 1), (L2, 2)])
@given(strength=st.floats(0, 1), radius=st.floats(0.01, 1))
@settings(max_examples=20)
def test_adversarial_is_the_worst_case_of_a_linear_model(ball, dual, strength, radius):
    """Two classes, margin m: softplus(-(m - 2 strength radius ||w||_dual)) is the worst loss."""
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    model = nn.Linear(3, 2, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.stack([-w, w]))
    x = torch.randn(5, 3, generator=seeded(0), dtype=torch.float64)
    attack = PGD(ball=ball(radius), steps=20, step_size=radius / 2)
    b = Batch(x, torch.ones(5, dtype=torch.long), seeded(0), strength=strength, box=ANYWHERE)
    margin = 2 * (x @ w - strength * radius * w.norm(p=dual))
    expected = nn.functional.softplus(-margin).mean()
    torch.testing.assert_close(Adversarial(attack=attack)(model, b), expected, rtol=1e-3, atol=1e-9)


def test_losses_sum_subtract_and_divide():
    """As numbers do, and what is built is made of the family's own terms."""
    model, a, b = Counting(), Natural(), Adversarial(attack=ATTACK)
    one, other = a(model, batch()), b(model, batch())
    torch.testing.assert_close((a - b)(model, batch()), one - other)
    torch.testing.assert_close((a - 0.5 * b / 2)(model, batch()), one - other / 4)
    torch.testing.assert_close(sum([a, b])(model, batch()), one + other)
    assert sum([a, b]) == a + b
    assert sum([a]) is a
    assert a / 2 == 0.5 * a
    assert a - b == a + -1 * b
    assert np.float32(0.5) * a == 0.5 * a


WRONG = {
    "term + 1": lambda a: a + 1,
    "1 + term": lambda a: 1 + a,
    "term + None": lambda a: a + None,
    "term - 1": lambda a: a - 1,
    "1 - term": lambda a: 1 - a,
    "term * term": lambda a: a * a,
    "term * text": lambda a: a * "2",
    "term / term": lambda a: a / a,
    "1 / term": lambda a: 1 / a,
}


@pytest.mark.parametrize("how", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_sum_of_losses_is_pythons_own_type_error(how):
    with pytest.raises(TypeError, match=r"unsupported operand|can't multiply"):
        how(Natural())


def test_at_strength_0_adversarial_is_natural_and_attacks_nothing():
    model = Counting()
    assert Adversarial(attack=ATTACK)(model, batch(0.0)) == Natural()(model, batch())
    assert model.evaluated == 0


@given(a=st.floats(-3, 3), b=st.floats(-3, 3))
@settings(max_examples=20)
def test_losses_and_their_gradients_add_and_scale(a, b):
    model = Counting()
    losses = [
        term(model, batch())
        for term in (
            Natural(),
            Adversarial(attack=ATTACK),
            a * Natural() + Adversarial(attack=ATTACK) * b,
        )
    ]
    torch.testing.assert_close(losses[2], a * losses[0] + b * losses[1])
    grads = [torch.autograd.grad(loss, model.layer.weight)[0] for loss in losses]
    torch.testing.assert_close(grads[2], a * grads[0] + b * grads[1])


def test_sums_are_flat_and_in_the_order_written():
    natural, robust = Natural(), Adversarial(attack=ATTACK)
    assert natural + robust + natural == Sum(terms=(natural, robust, natural))
    assert natural + (robust + natural) == Sum(terms=(natural, robust, natural))
    assert 0.1 * natural == natural * 0.1 == Scaled(factor=0.1, term=natural)


def test_terms_share_forwards_and_adversarial_examples():
    model = Counting().train()
    objective = (
        Adversarial(attack=ATTACK) + Natural() + 0.5 * Adversarial(attack=ATTACK) + Natural()
    )
    objective(model, batch())
    assert model.trained == 2  # one clean, one adversarial
    assert model.evaluated == ATTACK.steps


def test_another_attack_is_another_forward():
    model = Counting().train()
    other = PGD(ball=Linf(0.2), steps=3)
    (Adversarial(attack=ATTACK) + Adversarial(attack=other))(model, batch())
    assert (model.trained, model.evaluated) == (2, 6)


def test_examples_are_made_in_the_box_and_against_the_model_in_eval_mode():
    model, b = Counting().train(), batch(box=Box(0.0, 0.95))
    adversarial = b.adversarial(model, PGD(ball=Linf(0.5)))
    assert adversarial.max() == 0.95
    assert b.adversarial(model, PGD(ball=Linf(0.5))) is adversarial  # made once
    assert model.trained == 0
    assert model.training


def test_objectives_are_values():
    assert Adversarial(attack=ATTACK) == Adversarial(attack=PGD(ball=Linf(0.1), steps=3))
    assert hash(Natural() + 2.0 * Natural()) == hash(Natural() + 2.0 * Natural())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Adversarial(), "attack"),
        (lambda: Adversarial(attack=ATTACK, alpha=0.5), "alpha"),
        (lambda: Sum(terms=()), "terms"),
        (lambda: math.nan * Natural(), "factor"),
        (lambda: Scaled(factor=1.0, term=3), "term"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, said):
    with pytest.raises(ValidationError, match=said):
        make()


# The laws of the family, for each member of the union


def _neighbourly(model, b):
    """Negative control: a sum instead of a mean, which grows with the batch."""
    return nn.functional.cross_entropy(b.logits(model), b.y, reduction="sum")


LOSSES = (
    Natural(),
    Adversarial(attack=ATTACK),
    MixedAdversarial(attack=ATTACK, ratio=0.5),
    DistributionalTraining(attack=Distributional(gamma=2.0, steps=3)),
    TRADES(attack=PGD(ball=BALL, steps=3, loss=BenignKL())),
    Verified(ball=BALL, domain=Interval()),
    AbstractInterpretation(ball=BALL, domain=Interval()),
    IntervalBoundPropagation(ball=BALL),
    0.3 * Natural(),
    Natural() + Adversarial(attack=ATTACK),
)
PENALTIES = (DomainAdaptation(attack=ATTACK), L1(), training.L2())


def named(*objectives):
    return [pytest.param(each, id=type(each).__name__) for each in objectives]


CONTROL = pytest.param(
    _neighbourly,
    id="negative control",
    marks=pytest.mark.xfail(raises=AssertionError, strict=True),
)


def test_every_objective_is_under_the_laws():
    """But for the game, whose laws are its own: `test_adversarial_regularisation`."""
    under = {type(each) for each in LOSSES + PENALTIES} | {AdversarialRegularisation}
    assert under == set(get_args(Objective))


@pytest.mark.parametrize("objective", [*named(*LOSSES), CONTROL])
def test_law_a_loss_is_the_mean_of_the_rows_losses(objective):
    model, b = Counting(), batch()
    alone = [
        objective(model, Batch(b.x[i], b.y[i], seeded(2), standing=b.standing[i]))
        for i in torch.arange(len(b.x)).split(1)
    ]
    torch.testing.assert_close(objective(model, b), torch.stack(alone).mean())


@pytest.mark.parametrize("objective", named(*LOSSES, *PENALTIES))
def test_law_a_scalar_that_reaches_the_parameters_and_changes_no_input(objective):
    model, b = Counting(), batch()
    seen = b.x.clone()
    loss = objective(model, b)
    loss.backward()
    assert loss.shape == ()
    assert model.layer.weight.grad.isfinite().all()
    assert (model.layer.bias.grad is None) == isinstance(objective, L1 | training.L2)
    assert torch.equal(b.x, seen)
    assert b.x.grad is None


@pytest.mark.parametrize("objective", named(*LOSSES, *PENALTIES))
def test_law_descending_it_lowers_it(objective):
    model = Counting()
    sgd = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for _ in range(30):
        sgd.zero_grad()
        loss = objective(model, batch())
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("objective", named(*LOSSES, *PENALTIES))
def test_law_terms_of_a_sum_change_nothing_for_each_other(objective):
    """Each sees the model, the rows and the draws that it sees alone."""
    model, others = Counting(), Natural() + L1()
    together = (others + objective)(model, batch())
    torch.testing.assert_close(together - others(model, batch()), objective(model, batch()))


@pytest.mark.parametrize("objective", named(*LOSSES))
def test_law_at_strength_0_every_loss_is_made_of_the_natural_answers(objective):
    model = Counting().train()
    objective(model, batch(0.0))
    assert (model.trained, model.evaluated) == (1, 0)
