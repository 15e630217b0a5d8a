"""The five actions of an affine map are those of one matrix, written out here."""

import math

import pytest
import torch
from networks import NETWORKS, network
from torch import nn

from trilemma.bounds.operations import (
    Addition,
    Contrast,
    Convolution,
    Dense,
    Pooling,
    Rectifier,
    Reshaping,
)
from trilemma.bounds.tracing import read


def operations():
    """Every affine operation of the trial networks, and some that they lack, with their shapes."""
    for name in NETWORKS:
        model, x = network(name)
        read_in = read(model, x)
        shapes = [read_in.shape, *(node.shape for node in read_in.nodes)]
        for place, node in enumerate(read_in.nodes):
            if not isinstance(node.operation, Rectifier | Addition):
                title = f"{name}-{place}-{type(node.operation).__name__}"
                yield pytest.param(node.operation, shapes[node.inputs[0]], id=title)
    for number, (shape, layer) in enumerate(
        [
            ((2, 7, 6), nn.Conv2d(2, 4, 3, stride=2, padding=1)),
            ((2, 8, 6), nn.Conv2d(2, 4, 3, stride=3, dilation=2, groups=2)),
            ((1, 6, 9), nn.Conv2d(1, 2, (2, 5), stride=(2, 4), padding="valid", bias=False)),
        ]
    ):
        yield pytest.param(
            Convolution(layer.double(), torch.Size(shape)), torch.Size(shape), id=f"conv-{number}"
        )
    shape = torch.Size((2, 5, 7))
    pool = nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)
    yield pytest.param(Pooling(pool, shape), shape, id="ceiling pool")
    yield pytest.param(Dense(nn.Linear(3, 2, bias=False).double()), torch.Size((2, 3)), id="last")
    weight, bias = torch.randn(4, 3, 5).double(), torch.randn(4, 3).double()
    yield pytest.param(Contrast(weight[:1], bias[:1]), torch.Size((5,)), id="contrast for all")


def written_out(operation, shape):
    """W (t, s) and b (t,)."""
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    b = operation.value(zero)
    units = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    w = (operation.value(units) - b).flatten(1).T
    return w, b.flatten(), b.shape[1:]


@pytest.mark.parametrize(("operation", "shape"), list(operations()))
def test_the_actions_are_those_of_one_matrix(operation, shape):
    w, b, after = written_out(operation, shape)
    x = torch.randn(3, 2, *shape, dtype=torch.float64)
    c = torch.randn(3, 2, *after, dtype=torch.float64)
    flat = x.flatten(2)
    with torch.no_grad():
        for got, expected in (
            (operation.matrix(x).flatten(2), flat @ w.T),
            (operation.absolute(x[:, 0]).flatten(1), flat[:, 0] @ w.abs().T),
            (operation.adjoint(c).flatten(2), c.flatten(2) @ w),
            (operation.constant(c), c.flatten(2) @ b),
        ):
            torch.testing.assert_close(got, expected)
        squared = operation.squared(x[:, 0].abs()).flatten(1)
    expected = flat[:, 0].abs() @ w.square().T
    if isinstance(operation, Pooling):  # a bound from above
        assert (squared >= expected - 1e-12).all()
    else:
        torch.testing.assert_close(squared, expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_pass_the_adjoint(name):
    """<c, W x> = <W^T c, x>, and both have the same derivative in the weights."""
    model, x = network(name)
    for node in read(model, x).nodes:
        operation = node.operation
        if not isinstance(operation, Dense | Convolution):
            continue
        shape = operation.shape if isinstance(operation, Convolution) else (node_in(operation),)
        vector = torch.randn(1, 1, *shape, dtype=torch.float64)
        c = torch.randn(1, 1, *node.shape, dtype=torch.float64)
        weight = operation.layer.weight
        forth = torch.autograd.grad((operation.matrix(vector) * c).sum(), weight)[0]
        back = torch.autograd.grad((operation.adjoint(c) * vector).sum(), weight)[0]
        torch.testing.assert_close(forth, back)


def node_in(operation):
    return operation.layer.in_features


def test_a_contrast_of_each_row_its_own():
    weight, bias = torch.randn(4, 3, 5).double(), torch.randn(4, 3).double()
    operation, x = Contrast(weight, bias), torch.randn(4, 5).double()
    expected = torch.stack([weight[i] @ x[i] + bias[i] for i in range(4)])
    torch.testing.assert_close(operation.value(x), expected)
    c = torch.randn(4, 2, 3).double()
    torch.testing.assert_close(
        operation.adjoint(c), torch.stack([c[i] @ weight[i] for i in range(4)])
    )
    torch.testing.assert_close(
        operation.constant(c), torch.stack([c[i] @ bias[i] for i in range(4)])
    )


def test_a_reshape_goes_back():
    operation = Reshaping(torch.Size((2, 3)), torch.Size((6,)))
    x = torch.randn(2, 4, 2, 3)
    assert torch.equal(operation.adjoint(operation.matrix(x)), x)
