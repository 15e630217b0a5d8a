"""Shapes and seams: what every room means by rows, labels, a classifier."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from jaxtyping import Float, Int
from torch import Generator, Tensor

if TYPE_CHECKING:
    from trilemma.core.dataset import Dataset

Rows: TypeAlias = Float[Tensor, "n *x"]  # n inputs of any shape
Logits: TypeAlias = Float[Tensor, "n k"]  # n rows over k classes
LogProbs: TypeAlias = Float[Tensor, "n k"]  # rows whose exponentials lie on the simplex
Probs: TypeAlias = Float[Tensor, "n k"]  # rows on the simplex
Labels: TypeAlias = Int[Tensor, " n"]  # class indices in [0, k)
PerRow: TypeAlias = Float[Tensor, " n"]  # one number per input

Classifier: TypeAlias = Callable[[Rows], Logits]  # white box: differentiable, logits out
Fit: TypeAlias = "Callable[[Dataset, Generator], Classifier]"  # how attacks reach training
