"""Rounding, the largest scores and temperature, by what they promise."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scores import Given, rows_of_scores, simplex
from torch import nn

from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.models import Tempered
from trilemma.oracles import Local, TopLabel
from trilemma.oracles.defences import Rounded, Softened, TopK, rounded, softened, top_k

# Rounding


@given(p=rows_of_scores(most=9), digits=st.integers(0, 9))
def test_rounded_scores_are_multiples_near_what_they_were_and_stay_when_rounded_again(p, digits):
    unit, told = 10.0**-digits, rounded(p, digits)
    units = told * 10**digits
    torch.testing.assert_close(units, units.round(), rtol=0, atol=1e-6)
    top = p.argmax(1)
    down = (p - told)[0]
    for i, each in enumerate(down.tolist()):
        if i != int(top):
            assert (
                -1e-15 <= each < unit * (2 if told[0, i] < told[0, top] - unit / 2 else 1) + 1e-15
            )
    assert -(p.shape[1] - 1) * unit - 1e-12 <= down[top].item() <= 1e-12
    assert torch.equal(rounded(told, digits), told)


def test_rounding_down_by_hand():
    p = simplex([0.46, 0.49, 0.05], [0.19, 0.29, 0.52], [1, 0, 0], [1, 1, 1])
    expected = [[0.4, 0.6, 0.0], [0.1, 0.2, 0.7], [1.0, 0.0, 0.0], [0.4, 0.3, 0.3]]
    assert rounded(p, 1).tolist() == expected
    assert rounded(simplex([0.29, 0.71]), 2).tolist() == [[0.29, 0.71]]  # 0.29 * 100 < 29


@given(p=rows_of_scores())
def test_without_a_digit_the_label_alone_is_left(p):
    inner = Given(p.shape[1])
    assert torch.equal(Rounded(inner, 0)(p), TopLabel(inner)(p))


def test_answers_of_float32_are_rounded_as_well():
    p = torch.rand(200, 10, generator=seeded(0)).softmax(1)
    for digits in range(10):
        told = rounded(p, digits)
        torch.testing.assert_close(told.sum(1), torch.ones(200, dtype=torch.float64))
        assert torch.equal(told.argmax(1), p.argmax(1))
        assert (told >= 0).all()


def test_rounding_hides_and_fewer_digits_hide_more():
    p = torch.rand(2000, 3, generator=seeded(0), dtype=torch.float64).softmax(1)
    kinds = [len(rounded(p, digits).unique(dim=0)) for digits in (0, 1, 2, 9)]
    assert kinds == sorted(kinds)
    assert (kinds[0], kinds[-1]) == (3, 2000)


# The largest alone


@given(p=rows_of_scores(most=9), k=st.integers(1, 10))
def test_the_k_largest_are_told_and_of_the_others_nothing(p, k):
    told, n = top_k(p, k), p.shape[1]
    order = sorted(range(n), key=lambda i: (-p[0, i].item(), i))
    first, others = order[:k], order[k:]
    torch.testing.assert_close(told[0, first], p[0, first])
    if others:
        share = (1 - p[0, first].sum().item()) / len(others)
        torch.testing.assert_close(
            told[0, others], torch.full((len(others),), share).double(), atol=1e-12, rtol=1e-7
        )
        lead = int(p.argmax(1))
        rest = [told[0, i].item() for i in others if i != lead]
        assert len(set(rest)) <= 1  # to the last bit


def test_all_of_them_hide_nothing():
    p = simplex([1, 2, 3], [5, 0, 1])
    for k in (3, 4):
        assert torch.equal(TopK(Given(3), k)(p), p)
    assert not torch.equal(TopK(Given(3), 1)(p), p)


# Temperature


@given(p=rows_of_scores(), temperature=st.floats(0.2, 50))
def test_probabilities_at_a_temperature_are_those_of_tempered_logits(p, temperature):
    logits = p.clamp(min=5e-324).log()
    expected = Local(Tempered(nn.Identity(), temperature), classes=p.shape[1])(logits)
    expected = expected.where(p > 0, 0.0)
    torch.testing.assert_close(softened(p, temperature), expected / expected.sum(1, keepdim=True))


@given(p=rows_of_scores())
def test_a_temperature_of_one_changes_nothing_and_heat_makes_all_alike(p):
    torch.testing.assert_close(softened(p, 1.0), p, atol=1e-15, rtol=1e-12)
    possible = (p > 0).double()
    torch.testing.assert_close(
        softened(p, 1e12), possible / possible.sum(1, keepdim=True), atol=1e-9, rtol=0
    )


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_temperature_is_refused(bad):
    with pytest.raises(BadInput, match="temperature"):
        Softened(Given(2), bad)


@pytest.mark.parametrize("bad", [-1, 10])
def test_digits_out_of_range_are_refused(bad):
    with pytest.raises(BadInput, match="digits"):
        Rounded(Given(2), bad)


def test_no_class_at_all_is_refused():
    with pytest.raises(BadInput, match="k: is 0"):
        TopK(Given(2), 0)
