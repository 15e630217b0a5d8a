"""In half precision, too, attacks end in the ball and the box, and where the model is wrong."""

import math

import pytest
import torch
from torch import nn

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
    CarliniWagner,
    Distributional,
    L2Penalty,
    Square,
)
from trilemma.core.balls import L2, Linf
from trilemma.core.generators import seeded

HALF = [torch.float16, torch.bfloat16]
BALLS = [Linf(0.25), L2(0.5)]
EXAMPLES = {
    PGD: lambda ball: PGD(ball=ball, steps=10),
    FGSM: lambda ball: FGSM(ball=ball),
    IFGSM: lambda ball: IFGSM(ball=ball),
    CW100: lambda ball: CW100(ball=ball),
    CarliniWagner: lambda _: CarliniWagner(steps=60),
    Distributional: lambda _: Distributional(gamma=0.1, penalty=L2Penalty(squared=False)),
    APGD: lambda ball: APGD(ball=ball, steps=10, loss=DLR()),
    APGDT: lambda ball: APGDT(ball=ball, steps=10),
    FABT: lambda ball: FABT(ball=ball, steps=10),
    Square: lambda ball: Square(ball=ball, queries=30),
    AutoAttack: lambda ball: AutoAttack(ball=ball),
}
CASES = [
    pytest.param(EXAMPLES[kind](ball), id=f"{kind.__name__}-{type(ball).__name__}")
    for kind in ATTACKS
    for ball in BALLS
]


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    def parts(self):
        return tuple(EXAMPLES[kind](self.ball) for kind in (APGD, APGDT, FABT, Square))

    monkeypatch.setattr(AutoAttack, "parts", property(parts))


def linear(dtype):
    """A model, inputs, and the labels that it gives them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Linear(6, 4).to(dtype)
    x = torch.rand(20, 6, generator=seeded(1)).to(dtype)
    return model, x, model(x).argmax(1)


def attacked(config, dtype):
    model, x, y = linear(dtype)
    return ATTACKS[type(config)](model, x, y, config, rng=seeded(0))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("config", CASES)
def test_feasible_and_as_often_wrong_as_in_single_precision(config, dtype):
    model, x, y = linear(dtype)
    adv = attacked(config, dtype)
    assert adv.dtype == dtype
    assert (adv >= 0).all()
    assert (adv <= 1).all()
    if hasattr(config, "ball"):
        norm = math.inf if isinstance(config.ball, Linf) else 2
        slack = 2 * torch.finfo(dtype).eps * math.sqrt(6)
        size = (adv.double() - x.double()).norm(p=norm, dim=1)
        assert (size <= config.ball.radius + slack).all()
    single, _, labels = linear(torch.float32)
    expected = (single(attacked(config, torch.float32)).argmax(1) != labels).sum()
    assert expected > 0
    assert abs((model(adv).argmax(1) != y).sum() - expected) <= 2  # where logits tie, of 20


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("config", [CarliniWagner(steps=60), FABT(ball=L2(3.0), steps=10)])
def test_distances_are_those_of_double_precision(config, dtype):
    _, x, _ = linear(dtype)
    half, double = attacked(config, dtype).double(), attacked(config, torch.float64)
    far = (double - linear(torch.float64)[1]).norm(dim=1)
    near = ((half - x.double()).norm(dim=1) - far).abs() < 0.03
    assert near.sum() >= 18  # where two classes are about as near, either may be found


@pytest.mark.parametrize("dtype", [*HALF, torch.float32, torch.float64])
def test_the_euclidean_ball_knows_no_smallest_gradient(dtype):
    small = torch.finfo(dtype).tiny ** (1 / 4)  # its square is a number in each type
    rows = torch.tensor([[3 * small, -4 * small], [0, 0]], dtype=dtype)
    step = L2(1.0).steepest(rows)
    torch.testing.assert_close(step.float(), torch.tensor([[0.6, -0.8], [0, 0]]), rtol=0.02, atol=0)
    assert torch.equal(L2(1.0).project(rows[1:]), rows[1:])
    short = L2(0.5).project(torch.tensor([[3.0, 4.0]], dtype=dtype))
    torch.testing.assert_close(short.float(), torch.tensor([[0.3, 0.4]]), rtol=0.02, atol=0)
