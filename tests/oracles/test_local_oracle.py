"""What an in-process model answers, and the laws of every oracle."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.oracles import Local, Oracle, log_probabilities


def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)).double()


def rows(n=7):
    return torch.randn(n, 4, generator=seeded(1), dtype=torch.float64)


@given(logits=st.lists(st.floats(-50, 50), min_size=2, max_size=6), shift=st.floats(-100, 100))
def test_answers_are_the_softmax_of_the_logits_and_a_shift_changes_nothing(logits, shift):
    z = torch.tensor([logits], dtype=torch.float64)
    found = log_probabilities(nn.Identity(), z)
    norm = math.log(math.fsum(math.exp(each) for each in logits))
    expected = torch.tensor([[each - norm for each in logits]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_probabilities(nn.Identity(), z + shift), found)


def test_answers_are_float64_whatever_the_model_computes_in():
    assert log_probabilities(net().float(), rows().float()).dtype == torch.float64


def test_a_model_trains_on_the_answers():
    """Answers are plain tensors: a student's graph may hold them."""
    answers, student = Local(net(), classes=3)(rows()), nn.Linear(4, 3).double()
    nn.functional.cross_entropy(student(rows()), answers).backward()
    assert student.weight.grad is not None


def test_a_model_in_train_mode_is_asked_in_eval_mode_and_handed_back():
    model = net().train()
    model[0].eval()
    torch.testing.assert_close(
        Local(model, classes=3)(rows()), Local(model.eval(), classes=3)(rows())
    )
    model.train()
    log_probabilities(model, rows())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_outputs_that_are_no_numbers_are_refused(bad):
    def model(x):
        return x.masked_fill(x == x.max(), bad)

    with pytest.raises(BadInput, match=r"model outputs: 1 of 7 rows hold NaN or infinite"):
        log_probabilities(model, rows())


def test_inputs_that_are_no_numbers_are_refused():
    x = rows()
    x[3, 1] = math.nan
    with pytest.raises(BadInput, match=r"inputs: 1 of 7 rows .*row 3"):
        log_probabilities(net(), x)


def test_an_output_of_another_width_is_refused():
    with pytest.raises(BadInput, match=r"shape \(7, 3\).*must be \(7, 5\)"):
        Local(net(), classes=5)(rows())


@dataclass(frozen=True)
class Unnormalised:
    """Negative control: every answer is twice what it should be."""

    inner: Local
    classes: int = 3

    def __call__(self, x):
        return 2 * self.inner(x)


@dataclass(frozen=True)
class Neighbourly:
    """Negative control: the answer is normalised over the batch."""

    inner: Local
    classes: int = 3

    def __call__(self, x):
        p = self.inner(x - x.mean(0))
        return p / p.sum(1, keepdim=True)


def control(oracle):
    mark = pytest.mark.xfail(raises=AssertionError, strict=True)
    return pytest.param(oracle, id=type(oracle).__name__, marks=mark)


ORACLES = [
    pytest.param(Local(net(), classes=3), id="Local"),
    pytest.param(Local(net(), classes=3, batch=2), id="Local in small batches"),
]


@pytest.mark.parametrize("oracle", [*ORACLES, control(Unnormalised(Local(net(), classes=3)))])
def test_law_answers_are_distributions(oracle):
    assert isinstance(oracle, Oracle)
    x = rows()
    seen, answer = x.clone(), oracle(x)
    assert answer.shape == (7, oracle.classes)
    assert (answer >= 0).all()
    torch.testing.assert_close(answer.sum(1), torch.ones(7, dtype=answer.dtype))
    assert torch.equal(x, seen)


@pytest.mark.parametrize("oracle", [*ORACLES, control(Neighbourly(Local(net(), classes=3)))])
def test_law_a_row_does_not_depend_on_its_neighbours(oracle):
    x = rows()
    alone = torch.cat([oracle(x[[i]]) for i in range(7)])
    torch.testing.assert_close(oracle(x), alone)
    torch.testing.assert_close(oracle(x.flip(0)).flip(0), alone)
