"""Where valid inputs live."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.types import Rows


@dataclass(frozen=True)
class Box:
    """The inputs low <= x <= high, feature by feature.

    Args:
        low: smallest valid value, in the inputs' own unit; a tensor broadcasts over a row.
        high: largest valid value.

    Raises:
        BadInput: some low is above its high.
    """

    low: float | Tensor
    high: float | Tensor

    def __post_init__(self) -> None:
        above = self.low > self.high
        if above if isinstance(above, bool) else bool(above.any()):
            raise BadInput(
                "box", f"low {self.low} is above high {self.high}", "Give low <= high for each"
            )

    def clip(self, x: Rows) -> Rows:
        """Nearest valid input."""
        if isinstance(self.low, Tensor) or isinstance(self.high, Tensor):
            low = torch.as_tensor(self.low, dtype=x.dtype, device=x.device)
            high = torch.as_tensor(self.high, dtype=x.dtype, device=x.device)
            return x.maximum(low).minimum(high)
        return x.clamp(self.low, self.high)

    def clip_(self, x: Rows) -> Rows:
        """Nearest valid input, written over `x`."""
        if isinstance(self.low, Tensor) or isinstance(self.high, Tensor):
            return x.copy_(self.clip(x))
        return x.clamp_(self.low, self.high)


UNIT = Box(0.0, 1.0)
