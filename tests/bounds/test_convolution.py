"""Convolutions, their adjoints and the gradients of their weights are those of autograd."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trilemma.bounds.convolution import convolved, gradient, laid, transposed

LAYERS = {
    "one channel": ((1, 9, 8), nn.Conv2d(1, 4, 3, padding=1)),
    "one channel, to be filled up": ((1, 9, 7), nn.Conv2d(1, 4, 3, padding=1)),
    "two channels": ((2, 7, 6), nn.Conv2d(2, 5, 3)),
    "rectangular kernel": ((2, 8, 7), nn.Conv2d(2, 5, (2, 5), padding=(1, 0))),
    "zeros beyond the kernel": ((1, 6, 6), nn.Conv2d(1, 3, 2, padding=3)),
    "few channels, many outputs": ((3, 6, 7), nn.Conv2d(3, 20, 3, padding=1)),
    "few channels, strided": ((3, 9, 9), nn.Conv2d(3, 5, 3, stride=2)),
    "few channels, dilated": ((1, 9, 9), nn.Conv2d(1, 5, 3, dilation=2)),
    "groups": ((4, 7, 6), nn.Conv2d(4, 6, 3, groups=2)),
    "many channels": ((6, 7, 6), nn.Conv2d(6, 5, 3, stride=2, padding=1)),
    "same": ((5, 6, 6), nn.Conv2d(5, 5, 3, padding="same", dilation=2)),
    "rows and columns unseen": ((6, 8, 9), nn.Conv2d(6, 4, 2, stride=3)),
}


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("name", LAYERS)
def test_adjoints_and_gradients_are_those_of_autograd(name, last):
    shape, layer = LAYERS[name]
    weight = torch.randn(*layer.weight.shape, dtype=torch.float64, requires_grad=True)
    x = torch.randn(3, *shape, dtype=torch.float64, requires_grad=True)
    image = convolved(layer, x, weight)
    c = torch.randn_like(image)
    of_x, of_weight = torch.autograd.grad((c * image).sum(), (x, weight))
    if last:
        x, c = laid(x), laid(c)
    with torch.no_grad():
        torch.testing.assert_close(transposed(layer, c, weight, shape[1:]), of_x)
        torch.testing.assert_close(gradient(layer, x, c), of_weight)
        torch.testing.assert_close(convolved(layer, x, weight), image)


def test_channels_last_are_the_same_numbers():
    for shape in [(2, 3, 4, 5), (2, 1, 4, 5), (2, 6, 1, 4, 5), (2, 6, 3, 4, 5), (2, 3)]:
        x = torch.randn(shape)
        assert torch.equal(laid(x), x)
        assert laid(x).shape == x.shape
    assert laid(torch.randn(2, 3, 4, 5)).is_contiguous(memory_format=torch.channels_last)
    one = laid(torch.randn(2, 1, 4, 5))
    assert one.stride()[1] == 1
    assert F.conv2d(one, torch.randn(4, 1, 3, 3)).is_contiguous(memory_format=torch.channels_last)
