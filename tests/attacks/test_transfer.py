"""The transfer attack asks for labels of the shadow rows, and for nothing else."""

import pytest
import torch
from torch import nn

from trilemma.attacks.membership import (
    STATISTICS,
    TransferAttack,
    relabelled,
    statistic_signal,
    transfer_attack,
)
from trilemma.core.errors import TrilemmaError
from trilemma.core.generators import draw_seed, seeded
from trilemma.oracles import Local, Metered, TopLabel


def scene():
    torch.manual_seed(0)
    model = nn.Linear(4, 3).double()
    x, shadow = torch.rand(7, 4).double(), torch.rand(50, 4).double()
    return Local(model, classes=3), x, torch.arange(7) % 3, shadow


def nearest(data, rng):
    """A shadow model in closed form: minus the distances to the sums of the labelled rows."""
    means = torch.stack([data.x[data.y == each].sum(0) for each in range(3)])
    return lambda x: -torch.cdist(x, means)


def test_the_shadow_rows_get_the_targets_labels():
    oracle, _, _, shadow = scene()
    data = relabelled(TopLabel(oracle), shadow)
    assert torch.equal(data.y, oracle(shadow).argmax(1))
    assert torch.equal(data.x, shadow)


@pytest.mark.parametrize("kind", STATISTICS, ids=lambda kind: kind.__name__)
def test_rows_are_scored_by_the_shadow_model(kind):
    oracle, x, y, shadow = scene()
    found = transfer_attack(
        TopLabel(oracle), x, y, shadow, TransferAttack(statistic=kind()), fit=nearest, rng=seeded(0)
    )
    copy = nearest(relabelled(oracle, shadow), None)
    torch.testing.assert_close(found, statistic_signal(copy, x, y, kind()))


def test_one_query_a_shadow_row_and_none_for_the_candidates():
    oracle, x, y, shadow = scene()
    metered = Metered(TopLabel(oracle), limit=len(shadow))
    transfer_attack(metered, x, y, shadow, fit=nearest, rng=seeded(0))
    assert metered.spent == len(shadow)
    with pytest.raises(TrilemmaError):  # not one query is left
        metered(x[:1])


def test_the_shadow_model_is_trained_with_the_generator():
    oracle, x, y, shadow = scene()
    seen = []

    def noted(data, rng):
        seen.append(draw_seed(rng))
        return nearest(data, rng)

    for seed in (0, 0, 1):
        transfer_attack(oracle, x, y, shadow, fit=noted, rng=seeded(seed))
    assert seen[0] == seen[1] != seen[2]
