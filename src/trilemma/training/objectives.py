"""What training minimises: one frozen dataclass a method; they add and scale.

`Adversarial(attack=PGD(...)) + 0.1 * Natural()` is an objective too. The terms of a sum see one
`Batch`, which remembers adversarial examples and forwards, so that no term computes them again.
"""

import dataclasses
from abc import ABC, abstractmethod
from typing import ClassVar, TypeAlias, cast

import torch
from jaxtyping import Float
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from trilemma.attacks.evasion import Evasion, attack_of
from trilemma.core.box import UNIT, Box
from trilemma.core.types import Labels, Logits, Rows

Loss: TypeAlias = Float[Tensor, ""]
CONFIG = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """The rows of one training step, and what the terms of its objective have in common.

    Args:
        x: (n, *x) inputs inside `box`.
        y: (n,) labels.
        rng: the step's randomness.
        strength: in [0, 1]: the share of an attack's radius that counts at this step.
        box: the valid inputs.
    """

    x: Rows
    y: Labels
    rng: Generator
    strength: float = 1.0
    box: Box = UNIT
    _examples: dict[Evasion, Rows] = dataclasses.field(default_factory=dict, init=False, repr=False)
    _logits: dict[Evasion | None, Logits] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    def logits(self, model: nn.Module) -> Logits:
        """The model's answers for `x`, in the mode the model is in."""
        if None not in self._logits:
            self._logits[None] = model(self.x)
        return self._logits[None]

    def adversarial(self, model: nn.Module, attack: Evasion) -> Rows:
        """Adversarial examples by `attack`, its radius times `strength`; `x` itself at 0."""
        if self.strength == 0:
            return self.x
        if attack not in self._examples:
            self._examples[attack] = attack_of(attack)(
                model,
                self.x,
                self.y,
                attack.scaled(self.strength),
                box=self.box,
                rng=self.rng,
                batch=len(self.x),
            )
        return self._examples[attack]

    def adversarial_logits(self, model: nn.Module, attack: Evasion) -> Logits:
        """The model's answers for the adversarial examples."""
        if self.strength == 0:
            return self.logits(model)
        if attack not in self._logits:
            self._logits[attack] = model(self.adversarial(model, attack))
        return self._logits[attack]


class Term(ABC):
    """A loss of a model on a batch; terms add up and scale."""

    @abstractmethod
    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """The loss to descend, in nats."""

    def __add__(self, other: "Term") -> "Sum":
        """The sum of two losses."""
        return Sum(terms=(*_terms(self), *_terms(other)))

    def __mul__(self, factor: float) -> "Scaled":
        """`factor` times the loss."""
        return Scaled(factor=factor, term=cast("Objective", self))

    __rmul__ = __mul__


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Natural(Term):
    """Cross-entropy on the training data as they are (Song et al. 2019, eq. 2-3)."""

    REVISION: ClassVar[int] = 1

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """Mean cross-entropy, in nats."""
        return F.cross_entropy(batch.logits(model), batch.y)


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Adversarial(Term):
    """Cross-entropy on adversarial examples alone (Madry et al.; Song et al. 2019, eq. 8, alpha 0).

    Args:
        attack: makes the adversarial examples at each step, against the model as it is then, in
            eval mode.

    Source:
        Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.
    """

    REVISION: ClassVar[int] = 1

    attack: Evasion

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """Mean cross-entropy on the adversarial examples, in nats."""
        return F.cross_entropy(batch.adversarial_logits(model, self.attack), batch.y)


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Scaled(Term):
    """A number times a loss.

    Args:
        factor: any finite number.
        term: the loss.
    """

    REVISION: ClassVar[int] = 1

    factor: float = Field(allow_inf_nan=False)
    term: "Objective"

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """The product."""
        return self.factor * self.term(model, batch)


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Sum(Term):
    """Several losses together, on one batch's forwards and adversarial examples.

    Args:
        terms: the losses, one at least.
    """

    REVISION: ClassVar[int] = 1

    terms: tuple["Objective", ...] = Field(min_length=1)

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """The sum."""
        return torch.stack([term(model, batch) for term in self.terms]).sum()


Objective: TypeAlias = Natural | Adversarial | Scaled | Sum


def _terms(term: Term) -> tuple[Objective, ...]:
    return term.terms if isinstance(term, Sum) else (cast(Objective, term),)
