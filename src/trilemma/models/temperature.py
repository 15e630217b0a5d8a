"""Temperature scaling: a trained network that says less about how sure it is."""

import math
from collections.abc import MutableMapping
from typing import Any

from torch import nn

from trilemma.core.errors import BadInput


class Tempered(nn.Module):
    """A network whose logits are divided by a temperature, after training.

    .. math:: F(x)_i = exp(g(x)_i / T) / sum_j exp(g(x)_j / T)

    The label stays; a T above 1 makes all answers alike. It is a setting, not a weight: the state
    is the network's own, by the same names, so that a file of weights fits with and without it.

    Args:
        network: g, logits out.
        temperature: T, a finite number above 0; at 1 nothing changes.

    Raises:
        BadInput: T is not such a number.

    Example:
        >>> import torch
        >>> cool = Tempered(nn.Identity(), 2.0)
        >>> cool(torch.tensor([[4.0, -2.0]]))
        tensor([[ 2., -1.]])

    Source:
        Song et al., "Privacy risks of securing machine learning models", CCS 2019, eq. 21; Guo et
        al., "On calibration of modern neural networks", ICML 2017.
    """

    def __init__(self, network: nn.Module, temperature: float) -> None:
        if not (math.isfinite(temperature) and temperature > 0):
            raise BadInput("temperature", f"is {temperature!r}", "Give a finite number above 0")
        super().__init__()
        self.network = network
        self._temperature = float(temperature)
        self.register_state_dict_post_hook(_without_own_name)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_own_name)  # type: ignore[no-untyped-call]

    @property
    def temperature(self) -> float:
        """T; fixed, since bounds remember what they have read."""
        return self._temperature

    def forward(self, x: Any) -> Any:  # a tensor, or what bounds follow it with
        """g(x) / T."""
        return self.network(x) / self.temperature


def _without_own_name(
    module: nn.Module, state: MutableMapping[str, Any], prefix: str, metadata: object
) -> None:
    own = f"{prefix}network."
    for name in [each for each in state if each.startswith(own)]:
        state[prefix + name.removeprefix(own)] = state.pop(name)


def _with_own_name(
    module: nn.Module, state: MutableMapping[str, Any], prefix: str, *others: object
) -> None:
    for name in [each for each in state if each.startswith(prefix)]:
        state[f"{prefix}network.{name.removeprefix(prefix)}"] = state.pop(name)
