"""Architectures: the published layers, and a signal that survives them."""

from functools import partial

import pytest
import torch
from torch import nn

from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.models import (
    block_cnn,
    fashion_cnn,
    mlp,
    plain_resnet,
    small_cnn,
    wide_resnet,
    yale_cnn,
)
from trilemma.models.residual import PlainUnit, WideUnit


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


@pytest.mark.parametrize("scale", [1, 4, 16])
def test_the_capacity_scale_of_yale_is_figure_4s(scale):
    found = layers(yale_cnn((1, 16, 16), 38, scale=scale))
    assert [channels for channels, _ in found[:-2:2]] == [scale, 2 * scale, 4 * scale, 8 * scale]


@pytest.mark.parametrize(
    ("network", "shape", "side"),
    [
        (yale_cnn, (1, 192, 168), 192),
        (yale_cnn, (1, 96, 84), 96),
        (yale_cnn, (1, 33, 50), 64),
        (yale_cnn, (1, 16, 16), 16),
        (fashion_cnn, (1, 28, 28), 28),
        (fashion_cnn, (1, 27, 28), 28),
    ],
)
def test_kernels_of_4_halve_a_square_evenly(network, shape, side):
    """Each output place of a kernel with stride 2 then belongs to two input places."""
    scaled = {"scale": 1} if network is yale_cnn else {"scale": 0.01}
    with torch.device("meta"):
        x, sides = torch.rand(1, *shape), []
        for layer in network(shape, 38, halving=4, **scaled):
            x, before = layer(x), x.shape[2:]
            if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
                assert layer.kernel_size == (4, 4)
                assert (2 * x.shape[2], 2 * x.shape[3]) == before
                sides.append(before)
    assert sides[0] == (side, side)


def test_zeros_are_put_evenly_around_the_image():
    padding = yale_cnn((1, 18, 11), 3, scale=1, halving=4)[0]
    x = torch.rand(2, 1, 18, 11)
    padded = padding(x)
    assert padded.shape == (2, 1, 32, 32)
    assert torch.equal(padded[:, :, 7:25, 10:21], x)
    assert padded.count_nonzero() == x.count_nonzero()


def test_no_zeros_where_none_are_needed():
    assert isinstance(fashion_cnn((1, 28, 28), 10, scale=0.01, halving=4)[0], nn.Conv2d)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (lambda shape: yale_cnn(shape, 38), (1, 96, 84)),
        (lambda shape: yale_cnn(shape, 38, halving=4), (1, 20, 30)),
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


def test_the_wide_network_is_table_13s_third_column():
    """Res c-n: n units of c channels; the first unit of the later groups halves the image."""
    network = wide_resnet((3, 32, 32), 10, scale=10, units=5)
    units = [layer for layer in network if isinstance(layer, WideUnit)]
    assert [unit.first.out_channels for unit in units] == [160] * 5 + [320] * 5 + [640] * 5
    halved = [i for i, unit in enumerate(units) if unit.first.stride == (2, 2)]
    assert halved == [5, 10]
    assert network[-1].in_features == 640


def test_the_capacity_scale_multiplies_the_channels():
    units = [each for each in wide_resnet((3, 8, 8), 4, scale=2, units=1) if hasattr(each, "first")]
    assert [unit.first.out_channels for unit in units] == [32, 64, 128]


@pytest.mark.parametrize("network", [WideUnit(4, 4, 1), PlainUnit(4, 4, halving=False)])
def test_a_residual_unit_hands_its_input_on(network):
    """With its last convolution at 0 nothing but the shortcut is left."""
    with torch.no_grad():
        network.second.weight.zero_()
        if network.second.bias is not None:
            network.second.bias.zero_()
    x = torch.rand(3, 4, 6, 6)
    torch.testing.assert_close(network.eval()(x), x)


def test_the_plain_resnet_halves_evenly_or_says_so():
    network = plain_resnet((3, 16, 8), 5, hidden=7)
    assert network(torch.rand(2, 3, 16, 8)).shape == (2, 5)
    assert network[-3].in_features == 64 * 4 * 2
    with pytest.raises(BadInput, match="divisible by 4"):
        plain_resnet((3, 18, 8), 5)


@pytest.mark.parametrize("network", [wide_resnet, plain_resnet])
def test_residual_networks_take_images(network):
    with pytest.raises(BadInput, match="takes images"):
        network((30,), 2)


@pytest.mark.parametrize("network", [partial(wide_resnet, scale=1), plain_resnet])
def test_the_signal_survives_many_layers(network):
    """As it is at the first step of a training, where batch norm knows its batch only."""
    with torch.no_grad():
        spread = network((3, 32, 32), 10)(torch.rand(16, 3, 32, 32)).std()
    assert 0.05 < spread < 50
