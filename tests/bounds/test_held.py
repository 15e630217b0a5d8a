"""Gradients that are written out are those of the formulas."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from trilemma.bounds.held import convolved, median_size, transposed, weighed
from trilemma.bounds.operations import Convolution

SHAPE = (2, 5, 4)


def numbers(*shape, last=False):
    x = torch.randn(*shape, dtype=torch.float64)
    if last:
        x = x.movedim(-3, -1).contiguous().movedim(-1, -3)
    return x.requires_grad_()


def convolution():
    return Convolution(nn.Conv2d(2, 3, 3, stride=2, padding=1).double(), torch.Size(SHAPE))


def held(name, w):
    """A step, and what it does written out; the shapes of what it takes."""
    reached = w.value(torch.zeros(1, *SHAPE).double()).shape[1:]
    return {
        "convolved": (
            lambda v, d: convolved(w, v, d),
            lambda v, d: w.matrix(v * d.unsqueeze(1)),
            SHAPE,
        ),
        "transposed": (
            lambda v, d: transposed(w, v, d),
            lambda v, d: w.adjoint(v * d.unsqueeze(1)),
            tuple(reached),
        ),
        "weighed": (
            weighed,
            lambda v, d: ((v * d.unsqueeze(1)).abs().flatten(2).sum(2), v),
            SHAPE,
        ),
    }[name]


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("rows", [(2, 2), (1, 2), (2, 1)], ids=str)
@pytest.mark.parametrize("name", ["convolved", "transposed", "weighed"])
def test_values_and_gradients_are_those_of_the_formula(name, rows, last):
    w = convolution()
    step, formula, shape = held(name, w)
    v = numbers(rows[0], 3, *shape, last=last)
    d = numbers(rows[1], *shape).detach().abs().requires_grad_()
    asked = [v, d] if name == "weighed" else [v, d, w.layer.weight]

    def outcome(which):
        found = which(v, d)
        found = found if isinstance(found, tuple) else (found,)
        torch.manual_seed(0)
        whole = sum((each * torch.randn(each.shape).double()).sum() for each in found)
        return [*found, *torch.autograd.grad(whole, asked)]

    for one, other in zip(outcome(step), outcome(formula), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("asked", [(True, False), (False, True)], ids=["vectors", "slopes"])
@pytest.mark.parametrize("name", ["convolved", "transposed", "weighed"])
def test_a_gradient_may_be_asked_for_alone(name, asked):
    w = convolution()
    w.layer.requires_grad_(False)
    step, _, shape = held(name, w)
    v = numbers(2, 3, *shape).requires_grad_(asked[0])
    d = (numbers(2, *shape).detach().abs() + 0.1).requires_grad_(asked[1])
    assert gradcheck(step, (v, d))


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("many", [1, 4, 5])
def test_the_median_moves_with_the_vector_that_has_it(many, last):
    v = numbers(2, many, *SHAPE, last=last)
    median, same = median_size(v)
    expected = v.abs().median(dim=1).values
    torch.testing.assert_close(median, expected)
    torch.testing.assert_close(same, v)
    weight = torch.randn_like(expected)
    (found,) = torch.autograd.grad((median * weight).sum() + (2 * same).sum(), v)
    (formula,) = torch.autograd.grad((expected * weight).sum() + (2 * v).sum(), v)
    torch.testing.assert_close(found, formula)
    median, same = median_size(v)
    (found,) = torch.autograd.grad(same.sum(), v)
    torch.testing.assert_close(found, torch.ones_like(v))


def test_second_derivatives_are_refused():
    v = numbers(1, 3, *SHAPE)
    median, _ = median_size(v)
    (once,) = torch.autograd.grad(median.square().sum(), v, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        once.sum().backward()
