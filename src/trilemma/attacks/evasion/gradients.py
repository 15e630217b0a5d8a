"""What white-box attacks have in common: inputs and labels that fit, gradients row by row."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Shaped
from torch import Tensor

from trilemma.core.box import Box
from trilemma.core.errors import BadInput
from trilemma.core.types import Classifier, Labels, Logits, PerRow, Probs, Rows

Given: TypeAlias = Shaped[Tensor, "..."]  # by a caller, and not looked at yet
Wanted: TypeAlias = Labels | Probs  # of each row: its label, or a weight for each class

TOLERANCE = 1e-6  # inputs may leave the box by the rounding of a rescaling, and no further

SOME = 128  # rows at a time where all are gone through


def check_inside(attack: str, x: Rows, box: Box) -> None:
    """Refuse inputs that are no valid inputs.

    Raises:
        BadInput: some input lies outside the box; rows and features are not told apart.
    """
    if x.dim() < 2:
        raise BadInput(
            attack,
            f"inputs must be rows of features, in 2 dimensions at least; got {tuple(x.shape)}",
            "Give one input as x.unsqueeze(0)",
        )
    rows = sum(_outside(part, box) for part in x.split(SOME))
    if rows:
        raise BadInput(
            attack,
            f"{rows} of {len(x)} inputs lie outside the box of valid inputs [{box.low}, {box.high}]"
            f" (they span [{x.min():.4g}, {x.max():.4g}])",
            "Rescale the inputs, or give the box they live in",
        )


def _outside(x: Rows, box: Box) -> int:
    return int(((box.clip(x) - x).abs() > TOLERANCE).flatten(1).any(1).sum())


def check_labels(x: Rows, y: Given, *, soft: bool = False) -> Wanted:
    """The labels of `x`, as 64-bit integers; whether the model knows them, `watched` sees.

    Args:
        x: inputs.
        y: of each row its label.
        soft: a weight for each class will do, too.

    Raises:
        BadInput: the labels are not one a row, no whole numbers, or negative.
    """
    if y.dim() == 0 or len(y) != len(x):
        raise BadInput(
            "labels", f"got {tuple(y.shape)} of them for {len(x)} inputs", "Give one label a row"
        )
    if y.dim() == 2 and y.is_floating_point() and soft:
        return y
    if y.dim() != 1 or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise BadInput(
            "labels",
            f"must be whole numbers, one a row; got {y.dtype} of shape {tuple(y.shape)}",
            "Weights for each class fit the cross-entropy of PGD, FGSM, IFGSM and Distributional",
        )
    labels = y.long()
    if len(labels) and int(labels.min()) < 0:
        raise BadInput("labels", f"must be 0 or more; got {int(labels.min())}")
    return labels


def check_classes(logits: Tensor, y: Wanted) -> None:
    """Refuse answers that have no room for the labels; `watched`, where they are at hand."""
    _check_classes(logits, *_needed(y))


def watched(model: Classifier, y: Wanted | None = None) -> Classifier:
    """`model`, whose answers are logits of 2 classes or more, and of all that `y` speaks of.

    Raises:
        BadInput: (when asked) they are not.

    Example:
        >>> watched(torch.nn.Identity(), torch.tensor([2]))(torch.zeros(1, 2))
        Traceback (most recent call last):
        trilemma.core.errors.BadInput: labels: go up to 2; the model has 2 classes: 0 to 1
    """
    most, width = _needed(y)

    def ask(x: Rows) -> Logits:
        logits = model(x)
        _check_classes(logits, most, width)
        return logits

    return ask


def _needed(y: Wanted | None) -> tuple[int, int | None]:
    """The largest label, and how many classes there are where that is known."""
    if y is not None and y.dim() == 2:
        return -1, y.shape[1]
    return -1 if y is None or len(y) == 0 else int(y.max()), None


def _check_classes(logits: Tensor, most: int, width: int | None) -> None:
    """Compares sizes only: it runs at each call of a model."""
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise BadInput(
            "model",
            f"must answer logits of 2 classes at least; got shape {tuple(logits.shape)}",
            "One logit z for two classes is the pair (0, z)",
        )
    k = logits.shape[1]
    if most >= k:
        raise BadInput("labels", f"go up to {most}; the model has {k} classes: 0 to {k - 1}")
    if width not in (None, k):
        raise BadInput("labels", f"weigh {width} classes; the model has {k}")


def value_and_gradient(height: Callable[[Rows], PerRow], x: Rows) -> tuple[PerRow, Rows]:
    """Of each row's height in that row, wherever gradients are off; a model's parameters get none.

    Example:
        >>> value, gradient = value_and_gradient(lambda z: z.square().sum(1), torch.ones(1, 2))
        >>> value, gradient
        (tensor([2.]), tensor([[2., 2.]]))
    """
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        value = height(leaf)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


def finite_rows(x: Rows) -> Tensor:
    """(n,) whether a row holds numbers only; in one pass, since a sum keeps what is none."""
    return x.sum(tuple(range(1, x.dim())), dtype=wide(x)).isfinite()


def wide(x: Tensor) -> torch.dtype:
    """A type in which sums over half-precision numbers do not overflow; that of `x` otherwise."""
    return torch.promote_types(x.dtype, torch.float32)


def no_less(tiny: float, x: Tensor) -> float:
    """`tiny`, or the least normal number of the type of `x`, in which it would be 0.

    Example:
        >>> no_less(1e-12, torch.zeros(1)), no_less(1e-12, torch.zeros(1, dtype=torch.float16))
        (1e-12, 6.103515625e-05)
    """
    return max(tiny, torch.finfo(x.dtype).tiny)


def over(per_row: Tensor, x: Rows) -> Tensor:
    """One number a row, shaped to go with rows like those of `x`."""
    return per_row.view(-1, *[1] * (x.dim() - 1))
