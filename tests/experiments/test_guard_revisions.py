"""A theft past a guard is found again by the detector's REVISION: where it changes, so must that.

When a test here fails and the change is meant, raise the REVISION and record the new numbers
under it: `python tests/experiments/test_guard_revisions.py` prints them.
"""

from typing import get_args

import pytest
import torch
from torch import nn

from trilemma.core.balls import Linf
from trilemma.experiments.guarding import guarded
from trilemma.experiments.guards import CalibratedSEAT, CalibratedWork, Detector, Encoder, Guard
from trilemma.oracles import Local
from trilemma.oracles.detectors import PRADA, Cumulative, SimilarityEncoder
from trilemma.training import MLP

ENCODER = Encoder(
    recipe=MLP(hidden=(6,), epochs=2, batch=20), loss=SimilarityEncoder(ball=Linf(0.1)), features=3
)
SEAT = CalibratedSEAT(rate=0.1, pairs=10)
GROWING = CalibratedWork(hashes=5.0, patience=3.0, pricing=Cumulative(doubling=2.0, slack=0.5))

# per detector and settings, and their revisions: what one number says of a theft
RECORDED = {
    (PRADA(least=30), 1): 732.883333,
    (SEAT, 1): 226.69439,
    (CalibratedSEAT(rate=0.1, pairs=10, encoder=ENCODER), 1): 270.313074,
    (CalibratedWork(hashes=5.0), 1): 1476.20783,
    (GROWING, 1): 1450.41237,
}


def wave(*shape):
    """Numbers in (0, 1) that no generator draws."""
    count = torch.Size(shape).numel()
    return (0.5 + 0.49 * torch.arange(count).double().mul(1.7).sin()).view(shape).float()


def told(detector):
    """What is noticed of a thief with two accounts who asks about some rows again and again."""
    victim = Local(nn.Hardtanh(0.2, 0.9), classes=4)
    guard = Guard(detector=detector, accounts=2, per_account=100)
    oracle = guarded(guard, victim, wave(120, 4), own=0.9 * wave(60, 4), seed=1)
    rows = wave(121, 4)[1::2]
    served = oracle.accounts.serve(torch.cat([rows, 1 - rows, rows + 0.01, rows]))
    found = oracle.told()
    weights = {"alarm_at": 7.0, "wrong": 11.0, "threshold": 13.0, "hashes": 3.0}
    facts = found["thief"] | {"threshold": found.get("threshold")}
    numbers = [weights.get(name, 1.0) * float(each or 0) for name, each in facts.items()]
    return served.sum().item() + sum(numbers)


def test_every_detector_has_a_record_of_its_revision():
    assert {type(config) for config, _ in RECORDED} == set(get_args(Detector))


@pytest.mark.parametrize(("detector", "revision"), list(RECORDED))
def test_the_theft_is_that_of_the_revision(detector, revision):
    assert revision == detector.REVISION
    assert told(detector) == pytest.approx(RECORDED[detector, revision], rel=1e-4)


def test_partner_a_setting_that_counts_changes_it():
    assert told(CalibratedSEAT(rate=0.2, pairs=10)) != told(SEAT)
    assert told(CalibratedWork(hashes=6.0)) != told(CalibratedWork(hashes=5.0))


if __name__ == "__main__":
    for each, revision in RECORDED:
        print(f"{revision} {each}: {told(each):.9g}")
