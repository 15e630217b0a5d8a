"""Rows and labels: what is kept, what is converted without loss, and what is refused."""

import numpy as np
import pytest
import torch

from trilemma.core.dataset import Dataset, _check_tensors
from trilemma.core.errors import BadInput

X = torch.rand(3, 4)
WHOLE = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64]


@pytest.mark.parametrize("kind", WHOLE, ids=str)
def test_labels_of_any_width_are_kept_as_int64(kind):
    given = torch.tensor([2, 0, 1], dtype=kind)
    kept = Dataset(X, given).y
    assert kept.dtype == torch.int64
    assert kept.tolist() == [2, 0, 1]
    assert given.dtype == kind  # the argument is as it was


def test_what_fits_is_kept_as_it_is():
    y, soft = torch.tensor([2, 0, 1]), torch.eye(3)
    assert Dataset(X, y).y is y
    assert not Dataset(X, y).soft
    assert Dataset(X, soft).y is soft
    assert Dataset(X, soft).soft


@pytest.mark.parametrize("y", [torch.tensor([2, 0, 1]), torch.eye(3)], ids=["labels", "soft"])
def test_rows_are_picked_with_their_labels(y):
    some = Dataset(X, y)[torch.tensor([2, 0])]
    assert torch.equal(some.x, X[[2, 0]])
    assert torch.equal(some.y, y[[2, 0]])


LABELS = torch.tensor([0, 1, 2])
WRONG = {
    "whole inputs": (X.long(), LABELS, r"inputs are torch.int64. .*x.float\(\)"),
    "floating labels": (X, LABELS.float(), r"labels are torch.float32. .*y.long\(\)"),
    "truth values": (X, LABELS > 0, r"labels are torch.bool"),
    "a column": (X, LABELS.view(3, 1), r"labels have shape \(3, 1\). .*y.flatten\(\)"),
    "whole soft targets": (X, torch.eye(3).long(), r"soft targets are torch.int64, inputs .*32"),
    "wider soft targets": (X, torch.eye(3).double(), r"are torch.float64, inputs torch.float32"),
    "too few labels": (X, LABELS[:2], "3 inputs but 2 labels"),
    "one number": (X, torch.tensor(1), "labels are one number"),
}


@pytest.mark.parametrize(("x", "y", "said"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_refused(x, y, said):
    with pytest.raises(BadInput, match=said):
        Dataset(x, y)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (X.numpy(), LABELS, r"inputs are a numpy.ndarray. Give tensors: torch.from_numpy"),
        (X, np.arange(3), "labels are a numpy.ndarray"),
        (X, [0, 1, 2], "labels are a builtins.list"),
    ],
)
def test_what_is_no_tensor_is_refused(x, y, said):
    """By the check itself: in tests the shapes' check comes before it."""
    with pytest.raises(BadInput, match=said):
        _check_tensors(x, y)
