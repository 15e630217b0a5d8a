"""HopSkipJump: the nearest adversarial point, from labels alone (Chen et al. 2020)."""

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator

from trilemma.attacks.evasion.boundary import Boundary
from trilemma.attacks.evasion.directions import whole
from trilemma.attacks.evasion.questions import Until
from trilemma.attacks.evasion.shrinkage import bands_of
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
class HopSkipJump:
    """HopSkipJump, from labels alone.

    The boundary is followed towards the input by gradients that are estimated from labels. By
    default queries are spent better than in the paper: small estimates that remember the earlier
    ones, noise taken out of them per frequency band (for images), the best step found on an arc,
    the nearest of ten starts. `published` is the paper's schedule.

    Source: Chen, Jordan & Wainwright, "HopSkipJumpAttack: a query-efficient decision-based
    attack", IEEE S&P 2020.

    Args:
        norm: of the distance that is made small, 2 or infinity.
        max_queries: rows that the oracle may answer for one input, at least 1; all are used.
        targeted: whether y are labels to reach, not to leave.
        first: queries of the first gradient estimate; the t-th takes first * sqrt(t).
        memory: weight of the earlier estimates in a new one, in [0, 1).
        shrink: whether noise is taken out of estimates per frequency band.
        probe: delta over the Euclidean distance; None is the paper's 1 / d.
        search: how a step is made; None is `Arc` for L_2 and `Halving` for L_inf.
        starts: candidates of which the nearest start is taken.
        budgets: numbers of queries at which the trace is read, increasing; None is 64 of them,
            evenly on a logarithmic scale.

    Example:
        >>> HopSkipJump(norm=2, max_queries=2500).first
        50
    """

    REVISION: ClassVar[int] = 1

    norm: Norm = 2.0
    max_queries: Annotated[int, Field(ge=1)] = 2500
    targeted: bool = False
    first: Annotated[int, Field(ge=2)] = 50
    memory: Annotated[float, Field(ge=0, lt=1)] = 0.8
    shrink: bool = True
    probe: Annotated[float | None, Field(gt=0, le=1)] = 0.05
    search: Search | None = None
    starts: Annotated[int, Field(ge=1)] = 10
    budgets: Budgets | None = None

    def __post_init__(self) -> None:
        fits(self.norm, self.search)

    @classmethod
    def published(cls, *, norm: int | float = 2, max_queries: int = 25000) -> "HopSkipJump":
        """The paper's schedule: 100 sqrt(t) queries an estimate, steps halved, one start."""
        return cls(
            norm=norm,
            max_queries=max_queries,
            first=100,
            memory=0,
            shrink=False,
            probe=None,
            search=Halving(halvings=15),
            starts=1,
        )


def hop_skip_jump(  # noqa: PLR0913 - what an attacker may hold besides the contract's arguments
    oracle: Oracle,
    x: Rows,
    y: Labels,
    config: HopSkipJump,
    *,
    box: Box = UNIT,
    rng: Generator,
    starts: Others | None = None,
    batch: int | None = None,
    until: Until | None = None,
) -> Boundary:
    """The nearest point with another label that labels alone lead to.

    Args:
        oracle: only the first of its most probable classes is looked at.
        x: (n, *x) inputs inside `box`.
        y: (n,) their true labels.
        config: norm, budget and schedule.
        box: the valid inputs.
        rng: draws the starts and directions: one bank for all rows, so that what becomes of a
            row does not depend on the rows beside it, and a larger budget continues the path of
            a smaller one.
        starts: (m, *x) points to start from, tried before noise; needed for targeted attacks.
            If neither they nor 50 noises nor a dark, grey, bright or negative image has another
            label, the row has no start.
        batch: rows a call; None is measured.
        until: of (r,) queries and distances so far, which of those rows are decided. They are
            asked no more: `queries` and `distance` stay as they are, `exhausted` stays False.
            It is asked after each question of a walk (a step of a line search, a gradient's
            estimate), knows a row by these two numbers alone and so makes no row depend on
            another. None: each row spends its budget.

    Returns:
        See `Boundary`. A row misclassified as it is has distance 0 after one query; a row without
        a start has distance infinity. If the oracle raises `BudgetExceeded`, the best so far is
        returned and `exhausted` says which rows were not finished.

    Raises:
        BadInput: inputs outside the box, labels that the oracle does not know.

    Example:
        >>> import torch
        >>> from trilemma.core.generators import seeded
        >>> from trilemma.oracles import Local
        >>> oracle = Local(torch.nn.Linear(2, 2), classes=2)
        >>> x = torch.rand(3, 2, generator=seeded(0))
        >>> found = hop_skip_jump(
        ...     oracle, x, oracle(x).argmax(1), HopSkipJump(max_queries=100), rng=seeded(1)
        ... )
        >>> bool((oracle(found.x_adv).argmax(1) != oracle(x).argmax(1))[found.l2.isfinite()].all())
        True

    Source:
        Chen, Jordan & Wainwright, "HopSkipJumpAttack", IEEE S&P 2020, algorithm 2.
    """
    target = prepared("HopSkipJump", x, y, box, oracle, config.targeted, config.norm)
    course = Course(
        first=config.first,
        memory=config.memory,
        probe=config.probe,
        search=config.search or (Arc() if config.norm == 2 else Halving()),
        starts=config.starts,
        bands=bands_of(target.shape, target.x) if config.shrink else None,
        tries=starts_for(target, box, rng, starts),
        directions=whole(target.x, rng),
    )
    return attack(oracle, target, course, box, config.max_queries, config.budgets, batch, until)
