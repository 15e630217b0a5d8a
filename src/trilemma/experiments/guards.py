"""What may watch the accounts of those who ask a model."""

from dataclasses import field
from typing import Annotated, ClassVar, TypeAlias

from pydantic import Field
from pydantic.dataclasses import dataclass

from trilemma.oracles.detectors import (
    PRADA,
    Entropy,
    Leakage,
    PerQuery,
    Pricing,
    SimilarityEncoder,
)
from trilemma.training.recipes import MLP, Recipe


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Encoder:
    """SEAT's encoder, trained on the model's own training rows.

    Args:
        recipe: architecture and schedule.
        loss: what it descends.
        features: how many numbers it makes of an input.
    """

    recipe: Recipe = field(default_factory=lambda: MLP(hidden=(128,), epochs=30, batch=100))
    loss: SimilarityEncoder = field(default_factory=SimilarityEncoder)
    features: Annotated[int, Field(ge=1)] = 64


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class CalibratedSEAT:
    """SEAT with a threshold that few queries of a normal user are under.

    Args:
        rate: the share of a normal user's queries that may count as similar to an earlier one.
        threshold: of the features' distance; None chooses the largest that keeps the rate.
        pairs: how many similar pairs an account may send.
        encoder: what features are; None compares inputs.

    Source: Zhang et al. 2021; see `SEAT`.
    """

    REVISION: ClassVar[int] = 1

    rate: Annotated[float, Field(ge=0, lt=1)] = 0.01
    threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    pairs: Annotated[int, Field(ge=0)] = 50
    encoder: Encoder | None = None


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class CalibratedWork:
    """Proof of work under which a normal user's answers take `slow_down` times as long.

    Puzzles of that size would take the audit as long as they take the thief. Those that it solves
    are smaller, and all in the same proportion: a normal user's take `hashes`. Times are told for
    those of full size.

    Args:
        measure: of what an answer gives away.
        pricing: whether an account's earlier queries count.
        slow_down: of a normal user.
        hashes: of a normal user's query in the audit, on average.
        patience: the most work that a client does for one answer, in normal queries; what takes
            more ends the theft or, where there is another, the account.

    Source: Dziedzic et al. 2022; see `ProofOfWork`.
    """

    REVISION: ClassVar[int] = 1

    measure: Leakage = field(default_factory=Entropy)
    pricing: Pricing = field(default_factory=PerQuery)
    slow_down: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 2.0
    hashes: Annotated[float, Field(ge=1, le=1e9)] = 100.0
    patience: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 100.0


Detector: TypeAlias = PRADA | CalibratedSEAT | CalibratedWork


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Guard:
    """A detector before a model, and how many accounts a thief has.

    Args:
        detector: looks at each account by itself.
        accounts: how many the thief opens, one after the other, when one is closed.
        per_account: queries after which it goes on with the next one of its own accord, to stay
            below what a detector notices; the last one it uses up. None waits for the ban.
    """

    REVISION: ClassVar[int] = 1

    detector: Detector
    accounts: Annotated[int, Field(ge=1)] = 1
    per_account: Annotated[int, Field(ge=1)] | None = None
