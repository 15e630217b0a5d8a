"""How the learning rate and an attack's strength go over the epochs, and which optimiser steps."""

import math
from collections.abc import Iterable
from typing import Annotated, ClassVar, TypeAlias

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn
from torch.optim import Optimizer

Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Decay: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Adam:
    """Adam with torch's moments.

    Args:
        learning_rate: of the first epoch.
        weight_decay: weight of the squared norm of the parameters.
    """

    REVISION: ClassVar[int] = 1

    learning_rate: Positive = 1e-3
    weight_decay: Decay = 0.0


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class SGD:
    """Stochastic gradient descent.

    Args:
        learning_rate: of the first epoch.
        momentum: share of the last step that is kept.
        weight_decay: weight of the squared norm of the parameters.
    """

    REVISION: ClassVar[int] = 1

    learning_rate: Positive = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Decay = 0.0


Optimiser: TypeAlias = Adam | SGD


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Constant:
    """The learning rate stays."""

    REVISION: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Cosine:
    """The learning rate falls to 0 along half a cosine.

    Args:
        floor: the share of the first learning rate that it ends at.
    """

    REVISION: ClassVar[int] = 1

    floor: Annotated[float, Field(ge=0, le=1)] = 0.0


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Steps:
    """The learning rate is multiplied by `factor` when each of the epochs `at` has passed.

    Args:
        at: epochs, from 1.
        factor: usually below 1.
    """

    REVISION: ClassVar[int] = 1

    at: tuple[Annotated[int, Field(ge=1)], ...] = (100, 150)
    factor: Positive = 0.1


Course: TypeAlias = Constant | Cosine | Steps


def optimiser_of(config: Optimiser, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser that `config` describes, over `parameters`."""
    rate, decay = config.learning_rate, config.weight_decay
    if isinstance(config, Adam):
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=rate, momentum=config.momentum, weight_decay=decay)


def rate_share(course: Course, epoch: int, epochs: int) -> float:
    """The share of the first learning rate that counts in `epoch` (from 0) of `epochs`.

    Example:
        >>> [round(rate_share(Cosine(), epoch, 4), 2) for epoch in range(4)]
        [1.0, 0.85, 0.5, 0.15]
    """
    if isinstance(course, Cosine):
        return course.floor + (1 - course.floor) * (1 + math.cos(math.pi * epoch / epochs)) / 2
    if isinstance(course, Steps):
        return float(course.factor ** sum(epoch >= mark for mark in course.at))
    return 1.0


def strength(epoch: int, *, warmup: int, ramp: int, power: float = 1.0) -> float:
    """The share of an attack's radius in `epoch` (from 0): 0 in the warm-up, then up to 1.

    Args:
        epoch: from 0.
        warmup: epochs without attack.
        ramp: epochs on the way from 0 to 1, ends excluded.
        power: of the share of the way; 1 goes up by equal steps.

    Example:
        >>> [strength(epoch, warmup=2, ramp=3) for epoch in range(7)]
        [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
        >>> [strength(epoch, warmup=0, ramp=3, power=2.0) for epoch in range(4)]
        [0.0625, 0.25, 0.5625, 1.0]
    """
    share = (epoch - warmup + 1) / (ramp + 1)
    return 0.0 if epoch < warmup else float(min(1.0, share) ** power)
