"""Architectures: the published layers, and a signal that survives them."""

import pytest
import torch
from torch import nn

from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.models import block_cnn, fashion_cnn, mlp, small_cnn, yale_cnn


@pytest.fixture(autouse=True)
def _own_randomness():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def layers(network):
    """(channels, stride) of convolutions and widths of fully connected layers, in order."""
    return [
        (layer.out_channels, layer.stride[0])
        if isinstance(layer, nn.Conv2d)
        else layer.out_features
        for layer in network
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]


def test_yale_is_table_13s_first_column():
    found = layers(yale_cnn((1, 192, 168), 38))
    assert found == [(8, 1), (8, 2), (16, 1), (16, 2), (32, 1), (32, 2), (64, 1), (64, 2), 200, 38]


def test_fashion_is_table_13s_second_column():
    found = layers(fashion_cnn((1, 28, 28), 10))
    assert found == [(256, 1), (256, 1), (256, 2), (512, 1), (512, 1), (512, 2), 200, 10]


def test_scale_is_a_share_of_the_channels():
    found = layers(fashion_cnn((1, 28, 28), 10, scale=0.125))
    assert found == [(32, 1), (32, 1), (32, 2), (64, 1), (64, 1), (64, 2), 200, 10]


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (lambda shape: yale_cnn(shape, 38), (1, 96, 84)),
        (lambda shape: fashion_cnn(shape, 38, scale=0.05), (1, 28, 28)),
        (lambda shape: small_cnn(shape, 38), (1, 8, 8)),
        (lambda shape: small_cnn(shape, 38), (3, 9, 7)),
        (lambda shape: block_cnn(shape, 38, channels=(4,), convolutions=1, hidden=()), (2, 1, 1)),
        (lambda shape: mlp(shape, 38, hidden=(16, 8)), (30,)),
        (lambda shape: mlp(shape, 38, hidden=()), (1, 4, 4)),
    ],
)
def test_one_logit_a_class_for_any_shape(network, shape):
    assert network(shape)(torch.rand(5, *shape)).shape == (5, 38)


def ours():
    return yale_cnn((1, 32, 28), 10)


def torchs():
    """Negative control: the same network as torch initialises its layers."""
    network = ours()
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.reset_parameters()
    return network


@pytest.mark.parametrize(
    "make",
    [ours, pytest.param(torchs, marks=pytest.mark.xfail(raises=AssertionError, strict=True))],
)
def test_logits_at_the_start_depend_on_the_input(make):
    """A signal that dies in the layers leaves a model that cannot begin to learn."""
    x = 0.3 * torch.rand(64, 1, 32, 28, generator=seeded(0))
    assert make()(x).std(0).mean() > 0.05 * x.std(0).mean()


def test_a_row_of_a_table_is_no_image():
    with pytest.raises(BadInput, match=r"shape \(30,\).*MLP"):
        small_cnn((30,), 2)
