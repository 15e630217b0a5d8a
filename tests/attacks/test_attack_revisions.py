"""A stored result is found again by its method's REVISION: where the result changes, so must it.

When a test here fails and the change is meant, raise the REVISION and record the new numbers
under it.
"""

import pytest
import torch

from trilemma.attacks.evasion import (
    APGD,
    APGDT,
    ATTACKS,
    CW100,
    FABT,
    FGSM,
    IFGSM,
    PGD,
    AutoAttack,
    CarliniWagner,
    Distributional,
    L2Penalty,
    Margin,
    Square,
    UncertainExamples,
    uncertain_examples,
)
from trilemma.attacks.membership import METHODS, AdversarialConfidence, Confidence
from trilemma.core.balls import L2, Linf
from trilemma.core.box import UNIT
from trilemma.core.generators import seeded

LINF = PGD(ball=Linf(0.1), steps=3, step_size=0.02)
LINF_FROM_X = PGD(ball=Linf(0.1), steps=3, step_size=0.02, random_start=False)
EUCLIDEAN = PGD(ball=L2(0.2), steps=2, restarts=3)
MARGIN = PGD(ball=Linf(0.1), steps=3, loss=Margin(confidence=0.5))
PRICED = Distributional(gamma=200.0)
PRICED_NORM = Distributional(gamma=5.0, penalty=L2Penalty(squared=False), step_size=0.01)
UNCERTAIN = UncertainExamples(ball=Linf(0.1))

# per method, revision and settings: the sum of squares of the toy result
RECORDED = {
    (PGD, 1, LINF): 11.9087156475,
    (PGD, 1, LINF_FROM_X): 11.0553787732,
    (PGD, 1, EUCLIDEAN): 11.1382048913,
    (PGD, 1, MARGIN): 11.9859699868,
    (FGSM, 1, FGSM(ball=Linf(0.1))): 11.0853971424,
    (IFGSM, 1, IFGSM(ball=Linf(0.1))): 11.0853971424,
    (CW100, 1, CW100(ball=L2(0.2))): 11.1795025437,
    (CarliniWagner, 1, CarliniWagner(steps=20, binary_search_steps=4)): 10.9473772856,
    (Distributional, 1, PRICED): 11.0671693357,
    (Distributional, 1, PRICED_NORM): 11.929408275,
    (APGD, 1, APGD(ball=Linf(0.1), steps=10)): 11.0853971424,
    (APGD, 1, APGD(ball=L2(0.2), steps=30, restarts=2, loss=Margin())): 11.1911464742,
    (APGDT, 1, APGDT(ball=Linf(0.1), steps=10)): 11.0853971424,
    (FABT, 1, FABT(ball=Linf(0.3), steps=5)): 10.8592805819,
    (FABT, 1, FABT(ball=L2(0.9), steps=5, restarts=2)): 10.9383200316,
    (Square, 1, Square(ball=Linf(0.1), queries=40)): 11.157585131,
    (Square, 1, Square(ball=L2(0.2), queries=40, restarts=2)): 10.5376724322,
    (AutoAttack, 1, AutoAttack(ball=Linf(0.05))): 10.8579770562,
    (UncertainExamples, 1, UNCERTAIN): 10.5563771422,
    (Confidence, 1, Confidence()): 0.710484293768,
    (AdversarialConfidence, 1, AdversarialConfidence(attack=LINF)): 0.141622452732,
}


def wave(*shape):
    """Numbers in (0, 1) that no generator draws."""
    count = torch.Size(shape).numel()
    return (0.5 + 0.49 * torch.arange(count, dtype=torch.float64).mul(1.7).sin()).view(shape)


def model(x):
    return (x @ (4 * wave(5, 8) - 2)).relu() @ (6 * wave(8, 3) - 3)


def result(config):
    x, y = wave(6, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    if isinstance(config, UncertainExamples):
        return uncertain_examples(model, x, config, rng=seeded(0))
    if type(config) in ATTACKS:
        return ATTACKS[type(config)](model, x, y, config, rng=seeded(0))
    return METHODS[type(config)].signal(model, x, y, config, box=UNIT, rng=seeded(0))


def test_every_method_has_a_record_of_its_revision():
    recorded = {(kind, revision) for kind, revision, _ in RECORDED}
    assert recorded == {(kind, kind.REVISION) for kind in (*ATTACKS, *METHODS, UncertainExamples)}


@pytest.mark.parametrize(("kind", "revision", "config"), list(RECORDED))
def test_the_result_is_that_of_the_revision(kind, revision, config):
    found = result(config).square().sum().item()
    assert found == pytest.approx(RECORDED[kind, revision, config], rel=1e-9)
