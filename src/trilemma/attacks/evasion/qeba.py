"""QEBA: HopSkipJump with directions from a subspace that suits images (Li et al. 2020)."""

from typing import Annotated, ClassVar

from jaxtyping import Float
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor

from trilemma.attacks.evasion.boundary import Boundary
from trilemma.attacks.evasion.directions import (
    Directions,
    Spatial,
    Subspace,
    after,
    endless,
    whole,
)
from trilemma.attacks.evasion.questions import Target, Until
from trilemma.attacks.evasion.walking import (
    Arc,
    Budgets,
    Course,
    Halving,
    Norm,
    Others,
    Search,
    attack,
    fits,
    prepared,
    starts_for,
)
from trilemma.core.box import UNIT, Box
from trilemma.core.types import Labels, Rows
from trilemma.oracles import Oracle


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class QEBA:
    """QEBA: a boundary followed in a subspace, from labels alone.

    Gradients are estimated in a subspace of smooth directions, where fewer queries tell more.
    It helps while queries are few; later what lies outside is missing, so that by default the
    directions are those of the whole space after `widen_after` gradient queries.

    Source: Li et al., "QEBA: query-efficient boundary-based blackbox attack", CVPR 2020.

    Args:
        norm: of the distance that is made small, 2 or infinity.
        max_queries: rows that the oracle may answer for one input, at least 1; all are used.
        subspace: where directions are drawn from.
        widen_after: gradient queries within the subspace; None, as in the paper: all.
        targeted: whether y are labels to reach, not to leave.
        first: queries of the first gradient estimate; the t-th takes first * sqrt(t).
        memory: weight of the earlier estimates in a new one, in [0, 1).
        probe: delta over the Euclidean distance; None is HopSkipJump's 1 / d.
        search: how a step is made; None is `Arc` for L_2 and `Halving` for L_inf.
        starts: candidates of which the nearest start is taken.
        budgets: numbers of queries at which the trace is read, increasing; None is 64 of them,
            evenly on a logarithmic scale.

    Example:
        >>> QEBA(subspace=Spatial(factor=2)).widen_after
        500
    """

    REVISION: ClassVar[int] = 1

    norm: Norm = 2.0
    max_queries: Annotated[int, Field(ge=1)] = 2500
    subspace: Subspace = Field(default_factory=Spatial)
    widen_after: Annotated[int | None, Field(ge=0)] = 500
    targeted: bool = False
    first: Annotated[int, Field(ge=2)] = 30
    memory: Annotated[float, Field(ge=0, lt=1)] = 0.8
    probe: Annotated[float | None, Field(gt=0, le=1)] = 0.05
    search: Search | None = None
    starts: Annotated[int, Field(ge=1)] = 10
    budgets: Budgets | None = None

    def __post_init__(self) -> None:
        fits(self.norm, self.search)

    @classmethod
    def published(
        cls, *, subspace: Subspace, norm: int | float = 2, max_queries: int = 7000
    ) -> "QEBA":
        """The paper's: HopSkipJump's schedule, within the subspace throughout."""
        return cls(
            norm=norm,
            max_queries=max_queries,
            subspace=subspace,
            widen_after=None,
            first=100,
            memory=0,
            probe=None,
            search=Halving(halvings=15),
            starts=1,
        )


def qeba(  # noqa: PLR0913 - what an attacker may hold besides the contract's arguments
    oracle: Oracle,
    x: Rows,
    y: Labels,
    config: QEBA,
    *,
    box: Box = UNIT,
    rng: Generator,
    starts: Others | None = None,
    reference: Float[Tensor, "r *w"] | None = None,
    batch: int | None = None,
    until: Until | None = None,
) -> Boundary:
    """The nearest point with another label that labels alone lead to, by smooth steps first.

    Args:
        oracle: only the first of its most probable classes is looked at.
        x: (n, *x) inputs inside `box`.
        y: (n,) their true labels.
        config: norm, budget, subspace and schedule.
        box: the valid inputs.
        rng: draws the starts and directions, one bank for all rows (see `hop_skip_jump`).
        starts: (m, *x) points to start from, tried before noise; needed for targeted attacks.
        reference: (m, *x) rows whose principal components span the subspace of `PCA`.
        batch: rows a call; None is measured.
        until: which rows are decided and asked no more (see `hop_skip_jump`).

    Returns:
        See `Boundary` and `hop_skip_jump`.

    Raises:
        BadInput: inputs outside the box, labels that the oracle does not know, no reference
            rows for `PCA`.

    Source:
        Li et al., "QEBA", CVPR 2020, section 3. What its authors' script takes from the target's
        own gradient, an attacker who sees labels does not have; it is not used.
    """
    target = prepared("QEBA", x, y, box, oracle, config.targeted, config.norm)
    course = Course(
        first=config.first,
        memory=config.memory,
        probe=config.probe,
        search=config.search or (Arc() if config.norm == 2 else Halving()),
        starts=config.starts,
        bands=None,
        tries=starts_for(target, box, rng, starts),
        directions=_directions(config, target, rng, reference),
    )
    return attack(oracle, target, course, box, config.max_queries, config.budgets, batch, until)


def _directions(config: QEBA, target: Target, rng: Generator, reference: Rows | None) -> Directions:
    """Directions within the subspace first, those of the whole space after them."""
    like = target.x
    narrow = endless(config.subspace.sampler(target.shape, like, reference), like, rng)
    if config.widen_after is None:
        return narrow
    return after(narrow, config.widen_after, whole(like, rng))
