"""The gap attack: accuracy, and nothing else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trilemma.attacks.membership import Gap, gap
from trilemma.attacks.membership.labels import asked
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.oracles import Local, Metered, TopLabel


@given(seed=st.integers(0, 2**32 - 1))
def test_it_is_whether_the_first_most_probable_class_is_the_true_one(seed):
    x = torch.randint(0, 3, (20, 4), generator=seeded(seed)).double()  # with ties
    y = torch.randint(0, 4, (20,), generator=seeded(seed))
    expected = [
        float(row.index(max(row)) == label) for row, label in zip(x.tolist(), y, strict=True)
    ]
    assert gap(nn.Identity(), x, y).tolist() == expected


@given(inside=st.integers(0, 20), outside=st.integers(0, 20))
def test_its_advantage_is_the_gap_of_the_accuracies(inside, outside):
    """AUC = 1/2 + (accuracy on members - accuracy on others) / 2."""
    x = torch.eye(2, dtype=torch.float64)[torch.zeros(20, dtype=torch.long)]

    def scores(hits):
        return gap(nn.Identity(), x, (torch.arange(20) >= hits).long())

    sign = (scores(inside).view(-1, 1) - scores(outside)).sign()
    assert 0.5 + sign.mean().item() / 2 == pytest.approx(0.5 + (inside - outside) / 40)


def test_it_costs_one_query_a_row_and_hears_labels_alone():
    x, y = torch.rand(7, 3, generator=seeded(0)), torch.arange(7) % 3
    oracle = Metered(TopLabel(Local(nn.Identity(), classes=3)), limit=7)
    assert torch.equal(gap(oracle, x, y), gap(nn.Identity(), x, y))
    assert oracle.spent == 7
    assert Gap() == Gap()


def test_a_model_is_asked_how_many_classes_it_knows():
    assert asked(nn.Identity(), torch.rand(3, 5)).classes == 5
    oracle = Local(nn.Identity(), classes=2)
    assert asked(oracle, torch.rand(3, 5)) is oracle


def test_labels_that_are_none_are_refused():
    with pytest.raises(BadInput, match="labels"):
        gap(nn.Identity(), torch.rand(3, 2), torch.tensor([0, -1, 1]))
