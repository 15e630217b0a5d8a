"""The bound of a convolution's norm, against the matrix written out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from trilemma.core.errors import BadInput
from trilemma.core.generators import global_from, seeded
from trilemma.models import UnitConvolution, spectral_bound


def convolution(seed, *settings, **named):
    with global_from(seeded(seed)):
        return nn.Conv2d(*settings, **named).double()


def norm(layer, channels, size):
    """The largest singular value of the layer's matrix."""
    units = torch.eye(channels * math.prod(size), dtype=torch.float64).view(-1, channels, *size)
    with torch.no_grad():
        constant = layer(torch.zeros_like(units[:1]))
        matrix = (layer(units) - constant).flatten(1)
    return torch.linalg.matrix_norm(matrix, 2).item()


@given(
    seed=st.integers(0, 2**32),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    size=st.tuples(st.integers(4, 6), st.integers(4, 6)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 4),
)
@settings(deadline=None, max_examples=40)
def test_no_vector_is_lengthened_by_more(seed, channels, kernel, size, stride, padding):
    layer = convolution(seed, *channels, kernel, stride=stride, padding=padding)
    bound = spectral_bound(layer.weight, size).item()
    assert norm(layer, channels[0], size) <= bound
    assert norm(UnitConvolution(layer, size), channels[0], size) <= 1


@pytest.mark.parametrize(("before", "after"), [(1, 3), (2, 3), (3, 1)])
def test_the_bound_comes_close_on_a_large_image(before, after):
    layer, size = convolution(0, before, after, 3, padding=1), (14, 12)
    assert spectral_bound(layer.weight, size).item() <= 1.1 * norm(layer, before, size)


@given(seed=st.integers(0, 2**32))
def test_it_is_the_length_of_a_kernel_of_one_place(seed):
    layer = convolution(seed, 3, 5, 1)
    expected = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
    torch.testing.assert_close(spectral_bound(layer.weight, (4, 5)), expected, rtol=2e-5, atol=0)


def test_the_frequencies_are_those_of_an_image_with_room_around_it():
    """Differences of 3 numbers in a row: 2 cos(pi / 8), over the largest on a ring of 3."""
    layer = convolution(0, 1, 1, (1, 2), padding=(0, 1))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -1.0]).view(1, 1, 1, 2))
    assert norm(layer, 1, (1, 3)) == pytest.approx(2 * math.cos(math.pi / 8))
    on_a_ring = torch.fft.fft(layer.weight.flatten(), n=3).abs().max().item()
    assert on_a_ring < 2 * math.cos(math.pi / 8) < spectral_bound(layer.weight, (1, 3)).item()


@pytest.mark.xfail(raises=AssertionError, strict=True)
def test_negative_control_the_norm_of_the_kernels_is_no_bound():
    layer = convolution(0, 1, 2, 3, padding=1)
    kernels = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
    assert norm(layer, 1, (6, 6)) <= kernels


def test_the_scale_of_the_weights_does_not_count():
    layer, x = convolution(0, 2, 3, 3, padding=1, bias=False), torch.rand(4, 2, 6, 5).double()
    before = UnitConvolution(layer, (6, 5))(x)
    with torch.no_grad():
        layer.weight.mul_(100)
    torch.testing.assert_close(UnitConvolution(layer, (6, 5))(x), before)


def test_gradients_pass_the_bound():
    layer = convolution(0, 2, 3, 3)
    assert torch.autograd.gradcheck(lambda w: spectral_bound(w, (5, 6)), layer.weight)


def test_no_weights_at_all_answer_the_bias():
    layer = convolution(0, 1, 2, 3)
    with torch.no_grad():
        layer.weight.zero_()
    x = torch.rand(2, 1, 5, 5).double()
    expected = F.conv2d(x, layer.weight, layer.bias)
    torch.testing.assert_close(UnitConvolution(layer, (5, 5))(x), expected)


@pytest.mark.parametrize(
    "named", [{"groups": 2}, {"dilation": 2}, {"padding": 1, "padding_mode": "reflect"}]
)
def test_other_convolutions_are_refused(named):
    with pytest.raises(BadInput, match="without groups and dilation"):
        UnitConvolution(nn.Conv2d(2, 2, 3, **named), (6, 6))
