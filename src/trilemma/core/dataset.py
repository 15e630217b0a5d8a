"""Labelled rows."""

from dataclasses import dataclass

from torch import Tensor

from trilemma.core.errors import BadInput


@dataclass(frozen=True)
class Dataset:
    """n rows and their labels.

    Args:
        x: (n, *x) floating point inputs.
        y: (n,) int64 labels in [0, k), or (n, k) soft targets.

    Raises:
        BadInput: x and y differ in length, or x is not floating point.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise BadInput("dataset", f"{len(self.x)} inputs but {len(self.y)} labels")
        if not self.x.is_floating_point():
            raise BadInput("dataset", f"inputs are {self.x.dtype}", "Give floating point inputs")

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Tensor | slice) -> "Dataset":
        """The rows that a slice, a boolean mask or an index tensor picks."""
        return Dataset(self.x[index], self.y[index])
