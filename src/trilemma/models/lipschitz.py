"""A convolution that lengthens no vector: its weights divided by a sure bound of its norm."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from trilemma.core.errors import BadInput

ROUNDING = 1e-5  # relative: more than float32 loses in the transform


class UnitConvolution(nn.Module):
    r"""A convolution whose :math:`\ell_2` sensitivity is at most 1.

    .. math:: \|(W \ast x) - (W \ast x')\|_2 \le \|x - x'\|_2

    The layer's weights are divided by `spectral_bound` at every use, in training as afterwards.

    Args:
        layer: without dilation and groups, zeros around the image.
        size: (height, width) of its input.

    Raises:
        BadInput: the layer is another one.
    """

    def __init__(self, layer: nn.Conv2d, size: tuple[int, int]) -> None:
        if layer.groups != 1 or set(layer.dilation) != {1} or layer.padding_mode != "zeros":
            raise BadInput(
                "convolution",
                f"is {layer}",
                "The bound of its norm needs one without groups and dilation, with zero padding",
            )
        super().__init__()
        self.layer = layer
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """The convolution with the divided weights."""
        layer = self.layer
        weight = layer.weight / spectral_bound(layer.weight, self.size)
        return F.conv2d(x, weight, layer.bias, layer.stride, layer.padding)


def spectral_bound(weight: Float[Tensor, "o i kh kw"], size: tuple[int, int]) -> Float[Tensor, ""]:
    r"""An upper bound of the largest singular value of a convolution with zero padding.

    .. math:: \|W\|_2 \le \max_f \sigma_{max}(\hat W(f))

    over the frequencies f of a torus of (h + kh - 1) x (w + kw - 1) places, \hat W(f) the o x i
    matrix of the kernels' Fourier coefficients. Proof: an image with zeros around it lies on that
    torus without meeting itself, and what the layer computes, at any stride and padding, are some
    of the places of the circular convolution there (the others are 0). To put an image on the torus
    keeps its length, and to leave places out lengthens nothing; the circular convolution is the
    diagonal of the \hat W(f) between two unitary transforms, so that its norm is the largest of
    theirs. At stride 1 the bound comes close for an image much larger than the kernel.

    Args:
        weight: of the layer.
        size: (h, w) of its input.

    Returns:
        A positive number, differentiable in the weights.

    Source:
        Sedghi et al., "The singular values of convolutional layers", ICLR 2019, theorem 6, for
        the circular convolution.
    """
    torus = [side + kernel - 1 for side, kernel in zip(size, weight.shape[2:], strict=True)]
    at = torch.fft.rfft2(weight, s=torus).flatten(2).permute(2, 0, 1)
    if at.shape[1] < at.shape[2]:
        at = at.mT
    gram = at.mH @ at
    square = gram.real.flatten() if gram.shape[1] == 1 else torch.linalg.eigvalsh(gram)[:, -1]
    largest: Tensor = square.amax().clamp(min=torch.finfo(weight.dtype).tiny).sqrt()
    return largest * (1 + ROUNDING)
