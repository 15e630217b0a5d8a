"""What a white-box attack is given is checked before it is used, and says what is wrong with it."""

import jaxtyping
import pytest
import torch
from torch.nn import functional as F

from trilemma.attacks.evasion import (
    APGD,
    APGDT,
    ATTACKS,
    CW100,
    DLR,
    FABT,
    FGSM,
    IFGSM,
    PGD,
    AutoAttack,
    BenignKL,
    CarliniWagner,
    Distributional,
    Margin,
    Square,
    UncertainExamples,
    pgd,
    targeted_examples,
    uncertain_examples,
)
from trilemma.core.balls import Linf
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded

BALL = Linf(0.1)
CONFIGS = [
    PGD(ball=BALL, steps=3),
    FGSM(ball=BALL),
    IFGSM(ball=BALL),
    CW100(ball=BALL),
    CarliniWagner(steps=5, binary_search_steps=2),
    Distributional(gamma=2.0),
    APGD(ball=BALL, steps=3),
    APGDT(ball=BALL, steps=3),
    FABT(ball=BALL, steps=3),
    Square(ball=BALL, queries=5),
    AutoAttack(ball=BALL),
]
CASES = [
    *(pytest.param(ATTACKS[type(each)], each, id=type(each).__name__) for each in CONFIGS),
    pytest.param(targeted_examples, PGD(ball=BALL, steps=3), id="targeted_examples"),
]
SOFT = {PGD, FGSM, IFGSM, Distributional}


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    def parts(self):
        return tuple(each for each in CONFIGS if isinstance(each, APGD | APGDT | FABT | Square))

    monkeypatch.setattr(AutoAttack, "parts", property(parts))


@pytest.fixture
def unchecked(monkeypatch):
    """No shapes are checked, as users have it."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def model(x):
    return x @ torch.tensor([[3.0, 1, 0], [0, -2, 1], [1, 1, -3]], dtype=x.dtype)


def rows(n=4):
    return torch.rand(n, 3, generator=seeded(0), dtype=torch.float64)


Y = torch.tensor([0, 1, 2, 0])


def refusal(attack, x, y, config, model=model, **others):
    with pytest.raises(BadInput) as error:
        attack(model, x, y, config, rng=seeded(0), **others)
    return str(error.value)


def test_every_white_box_attack_is_here():
    assert {type(each) for each in CONFIGS} == set(ATTACKS)


@pytest.mark.parametrize(("attack", "config"), CASES)
@pytest.mark.usefixtures("unchecked")
def test_labels_that_do_not_fit_are_refused(attack, config):
    x = rows()
    assert "got (6,) of them for 4 inputs" in refusal(attack, x, torch.cat([Y, Y[:2]]), config)
    assert "got (3,) of them for 4 inputs" in refusal(attack, x, Y[:3], config)
    assert "got () of them" in refusal(attack, x, Y[0], config)
    assert "go up to 3; the model has 3 classes: 0 to 2" in refusal(attack, x, Y + 1, config)
    assert "must be 0 or more; got -1" in refusal(attack, x, Y - 1, config)
    assert "got torch.float64 of shape (4,)" in refusal(attack, x, Y.double(), config)
    assert "got torch.bool of shape (4,)" in refusal(attack, x, Y > 0, config)
    assert "got torch.int64 of shape (4, 1)" in refusal(attack, x, Y.view(-1, 1), config)


@pytest.mark.parametrize(("attack", "config"), CASES)
@pytest.mark.usefixtures("unchecked")
def test_any_type_of_whole_numbers_will_do(attack, config):
    x = rows()
    expected = attack(model, x, Y, config, rng=seeded(0))
    for dtype in (torch.int32, torch.uint8, torch.uint16):
        found = attack(model, x, Y.to(dtype), config, rng=seeded(0))
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(("attack", "config"), CASES)
def test_weights_of_the_classes_are_labels_of_the_cross_entropy(attack, config, monkeypatch):
    x, weights = rows(), F.one_hot(Y, 3).double()
    if type(config) in SOFT and attack is not targeted_examples:
        found = attack(model, x, weights, config, rng=seeded(0))
        torch.testing.assert_close(found, attack(model, x, Y, config, rng=seeded(0)))
        assert "weigh 2 classes; the model has 3" in refusal(attack, x, weights[:, :2], config)
        weights = weights[:3]
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert refusal(attack, x, weights, config).startswith("labels: ")


@pytest.mark.usefixtures("unchecked")
def test_weights_fit_no_margin():
    x, weights = rows(), F.one_hot(Y, 3).double()
    for loss in (Margin(), DLR()):
        text = refusal(pgd, x, weights, PGD(ball=BALL, loss=loss))
        assert "must be whole numbers" in text
    pgd(model, x, weights, PGD(ball=BALL, loss=BenignKL()), rng=seeded(0))  # knows no labels


@pytest.mark.parametrize(("attack", "config"), CASES)
@pytest.mark.usefixtures("unchecked")
def test_inputs_and_models_of_another_shape_are_refused(attack, config):
    x, zeros = rows(), torch.zeros(4, dtype=torch.long)
    text = refusal(attack, x[:, 0], zeros, config)
    assert "rows of features, in 2 dimensions at least; got (4,)" in text

    def single(x):
        return x.sum(1, keepdim=True)

    def flat(x):
        return x.sum(1)

    for few in (single, flat):
        assert "logits of 2 classes at least" in refusal(attack, x, zeros, config, model=few)


def test_uncertainty_among_one_class_is_refused():
    with pytest.raises(BadInput, match="2 classes at least"):
        uncertain_examples(lambda x: x[:, :1], rows(), UncertainExamples(ball=BALL), rng=seeded(0))


@pytest.mark.parametrize(("attack", "config"), CASES)
def test_a_call_of_no_rows_is_refused(attack, config):
    for batch in (0, -1):
        assert refusal(attack, rows(), Y, config, batch=batch).startswith("batch: ")


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_loss_that_couples_rows_is_refused(n, reduction):
    def loss(logits, y):
        return F.cross_entropy(logits, y, reduction=reduction)

    text = refusal(pgd, rows()[:n], Y[:n], CONFIGS[0], loss=loss)
    assert text.startswith(f"loss: must be one number for each of {n} rows; its shape is ()")
    assert 'reduction="none"' in text


def test_a_loss_of_the_callers_knows_its_own_labels():
    """A single logit, and the labels 0 and 1."""

    def loss(logits, y):
        return F.binary_cross_entropy_with_logits(logits[:, 0], y.double(), reduction="none")

    x = torch.full((2, 3), 0.5, dtype=torch.float64)
    found = pgd(
        lambda x: x.sum(1, keepdim=True),
        x,
        torch.tensor([0, 1]),
        CONFIGS[0],
        rng=seeded(0),
        loss=loss,
    )
    torch.testing.assert_close(found[0], x[0] + 0.1)
    torch.testing.assert_close(found[1], x[1] - 0.1)
