"""Membership from the distance to the decision boundary (Li & Zhang 2021, the boundary attack)."""

import math
from dataclasses import dataclass as record
from typing import Annotated, ClassVar, TypeAlias

import torch
from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass
from torch import Generator

from trilemma.attacks.evasion import BOUNDARY_ATTACKS, PCA, QEBA, Boundary, HopSkipJump
from trilemma.attacks.evasion.questions import Until
from trilemma.attacks.membership.labels import asked
from trilemma.core.box import UNIT, Box
from trilemma.core.pace import usual
from trilemma.core.types import Classifier, Labels, PerRow, Rows
from trilemma.oracles import Oracle


def _measured(norm: float) -> float:
    if norm not in (0, 1, 2, math.inf):
        raise ValueError("must be 0, 1, 2 or infinity")
    return norm


MeasuredNorm: TypeAlias = Annotated[float, AfterValidator(_measured)]


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class BoundaryDistance:
    """Distance to the decision boundary, from labels alone (the boundary attack).

    A record is called a member when the change that turns the model's label is larger than a
    threshold: the boundary lies further from what the model was trained on.

    Source: Li & Zhang 2021, section 4 and algorithm 2.

    Args:
        search: what looks for the nearest point with another label, and how many queries it may
            spend on a record. The paper takes HopSkipJump with 15,000 and QEBA with 7,000; its
            figure 9 is flat from 2,500 on.
        norm: in which the change is measured: 0, 1, 2 or infinity. The search makes its own norm
            small, whatever this one is.

    Example:
        >>> BoundaryDistance(search=HopSkipJump(max_queries=500)).norm
        2.0
    """

    REVISION: ClassVar[int] = 1

    search: HopSkipJump | QEBA = Field(default_factory=HopSkipJump)
    norm: MeasuredNorm = 2.0

    def __post_init__(self) -> None:
        if self.search.targeted:
            raise ValueError("search.targeted: the true label is to be left; no other is wanted")
        if isinstance(self.search, QEBA) and isinstance(self.search.subspace, PCA):
            raise ValueError("search.subspace: PCA needs rows of the kind; take Spatial or DCT")

    @classmethod
    def published(cls) -> "BoundaryDistance":
        """The paper's: HopSkipJump as published, 15,000 queries, L_2."""
        return cls(search=HopSkipJump.published(max_queries=15000))


@record(frozen=True, kw_only=True, eq=False)
class Perturbations:
    """What one run of the boundary attack tells: in any norm, and for any smaller budget.

    Args:
        boundary: the nearest point with another label of each row, its distances in four norms,
            the queries, and the distance after so many queries (`budgets`, `trace`).
        norm: in which the attack measures.
    """

    boundary: Boundary
    norm: float

    @property
    def scores(self) -> PerRow:
        """(n,) float64; larger means more likely a member. See `boundary_distance`."""
        return self.measured(self.norm)

    def measured(self, norm: int | float) -> PerRow:
        """(n,) float64 scores in another norm: 0, 1, 2 or infinity (the paper's figure 8)."""
        found = self.boundary
        sizes = {0: found.l0, 1: found.l1, 2: found.l2, math.inf: found.linf}
        return sizes[_measured(float(norm))].double()

    def after(self, queries: int) -> PerRow:
        """(n,) float64 scores of the attack with that budget (the paper's figure 9).

        In the search's own norm, the only one of which a path is kept; read at the largest of
        `boundary.budgets` that is no larger. Rows of which no point with another label was found
        by then are infinitely far: after 1 query these are all rows that the model is right
        about, so that the attack is then `Gap`.

        Args:
            queries: of each row, at least 1.
        """
        column = int(torch.searchsorted(self.boundary.budgets, queries, right=True)) - 1
        if column < 0:
            return torch.full_like(self.boundary.distance, math.inf).double()
        return self.boundary.trace[:, column].double()


def boundary_distance(
    target: Classifier | Oracle,
    x: Rows,
    y: Labels,
    config: BoundaryDistance,
    *,
    box: Box = UNIT,
    rng: Generator,
) -> PerRow:
    r"""How far each row lies from where the label turns: min ||x - x'||_p over argmax F(x') != y.

    Args:
        target: an oracle or a model; only the first of its most probable classes is looked at.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels.
        config: search and norm.
        box: the valid inputs.
        rng: the search's randomness, the same for all rows.

    Returns:
        (n,) float64 >= 0; larger means more likely a member. 0, after one query, for a row that
        the target is wrong about; infinity where no point with another label was found. If the
        oracle's own budget runs out, that of the best points so far: `perturbations` tells of
        which rows.

    Raises:
        BadInput: inputs outside the box, labels that the oracle does not know.

    Example:
        >>> from trilemma.core.generators import seeded
        >>> from trilemma.oracles import Local, TopLabel
        >>> oracle = TopLabel(Local(torch.nn.Identity(), classes=2))
        >>> x, y = torch.tensor([[0.75, 0.25], [0.5, 0.75]]), torch.tensor([0, 0])
        >>> boundary_distance(oracle, x, y, BoundaryDistance(), rng=seeded(0)).round(decimals=2)
        tensor([0.3500, 0.0000], dtype=torch.float64)

    Source:
        Li & Zhang, "Membership leakage in label-only exposures", CCS 2021, algorithm 2.
    """
    return perturbations(target, x, y, config, box=box, rng=rng).scores


def perturbations(
    target: Classifier | Oracle,
    x: Rows,
    y: Labels,
    config: BoundaryDistance,
    *,
    box: Box = UNIT,
    rng: Generator,
    until: Until | None = None,
) -> Perturbations:
    """`boundary_distance` with all that the search found, so that one run answers more questions.

    Args:
        target: as there.
        x: as there.
        y: as there.
        config: as there.
        box: as there.
        rng: as there.
        until: which rows are decided, and asked no more (see `hop_skip_jump`).
    """
    attack, rows = BOUNDARY_ATTACKS[type(config.search)], usual(x).rows
    oracle = asked(target, x)
    # a measured pace would repeat but for rounding
    found = attack(oracle, x, y, config.search, box=box, rng=rng, batch=rows, until=until)
    return Perturbations(boundary=found, norm=config.norm)
