"""Recipes: an architecture with the schedule that trains it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, nn

from trilemma.core.generators import global_from
from trilemma.models import fashion_cnn, mlp, small_cnn, yale_cnn
from trilemma.models.dropout import with_dropout
from trilemma.training.augmentation import Augmentation, check_augmentation
from trilemma.training.schedule import Adam, Constant, Cosine, Course, Optimiser, Positive

Count: TypeAlias = Annotated[int, Field(ge=1)]
Epochs: TypeAlias = Annotated[int, Field(ge=0)]
Dropped: TypeAlias = Annotated[float, Field(ge=0, lt=1)]  # share of the hidden values


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Schedule:
    """How long and how fast: what every recipe says beside its architecture.

    Args:
        epochs: passes over the training data.
        batch: rows of a step; the last of an epoch may be smaller.
        warmup: epochs at the start in which an attack has no radius (natural training).
        ramp: epochs after them in which the radius goes up to its full size.
        optimiser: what steps.
        course: how its learning rate goes over the epochs.
        clip_norm: longest gradient of a step; None for any.
        augmentation: what is done to the images of each batch, in this order.
    """

    epochs: Count = 60
    batch: Count = 50
    warmup: Epochs = 0
    ramp: Epochs = 0
    optimiser: Optimiser = Adam()
    course: Course = Cosine()
    clip_norm: Positive | None = None
    augmentation: tuple[Augmentation, ...] = ()


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class SmallCNN(Schedule):
    """Two blocks of two convolutions (32 and 64 channels), for images of about 8x8.

    Args:
        dropout: share of the values of the hidden fully connected layer that are set to 0.
    """

    REVISION: ClassVar[int] = 1

    optimiser: Optimiser = Adam(learning_rate=2e-3)
    dropout: Dropped = 0.0


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class YaleCNN(Schedule):
    """The network of Song et al. for Yale Face (table 13): four blocks, 8 to 64 channels.

    Args:
        dropout: share of the values of the hidden fully connected layer that are set to 0.
    """

    REVISION: ClassVar[int] = 1

    epochs: Count = 50
    batch: Count = 64
    warmup: Epochs = 10
    ramp: Epochs = 10
    dropout: Dropped = 0.0


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class FashionCNN(Schedule):
    """The network of Song et al. for Fashion-MNIST (table 13): two blocks of three convolutions.

    Args:
        scale: share of the paper's 256 and 512 channels.
        dropout: share of the values of the hidden fully connected layer that are set to 0.
    """

    REVISION: ClassVar[int] = 1

    epochs: Count = 60
    batch: Count = 64
    ramp: Epochs = 5
    scale: Annotated[float, Field(gt=0, le=4)] = 0.125
    dropout: Dropped = 0.0


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class MLP(Schedule):
    """Fully connected layers, for rows of a table.

    Args:
        hidden: widths of the layers before the last.
        dropout: share of the values of each layer before the last that are set to 0.
    """

    REVISION: ClassVar[int] = 1

    epochs: Count = 100
    batch: Count = 32
    course: Course = Constant()
    hidden: tuple[Count, ...] = (128, 64)
    dropout: Dropped = 0.0


Recipe: TypeAlias = SmallCNN | YaleCNN | FashionCNN | MLP

NETWORKS: Mapping[type[Recipe], Callable[[Any, Sequence[int], int], nn.Module]] = {
    SmallCNN: lambda recipe, shape, classes: with_dropout(
        small_cnn(shape, classes), recipe.dropout
    ),
    YaleCNN: lambda recipe, shape, classes: with_dropout(yale_cnn(shape, classes), recipe.dropout),
    FashionCNN: lambda recipe, shape, classes: with_dropout(
        fashion_cnn(shape, classes, scale=recipe.scale), recipe.dropout
    ),
    MLP: lambda recipe, shape, classes: with_dropout(
        mlp(shape, classes, hidden=recipe.hidden), recipe.dropout
    ),
}


def build(recipe: Recipe, shape: Sequence[int], classes: int, rng: Generator) -> nn.Module:
    """A fresh, untrained model.

    Args:
        recipe: its architecture.
        shape: of one input, without the row axis.
        classes: how many logits.
        rng: draws the weights; torch's global generator is left as it was.

    Raises:
        BadInput: the architecture, or the augmentation, does not take inputs of that shape.

    Example:
        >>> from trilemma.core.generators import seeded
        >>> build(MLP(hidden=(4,)), (30,), 2, seeded(0))[-1]
        Linear(in_features=4, out_features=2, bias=True)
    """
    check_augmentation(recipe.augmentation, shape)
    with global_from(rng):
        return NETWORKS[type(recipe)](recipe, shape, classes)
