"""The walk along a decision boundary that HopSkipJump and QEBA share."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Annotated, TypeAlias

import torch
from jaxtyping import Float
from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass as validated
from torch import Generator, Tensor

from trilemma.attacks.evasion.boundary import Boundary
from trilemma.attacks.evasion.directions import Directions
from trilemma.attacks.evasion.gradients import check_inside, check_labels
from trilemma.attacks.evasion.questions import Leave, Ledger, Target, Until, Walk, drive
from trilemma.attacks.evasion.shrinkage import Bands, shrink
from trilemma.attacks.evasion.starts import candidates, find
from trilemma.attacks.evasion.steps import Group, Slope, bisect, estimate, halve, swing
from trilemma.core.box import Box
from trilemma.core.errors import BadInput
from trilemma.core.types import Labels, Rows
from trilemma.oracles import Oracle, ready

LANES = 4  # groups of rows at a time
SMALLEST = 16  # rows of a group, where there are so many


@validated(frozen=True, kw_only=True, config={"extra": "forbid"})
class Arc:
    """Search on the half circle over the line from the input to the boundary point; L_2 alone.

    Args:
        halvings: of the right angle, at least 1.
    """

    halvings: Annotated[int, Field(ge=1, le=40)] = 8


@validated(frozen=True, kw_only=True, config={"extra": "forbid"})
class Halving:
    """The published search: a step up the gradient, halved until adversarial, then a bisection.

    Args:
        halvings: of the bisection, at least 1; the paper's tolerance of d^(-3/2) takes 15 for
            28 x 28 images.
    """

    halvings: Annotated[int, Field(ge=1, le=40)] = 10


Search: TypeAlias = Arc | Halving


def _known(norm: float) -> float:
    if norm not in (2, math.inf):
        raise ValueError("must be 2 or infinity")
    return norm


def _increasing(budgets: tuple[int, ...]) -> tuple[int, ...]:
    if list(budgets) != sorted(set(budgets)):
        raise ValueError("must increase")
    return budgets


def fits(norm: float, search: Search | None) -> None:
    """The arc is that of a Euclidean circle.

    Raises:
        ValueError: it is asked for with another norm.
    """
    if norm != 2 and isinstance(search, Arc):
        raise ValueError("search: Arc is for norm 2; take Halving, or None")


Norm: TypeAlias = Annotated[float, AfterValidator(_known)]
Budgets: TypeAlias = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1), AfterValidator(_increasing)
]
Others: TypeAlias = Float[Tensor, "m *z"]  # rows of a number of their own


@dataclass(frozen=True)
class Course:
    """How a group walks.

    Args:
        first: queries of the first gradient estimate; the t-th takes first * sqrt(t).
        memory: what earlier estimates weigh in the next one, a factor each step.
        probe: delta over the Euclidean distance; None is the paper's, the distance over d.
        search: how a step is made.
        starts: candidates of which the nearest start is taken.
        bands: for shrinkage; None leaves estimates as they are.
        directions: of length 1; those from a place on, so many.
        tries: (s, d) starts.
    """

    first: int
    memory: float
    probe: float | None
    search: Search
    starts: int
    bands: Bands | None
    directions: Directions
    tries: Float[Tensor, "s d"]


def attack(
    oracle: Oracle,
    target: Target,
    course: Course,
    box: Box,
    max_queries: int,
    budgets: tuple[int, ...] | None,
    batch: int | None,
    until: Until | None,
) -> Boundary:
    """Walk every row along the boundary, as far as the budget allows."""
    return advance(
        oracle, target, lambda group: walk(group, course), box, max_queries, budgets, batch, until
    )


def advance(
    oracle: Oracle,
    target: Target,
    walking: Callable[[Group], Walk],
    box: Box,
    max_queries: int,
    budgets: tuple[int, ...] | None,
    batch: int | None,
    until: Until | None = None,
) -> Boundary:
    """Walk every row to its nearest adversarial point that the budget allows."""
    _check_budgets(budgets, max_queries)
    n = len(target.x)
    if n == 0:
        return Ledger(target, max_queries, budgets, most=0).close()
    with ready(oracle, target.inputs(64), questions=n * max_queries, batch=batch) as pace:
        size = min(max(math.ceil(n / LANES), SMALLEST), max(pace.rows // LANES, 1))
        vectors = flat(box, target)
        ledger = Ledger(target, max_queries, budgets, most=pace.rows, until=until)
        walks = (
            (rows, walking(Group(rows, target.x[rows], vectors, target.norm)))
            for rows in torch.arange(n, device=target.x.device).split(size)
        )
        return drive(oracle, ledger, walks, pace, lanes=LANES)


def _check_budgets(budgets: tuple[int, ...] | None, max_queries: int) -> None:
    if budgets is not None and budgets[-1] > max_queries:
        raise BadInput(
            "budgets",
            f"go up to {budgets[-1]:,}",
            f"No row is asked about more than max_queries = {max_queries:,} times",
        )


def walk(group: Group, course: Course) -> Walk:
    """HopSkipJump's loop (algorithm 2): estimate the gradient, step, come back to the boundary."""
    wrong = yield group.ask(group.everywhere(), group.x)
    yield Leave(group.rows[wrong])
    group = group.of((~wrong).nonzero().squeeze(1))
    far, found = yield from find(group, course.tries, course.starts)
    yield Leave(group.rows[~found])
    group, far = group.of(found.nonzero().squeeze(1)), far[found]
    z = yield from bisect(group, far, course.search.halvings)
    slope = Slope(torch.zeros_like(z), z.new_zeros(len(z)))
    asked = 0
    for t in count(1):
        many = int(course.first * math.sqrt(t))
        directions = course.directions(asked, many)
        asked += many
        way = z - group.x
        distance = torch.linalg.vector_norm(way, dim=1)
        across = way / distance.view(-1, 1) if isinstance(course.search, Arc) else None
        delta = (
            group.length(way) / way.shape[1] if course.probe is None else course.probe * distance
        )
        new = yield from estimate(group, z, directions, delta, across)
        slope = Slope(
            course.memory * slope.sum + new.sum,
            course.memory**2 * slope.variance + new.variance,
        )
        v = _direction(slope, course.bands)
        if isinstance(course.search, Arc):
            z = yield from swing(group, z, v, course.search.halvings)
        else:
            z = yield from halve(group, z, v, t, course.search.halvings)


def _direction(slope: Slope, bands: Bands | None) -> Tensor:
    v = slope.sum if bands is None else shrink(slope.sum, slope.variance, bands)
    length: Tensor = torch.linalg.vector_norm(v, dim=1, keepdim=True)
    return v / length.clamp(min=torch.finfo(v.dtype).tiny)


def flat(box: Box, target: Target) -> Box:
    """The box of the rows as vectors."""
    low, high = (
        end.to(target.x).expand(target.shape).flatten() if isinstance(end, Tensor) else end
        for end in (box.low, box.high)
    )
    return Box(low, high)


def prepared(
    attack: str, x: Rows, y: Labels, box: Box, oracle: Oracle, targeted: bool, norm: float
) -> Target:
    """What is attacked, checked before anything is asked.

    Raises:
        BadInput: an input outside the box or without its label; a label that the oracle does not
            know.
    """
    y = check_labels(x, y)
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < oracle.classes:
        raise BadInput(
            attack,
            f"labels span {int(y.min())} to {int(y.max())}",
            f"The oracle knows {oracle.classes} classes: 0 to {oracle.classes - 1}",
        )
    check_inside(attack, x, box)
    return Target(x.detach().flatten(1), y, x.shape[1:], targeted, norm)


def starts_for(
    target: Target, box: Box, rng: Generator, given: Rows | None
) -> Float[Tensor, "s d"]:
    """Candidates in the inputs' shape, drawn for all rows at once.

    Raises:
        BadInput: those given have another shape, or lie outside the box.
    """
    if given is not None and given.shape[1:] != target.shape:
        raise BadInput(
            "starts",
            f"have shape {tuple(given.shape[1:])}",
            f"Give points in the inputs' shape {tuple(target.shape)}",
        )
    if given is not None:
        check_inside("starts", given, box)
    return candidates(target.x.new_zeros(target.shape), box, rng, given)
