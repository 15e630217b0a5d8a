"""PixelDP: a network with a noise layer, whose expected scores move little where the input does."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, fx, nn

from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.core.types import Logits, Rows
from trilemma.models.lipschitz import UnitConvolution


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class PixelDP:
    r"""Gaussian noise on the input or behind the first convolution (PixelDP).

    What the noise layer hands on is (eps, delta)-differentially private with respect to changes of
    the input of :math:`\ell_2` norm up to L:

    .. math:: \sigma = \sqrt{2 \ln(1.25 / \delta)} \Delta L / \epsilon

    The sensitivity Delta of what stands before the noise is 1: nothing does, or a convolution whose
    weights are divided by a bound of its norm. Song et al. 2019 take L = 0.1 (appendix E).

    Args:
        budget: L, in the inputs' own unit.
        eps: of the differential privacy; up to 1, where the equation holds.
        delta: of the differential privacy.
        draws: of noise, over which the scores of an answer are averaged.
        after_convolution: noise behind the first convolution instead of on the input.

    Source:
        Lecuyer et al., "Certified robustness to adversarial examples with differential privacy",
        IEEE S&P 2019, sections III-B and III-C.

    Example:
        >>> round(PixelDP(budget=0.1, eps=1.0, delta=0.05).sigma, 4)
        0.2537
    """

    REVISION: ClassVar[int] = 1

    budget: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    eps: Annotated[float, Field(gt=0, le=1)] = 1.0
    delta: Annotated[float, Field(gt=0, lt=1)] = 0.05
    draws: Annotated[int, Field(ge=1)] = 25
    after_convolution: bool = False

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise."""
        return math.sqrt(2 * math.log(1.25 / self.delta)) * self.budget / self.eps


class NoisyNetwork(nn.Module):
    """A network with Gaussian noise inside: h(g(x) + N(0, sigma^2)).

    In train mode each row gets one draw, from torch's global generator. In eval mode the answer is
    the logarithm of the mean of the softmax over a bank of draws, the same for all rows and all
    questions: it is a function of the row and the weights, and it has gradients. The bank comes
    from a seed that is part of the state; who knows it may fit an input to it, which
    `trilemma.models.certified` rules out by fresh draws.

    Args:
        before: g, of sensitivity 1.
        after: h, logits out.
        config: how much noise, and how many draws; the seed of the bank is drawn from torch's
            global generator.
    """

    seed: Tensor

    def __init__(self, before: nn.Module, after: nn.Module, config: PixelDP) -> None:
        super().__init__()
        self.before, self.after = before, after
        self.sigma, self.draws = config.sigma, config.draws
        self.register_buffer("seed", torch.randint(2**62, ()))

    def forward(self, x: Any) -> Tensor:
        """Logits of one draw in train mode, log of the mean probabilities in eval mode."""
        if isinstance(x, fx.Proxy):
            raise BadInput("noise", "is no layer with bounds", "`certified` says what is sure")
        if self.training:
            inside = self.before(x)
            logits: Tensor = self.after(inside + self.sigma * torch.randn_like(inside))
            return logits
        each = [logits.log_softmax(1) for logits in self.drawn(x, int(self.seed), self.draws)]
        return torch.stack(each).logsumexp(0) - math.log(self.draws)

    def drawn(self, x: Rows, seed: int, draws: int) -> Iterator[Logits]:
        """The logits under each draw of a bank.

        Args:
            x: (n, *s) inputs.
            seed: of the bank.
            draws: how many.
        """
        inside = self.before(x)
        rng = seeded(seed)
        for _ in range(draws):
            noise = torch.randn(inside.shape[1:], generator=rng).to(inside)
            yield self.after(inside + self.sigma * noise)


def noisy(network: nn.Sequential, shape: Sequence[int], config: PixelDP) -> NoisyNetwork:
    """The same layers and weights with a noise layer.

    Args:
        network: logits out.
        shape: of one input.
        config: where, and how much.

    Raises:
        BadInput: the noise is to stand behind a convolution, and the network begins with none.
    """
    if not config.after_convolution:
        return NoisyNetwork(nn.Identity(), network, config)
    layers = list(network)
    first = next((i for i, layer in enumerate(layers) if not isinstance(layer, nn.ZeroPad2d)), 0)
    convolution = layers[first]
    if not isinstance(convolution, nn.Conv2d):
        raise BadInput(
            "noise.after_convolution",
            f"the network begins with {type(convolution).__name__}, with no convolution",
            "Take false: noise on the input",
        )
    padding = nn.Sequential(*layers[:first])
    _, _, height, width = padding(torch.zeros(1, *shape)).shape
    before = nn.Sequential(*padding, UnitConvolution(convolution, (height, width)))
    return NoisyNetwork(before, nn.Sequential(*layers[first + 1 :]), config)
