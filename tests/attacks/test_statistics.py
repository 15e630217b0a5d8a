"""Statistics of answers, written out here, and the same from NumPy arrays."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trilemma.attacks.membership.statistics import (
    STATISTICS,
    Entropy,
    Loss,
    MaxConfidence,
    ModifiedEntropy,
    statistic,
    statistic_signal,
)
from trilemma.experiments import responses
from trilemma.oracles import Local, TopLabel

logits = st.lists(st.floats(-30, 30), min_size=2, max_size=5)


def written_out(p, y):
    """Of one answer: each statistic, larger for members."""
    product = lambda a, b: a * math.log(b) if a else 0.0  # noqa: E731
    others = sum(product(q, 1 - q) for i, q in enumerate(p) if i != y)
    return {
        Loss: math.log(p[y]) if p[y] else -math.inf,
        MaxConfidence: math.log(max(p)),
        Entropy: sum(product(q, q) for q in p) / math.log(len(p)),
        ModifiedEntropy: product(1 - p[y], p[y]) + others,
    }


@given(logits=st.lists(st.floats(-6, 6), min_size=2, max_size=5), y=st.integers(0, 1))
def test_statistics_are_as_written_out(logits, y):
    answers = torch.tensor([logits], dtype=torch.float64).log_softmax(1)
    expected = written_out(answers.exp()[0].tolist(), y)
    for kind in STATISTICS:
        found = statistic(answers, torch.tensor([y]), kind()).item()
        assert found == pytest.approx(expected[kind], rel=1e-6, abs=1e-9)


@given(logits=logits, y=st.integers(0, 1), certain=st.booleans())
def test_arrays_give_the_same(logits, y, certain):
    answers = torch.tensor([logits], dtype=torch.float64).log_softmax(1)
    if certain:
        answers = torch.full_like(answers, -math.inf)
        answers[0, 1] = 0.0
    arrays = {"log_probabilities": answers.numpy(), "label": np.array([y])}
    plain = {"probabilities": answers.exp().numpy(), "label": np.array([y])}
    for kind in STATISTICS:
        found = statistic(answers, torch.tensor([y]), kind()).numpy()
        assert not np.isnan(found).any()
        np.testing.assert_allclose(responses.statistic(arrays, kind.__name__), found)
        again = responses.statistic(plain, kind.__name__)
        np.testing.assert_allclose(again, found, rtol=1e-3, atol=1e-9)


def test_every_statistic_has_its_array_form():
    assert {kind.__name__ for kind in STATISTICS} == set(responses.STATISTICS)


def test_confidences_alone_have_no_statistics():
    assert responses.statistic({"confidence": np.ones(2), "label": np.zeros(2)}, "Entropy") is None


def test_sure_and_right_is_the_most_of_a_member():
    rows = [[0.0, -math.inf], [-math.inf, 0.0], [math.log(0.5)] * 2]
    sure = torch.tensor(rows, dtype=torch.float64)
    y = torch.zeros(3, dtype=torch.int64)
    assert statistic(sure, y, Loss()).tolist() == [0.0, -math.inf, math.log(0.5)]
    assert statistic(sure, y, ModifiedEntropy()).argsort().tolist() == [1, 2, 0]
    # those that do not look at the label cannot tell the first from the second
    for kind in (MaxConfidence, Entropy):
        found = statistic(sure, y, kind())
        assert found[0] == found[1] > found[2]


def test_models_and_oracles_are_asked():
    model = nn.Linear(4, 3).double()
    x, y = torch.rand(5, 4).double(), torch.tensor([0, 1, 2, 0, 1])
    for kind in STATISTICS:
        white = statistic_signal(model, x, y, kind())
        black = statistic_signal(Local(model, classes=3), x, y, kind())
        torch.testing.assert_close(white, black)
    labels = TopLabel(Local(model, classes=3))
    right = model(x).argmax(1) == y
    found = statistic_signal(labels, x, y, Loss())
    assert torch.equal(found == 0, right)  # from labels alone it is the gap attack
