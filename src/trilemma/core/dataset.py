"""Labelled rows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trilemma.core.errors import BadInput


@dataclass(frozen=True)
class Dataset:
    """n rows and their labels.

    Args:
        x: (n, *x) floating point inputs, of the type of the model that they are for: float32
            unless said otherwise.
        y: (n,) labels in [0, k), whole numbers of any width, kept as int64; or (n, k) soft
            targets, a distribution over the classes for each row, of the type of x.

    Raises:
        BadInput: one of the two is no tensor (a NumPy array, a list), they differ in length, or
            are of a type or shape that is not said here.

    Example:
        >>> Dataset(torch.rand(2, 4), torch.tensor([0, 1], dtype=torch.int32)).y
        tensor([0, 1])
        >>> Dataset(torch.rand(2, 4), torch.tensor([0.0, 1.0]))
        Traceback (most recent call last):
        trilemma.core.errors.BadInput: dataset: labels are torch.float32. Give integers: y.long()
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        _check_tensors(inputs=self.x, labels=self.y)
        if len(self.x) != len(self.y):
            raise BadInput("dataset", f"{len(self.x)} inputs but {len(self.y)} labels")
        if not self.x.is_floating_point():
            raise BadInput(
                "dataset", f"inputs are {self.x.dtype}", "Give floating point inputs: x.float()"
            )
        if self.y.dim() == 1:
            object.__setattr__(self, "y", _whole(self.y))
        else:
            _check_soft(self.y, self.x.dtype)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Tensor | slice) -> "Dataset":
        """The rows that a slice, a boolean mask or an index tensor picks."""
        return Dataset(self.x[index], self.y[index])

    @property
    def soft(self) -> bool:
        """Whether y are soft targets."""
        return self.y.dim() == 2


def _check_tensors(inputs: object, labels: object) -> None:
    for name, given in (("inputs", inputs), ("labels", labels)):
        if not isinstance(given, Tensor):
            raise BadInput(
                "dataset",
                f"{name} are a {type(given).__module__}.{type(given).__name__}",
                "Give tensors: torch.from_numpy(x).float(), torch.as_tensor(y)",
            )
        if given.dim() == 0:
            raise BadInput("dataset", f"{name} are one number, not rows")


def _whole(y: Tensor) -> Tensor:
    """Labels as int64, in which nothing of them is lost."""
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise BadInput("dataset", f"labels are {y.dtype}", "Give integers: y.long()")
    return y.long()


def _check_soft(y: Tensor, kind: torch.dtype) -> None:
    if y.dim() != 2 or y.shape[1] < 2:
        raise BadInput(
            "dataset",
            f"labels have shape {tuple(y.shape)}",
            "Give one label a row, y.flatten(), or (n, k) soft targets of k >= 2 classes",
        )
    if y.dtype != kind:
        raise BadInput(
            "dataset",
            f"soft targets are {y.dtype}, inputs {kind}",
            "Give both in one floating point type: y.to(x.dtype)",
        )
