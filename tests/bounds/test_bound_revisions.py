"""A stored result is found again by its domain's REVISION: where the bounds change, so must it.

When a test here fails and the change is meant, raise the REVISION and record the new numbers
under it: `python tests/bounds/test_bound_revisions.py` prints them.
"""

from itertools import pairwise
from typing import get_args

import pytest
import torch
from torch import nn

from trilemma.bounds import (
    Crown,
    CrownIBP,
    Domain,
    Dual,
    FastLin,
    HybridZonotope,
    Interval,
    Zonotope,
    margins,
)
from trilemma.bounds.hybrid_zonotope import Smooth
from trilemma.core.balls import L2, Linf
from trilemma.core.box import UNIT

# per domain, revision, settings and ball: the digest of the toy's margins
LINF, EUCLIDEAN = Linf(0.05), L2(0.1)
RECORDED = {
    (Interval, 1, Interval(), LINF): -4.89317623336,
    (Zonotope, 1, Zonotope(), LINF): -1.33027196949,
    (HybridZonotope, 1, HybridZonotope(), LINF): -1.65312213924,
    (HybridZonotope, 1, HybridZonotope(relu=Smooth()), LINF): -1.48139961804,
    (Crown, 1, Crown(), LINF): -1.3322569247,
    (CrownIBP, 1, CrownIBP(), LINF): -1.39310713422,
    (FastLin, 1, FastLin(), EUCLIDEAN): -1.38883205443,
    (Dual, 1, Dual(projections=1), LINF): -1.33912160926,
}
SAME = 1e-9  # of what is the same number by another way


def wave(*shape):
    """Numbers in (0, 1) that no generator draws."""
    count = torch.Size(shape).numel()
    return (0.5 + 0.49 * torch.arange(count, dtype=torch.float64).mul(1.7).sin()).view(shape)


def layers():
    """Unstable in both hidden layers."""
    model = nn.Sequential(
        nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3)
    ).double()
    for each in model.parameters():
        each.data = 2 * wave(*each.shape) - 1
    return model


def result(config, ball=LINF):
    """A sum with a weight for each number."""
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    found = margins(layers(), wave(6, 5), y, ball, config, UNIT)
    return (found * wave(*found.shape)).sum().item()


def test_every_domain_has_a_record_of_its_revision():
    assert {(kind, revision) for kind, revision, *_ in RECORDED} == {
        (kind, kind.REVISION) for kind in get_args(Domain)
    }


@pytest.mark.parametrize(("kind", "revision", "config", "ball"), list(RECORDED))
def test_the_result_is_that_of_the_revision(kind, revision, config, ball):
    recorded = RECORDED[kind, revision, config, ball]
    assert result(config, ball) == pytest.approx(recorded, rel=1e-9)


def test_no_two_records_are_alike():
    assert all(b - a > SAME for a, b in pairwise(sorted(RECORDED.values())))


def test_exact_norms_parallel_lines_and_zonotopes_agree():
    """Three ways to one number; the records above are of variants that differ."""
    assert result(Dual()) == pytest.approx(result(FastLin()), rel=SAME)
    assert result(Dual()) == pytest.approx(result(Zonotope()), rel=SAME)


if __name__ == "__main__":
    for _, revision, config, ball in RECORDED:
        print(f"{revision} {config} {ball}: {result(config, ball):.12g}")
