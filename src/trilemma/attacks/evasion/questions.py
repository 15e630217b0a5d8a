"""The engine of decision-based attacks: it keeps the model's batch full and the books.

An attack is a `Walk`: a generator that advances a group of rows together, yields questions and is
sent the answers. The engine runs several walks at once and fills every call from the questions
that are open, whatever each walk is doing: one that searches along a line asks about few points,
one that estimates a gradient about thousands. It counts each row's queries, cuts them off at the
budget and keeps the best point seen. An attack never sees the budget: one with a larger budget
continues the path of one with a smaller.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trilemma.attacks.evasion.boundary import Boundary, sizes
from trilemma.core.errors import BudgetExceeded
from trilemma.core.pace import Pace
from trilemma.core.types import Labels, PerRow, Rows
from trilemma.oracles import Oracle

Flat: TypeAlias = Tensor  # (m, d): rows as vectors
Part: TypeAlias = slice | Int[Tensor, " p"]  # some of a question's points
Answer: TypeAlias = Bool[Tensor, " m"]  # whether each point is adversarial
Margin: TypeAlias = Float[Tensor, " m"]  # how far each point is from adversarial, in nats
# of rows' queries and distances so far: which of them are decided, and asked no more
Until: TypeAlias = Callable[[Int[Tensor, " r"], PerRow], Bool[Tensor, " r"]]
MARKS = 64  # budgets of a trace
SOME = 128  # rows at a time where all are gone through


@dataclass(frozen=True)
class Question:
    """Whether points are adversarial; they are built when their turn comes.

    Args:
        rows: (m,) the input that each point belongs to.
        order: (m,) 0, 1, 2, ...: its place among the question's points for that input. A point
            beyond the row's budget is not asked about, and is answered: not adversarial.
        points: the points of a part of the question, (m', d).
    """

    rows: Int[Tensor, " m"]
    order: Int[Tensor, " m"]
    points: Callable[[Part], Flat]


@dataclass(frozen=True)
class Leave:
    """Rows for which nothing more will be asked: misclassified as they are, or without a start."""

    rows: Int[Tensor, " m"]


# is sent an Answer, or a Margin, for a question; nothing of use for rows that leave
Walk: TypeAlias = Generator[Question | Leave, Tensor, None]


@dataclass(frozen=True)
class Target:
    """What every walk is after.

    Args:
        x: (n, d) inputs as vectors.
        y: (n,) their labels; the labels wanted, if `targeted`.
        shape: of one input.
        targeted: whether adversarial means labelled y, or not labelled y.
        norm: 2 or infinity.
        scores: whether walks are told margins (see `ask`) instead of yes or no.
    """

    x: Flat
    y: Labels
    shape: torch.Size
    targeted: bool
    norm: float
    scores: bool = False

    @property
    def features(self) -> int:
        """d."""
        return self.x.shape[1]

    def inputs(self, most: int) -> Rows:
        """The first inputs in their own shape."""
        return self.x[:most].view(-1, *self.shape)

    def length(self, change: Flat) -> PerRow:
        """Of each row, in the attack's norm."""
        return lengths(change, self.norm)


def lengths(change: Flat, norm: float) -> PerRow:
    """The norm of each row of a matrix."""
    if norm == math.inf:
        return change.abs().amax(1)
    length: PerRow = torch.linalg.vector_norm(change, dim=1)
    return length


class Ledger:
    """What each row has cost and gained so far.

    Args:
        target: what is attacked.
        max_queries: of each row.
        budgets: where the trace is read.
        most: points that are booked at once.
        until: what ends a row before its budget; None: nothing does.
    """

    def __init__(
        self,
        target: Target,
        max_queries: int,
        budgets: Sequence[int] | None,
        most: int,
        until: Until | None = None,
    ) -> None:
        x = target.x
        n, device = len(x), x.device
        self.target, self.until = target, until
        self.best = x.clone()
        self.distance = torch.full((n,), math.inf, dtype=x.dtype, device=device)
        self.queries = torch.zeros(n, dtype=torch.int64, device=device)
        self.limit = torch.full_like(self.queries, max_queries)  # what was spent, once decided
        self.budgets = torch.tensor(budgets or marks(max_queries), device=device)
        self.trace = x.new_full((n, len(self.budgets)), math.inf)
        self._change = x.new_empty(most, x.shape[1])
        self.unfinished = torch.ones(n, dtype=torch.bool, device=device)

    def note(
        self,
        rows: Int[Tensor, " m"],
        place: Int[Tensor, " m"],
        points: Flat,
        adversarial: Answer,
    ) -> None:
        """Book answers: each was its row's question number `place`."""
        self.queries.index_add_(0, rows, torch.ones_like(rows))
        change = self._change[: len(rows)]  # memory that stays in the cache
        torch.index_select(self.target.x, 0, rows, out=change)
        distance = self.target.length(change.sub_(points))
        better = (adversarial & (distance < self.distance[rows])).nonzero().squeeze(1)
        if len(better) == 0:
            return
        rows, place, distance = rows[better], place[better], distance[better]
        self.distance.scatter_reduce_(0, rows, distance, "amin")
        best = distance == self.distance[rows]
        self.best[rows[best]] = points[better[best]]
        column = torch.searchsorted(self.budgets, place)
        seen = column < len(self.budgets)
        cell = rows[seen] * len(self.budgets) + column[seen]
        self.trace.view(-1).scatter_reduce_(0, cell, distance[seen], "amin")

    def decide(self, rows: Int[Tensor, " r"]) -> None:
        """End the rows that are decided: what they have spent becomes their budget."""
        if self.until is not None:
            decided = rows[self.until(self.queries[rows], self.distance[rows])]
            self.limit[decided] = self.queries[decided]

    def going(self, rows: Int[Tensor, " r"]) -> bool:
        """Whether one of the rows has neither left nor spent its budget."""
        spent = self.queries[rows] >= self.limit[rows]
        return bool((self.unfinished[rows] & ~spent).any())

    def close(self) -> Boundary:
        """The books as the attack's result."""
        target, found = self.target, self.distance.isfinite()
        measured = self.distance.new_empty(4, len(found))
        for start in range(0, len(found), SOME):
            rows = slice(start, start + SOME)
            measured[:, rows] = torch.stack(sizes(self.best[rows] - target.x[rows]))
            self.trace[rows] = self.trace[rows].cummin(1).values
        l0, l1, l2, linf = measured.where(found, math.inf)
        return Boundary(
            x_adv=self.best.view(-1, *target.shape),
            distance=self.distance,
            l0=l0,
            l1=l1,
            l2=l2,
            linf=linf,
            queries=self.queries,
            budgets=self.budgets,
            trace=self.trace,
            exhausted=self.unfinished & (self.queries < self.limit),
        )


def marks(max_queries: int) -> list[int]:
    """Numbers of queries from 1 to the budget, evenly on a logarithmic scale."""
    steps = torch.linspace(0, 1, MARKS, dtype=torch.float64)
    return sorted({round(max_queries ** float(step)) for step in steps})


@dataclass
class Lane:
    """A walk and how much of its open question is answered."""

    walk: Walk
    rows: Int[Tensor, " r"]
    question: Question | None = None
    place: Tensor = field(default_factory=lambda: torch.zeros(0))  # its row's how-manieth query
    todo: Tensor | None = None  # the points within the budget; None if all are
    answer: Tensor = field(default_factory=lambda: torch.zeros(0))
    done: int = 0

    def open(self, question: Question, ledger: Ledger) -> None:
        """Take up a question; what lies beyond the budget is not asked."""
        self.question, self.done = question, 0
        self.place = ledger.queries[question.rows] + question.order + 1
        within = self.place <= ledger.limit[question.rows]
        self.todo = None if bool(within.all()) else within.nonzero().squeeze(1)
        kind = ledger.target.x.dtype if ledger.target.scores else torch.bool
        self.answer = torch.zeros_like(self.place, dtype=kind)

    def left(self) -> int:
        """Points that are still to be asked about."""
        return (len(self.place) if self.todo is None else len(self.todo)) - self.done

    def take(self, room: int) -> Part:
        """The next points, at most so many."""
        start, self.done = self.done, self.done + min(room, self.left())
        part = slice(start, self.done)
        return part if self.todo is None else self.todo[part]


def drive(
    oracle: Oracle,
    ledger: Ledger,
    walks: Iterator[tuple[Int[Tensor, " r"], Walk]],
    pace: Pace,
    *,
    lanes: int,
) -> Boundary:
    """Run walks, so many at a time, until each has ended or its rows' budgets are spent.

    Args:
        oracle: what is asked, at most `pace.rows` rows a call.
        ledger: the books; kept here.
        walks: with the rows each is about; started one after another, as others end.
        pace: how the oracle is asked.
        lanes: walks at a time, which bounds memory.
    """
    running: list[Lane] = []
    try:
        while True:
            while len(running) < lanes and (coming := next(walks, None)) is not None:
                lane = Lane(coming[1], coming[0])
                if _advance(lane, ledger, None):
                    running.append(lane)
            if not running:
                return ledger.close()
            _ask(oracle, ledger, running, pace)
            running = [
                lane for lane in running if lane.left() or _advance(lane, ledger, lane.answer)
            ]
    except BudgetExceeded:
        return ledger.close()


def _advance(lane: Lane, ledger: Ledger, answer: Tensor | None) -> bool:
    """Hand a walk its answers until it has a question that is to be asked; False at its end.

    Rows are decided here, between a walk's questions and not between the oracle's calls, so that
    where a row ends does not depend on the rows beside it.
    """
    if answer is not None:
        ledger.decide(lane.rows)
    while ledger.going(lane.rows):
        try:
            step = next(lane.walk) if answer is None else lane.walk.send(answer)
        except StopIteration:
            break
        if isinstance(step, Leave):
            ledger.unfinished[step.rows] = False
            answer = torch.zeros_like(step.rows, dtype=torch.bool)
            continue
        lane.open(step, ledger)
        if lane.left():
            return True
        answer = lane.answer
    lane.walk.close()
    ledger.unfinished[lane.rows] = False
    return False


def _ask(oracle: Oracle, ledger: Ledger, running: list[Lane], pace: Pace) -> None:
    """One call of the oracle, filled from the shortest open questions on."""
    target, room = ledger.target, pace.rows
    parts: list[tuple[Lane, Part]] = []
    points: list[Flat] = []
    for lane in sorted(running, key=Lane.left):
        if room == 0:
            break
        part = lane.take(room)
        points.append(_question(lane).points(part))
        parts.append((lane, part))
        room -= len(points[-1])
    asked = _joined(points)
    rows = _joined([_question(lane).rows[part] for lane, part in parts])
    place = _joined([lane.place[part] for lane, part in parts])
    adversarial, told = ask(oracle, target, rows, asked, pace)
    ledger.note(rows, place, asked, adversarial)
    answers = told.split([len(each) for each in points])
    for (lane, part), answer in zip(parts, answers, strict=True):
        lane.answer[part] = answer


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _question(lane: Lane) -> Question:
    assert lane.question is not None  # noqa: S101 - a running lane has one
    return lane.question


def ask(
    oracle: Oracle, target: Target, rows: Int[Tensor, " m"], points: Flat, pace: Pace
) -> tuple[Answer, Answer | Margin]:
    r"""Whether each point has another label than its row (the wanted one, if targeted).

    And what a walk is told: the same, or with `target.scores` the margin

    .. math:: \log F(x)_y - \max_{j \ne y} \log F(x)_j,

    with its sign turned if targeted; negative for adversarial points.
    """
    inputs: Rows = pace.lay(points.view(-1, *target.shape))
    answers, y = oracle(inputs), target.y[rows]
    hit = answers.argmax(1) == y
    adversarial = hit if target.targeted else ~hit
    if not math.isfinite(answers.sum().item()):  # an answer that is no number turns no row
        adversarial &= answers.sum(1).isfinite()
    if not target.scores:
        return adversarial, adversarial
    own = answers.gather(1, y.view(-1, 1)).squeeze(1)
    rival = answers.scatter(1, y.view(-1, 1), 0.0).amax(1)
    least = torch.finfo(torch.float32).tiny  # a probability that was rounded to 0
    margin = own.clamp(min=least).log() - rival.clamp(min=least).log()
    return adversarial, (-margin if target.targeted else margin).to(points.dtype)
