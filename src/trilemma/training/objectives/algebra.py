"""Sums and multiples of losses, and the union of all, which they are made of."""

import math
from dataclasses import replace
from typing import ClassVar, TypeAlias, cast

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from trilemma.attacks.evasion import Evasion
from trilemma.training.objectives.adversarial import (
    Adversarial,
    DistributionalTraining,
    MixedAdversarial,
)
from trilemma.training.objectives.adversarial_regularisation import AdversarialRegularisation
from trilemma.training.objectives.batch import Batch, Loss
from trilemma.training.objectives.domain_adaptation import DomainAdaptation
from trilemma.training.objectives.natural import Natural
from trilemma.training.objectives.penalties import L1, L2
from trilemma.training.objectives.term import CONFIG, Term, check_hard
from trilemma.training.objectives.trades import TRADES
from trilemma.training.objectives.verified import (
    AbstractInterpretation,
    IntervalBoundPropagation,
    Verified,
)


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
    """Several losses together, on one batch's forwards, adversarial examples and bounds.

    A `DomainAdaptation` that names no attack takes that of the other terms, if they have one.

    Args:
        terms: the losses, one at least.
    """

    REVISION: ClassVar[int] = 1

    terms: tuple["Objective", ...] = Field(min_length=1)

    def __post_init__(self) -> None:
        attacks = {attack for term in self.terms for attack in _attacks(term)}
        if len(attacks) == 1:  # then it is that of the terms that name none
            told = tuple(_told(term, *attacks) for term in self.terms)
            object.__setattr__(self, "terms", told)

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """The sum."""
        return torch.stack([term(model, batch) for term in self.terms]).sum()


Objective: TypeAlias = (
    Natural
    | Adversarial
    | MixedAdversarial
    | DistributionalTraining
    | TRADES
    | Verified
    | AbstractInterpretation
    | IntervalBoundPropagation
    | DomainAdaptation
    | AdversarialRegularisation
    | L1
    | L2
    | Scaled
    | Sum
)


def added(first: Term, second: Term) -> Sum:
    """The sum of two losses, flat and in their order."""
    return Sum(terms=(*_terms(first), *_terms(second)))


def scaled(factor: float, term: Term) -> Scaled:
    """A number times a loss."""
    return Scaled(factor=factor, term=cast(Objective, term))


def by_row(objective: Term) -> Term | None:
    """Of a loss the terms that are `BY_ROW`, with weights that add up to 1.

    What an uninformed answer loses by them does not depend on what else the loss has.

    Returns:
        None where that is the loss itself, and where there is no such part, or of no weight; and
        beside a penalty of the weights, which may be meant to leave nothing but such an answer.

    Example:
        >>> by_row(2 * Natural() + DomainAdaptation())
        Scaled(factor=1.0, term=Natural())
        >>> by_row(Natural()), by_row(Natural() + 0.1 * L2())
        (None, None)
    """
    weighed = _weighed(objective)
    if any(term.FREE for _, term in weighed):
        return None
    chosen = [(weight, term) for weight, term in weighed if term.BY_ROW]
    whole = math.fsum(weight for weight, _ in chosen)
    if whole <= 0 or (len(chosen) == len(weighed) and math.isclose(whole, 1)):
        return None
    parts = [scaled(weight / whole, term) for weight, term in chosen]
    return parts[0] if len(parts) == 1 else Sum(terms=tuple(parts))


def check_targets(objective: Term, y: Tensor) -> None:
    """Refuse soft targets where some term asks for labels.

    Raises:
        BadInput: y are (n, k), and a term takes only (n,); it is named.
    """
    if isinstance(objective, Sum):
        for each in objective.terms:
            check_targets(each, y)
    elif isinstance(objective, Scaled):
        check_targets(objective.term, y)
    elif not objective.SOFT:
        check_hard(objective, y)


def _weighed(objective: Term) -> list[tuple[float, Term]]:
    """The terms of sums and multiples, each with the number that it counts."""
    if isinstance(objective, Sum):
        return [found for each in objective.terms for found in _weighed(each)]
    if isinstance(objective, Scaled):
        return [(objective.factor * weight, term) for weight, term in _weighed(objective.term)]
    return [(1.0, objective)]


def _attacks(term: Objective) -> set[Evasion]:
    """What the term trains against."""
    if isinstance(term, Sum):
        return {attack for each in term.terms for attack in _attacks(each)}
    if isinstance(term, Scaled):
        return _attacks(term.term)
    attack: Evasion | None = getattr(term, "attack", None)
    return set() if attack is None else {attack}


def _told(term: Objective, attack: Evasion) -> Objective:
    """The same with an attack for those that compare adversarial examples and name none."""
    if isinstance(term, Sum):
        return replace(term, terms=tuple(_told(each, attack) for each in term.terms))
    if isinstance(term, Scaled):
        return replace(term, term=_told(term.term, attack))
    if isinstance(term, DomainAdaptation) and term.attack is None:
        return replace(term, attack=attack)
    return term


def _terms(term: Term) -> tuple[Objective, ...]:
    return term.terms if isinstance(term, Sum) else (cast(Objective, term),)
