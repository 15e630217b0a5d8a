"""Thieves that search a pool in rounds: choose, query, learn from all that is known."""

import math
from collections.abc import Callable
from dataclasses import dataclass as plain
from dataclasses import replace
from functools import partial
from typing import Annotated, TypeAlias

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor

from trilemma.attacks.extraction.learner import Learner
from trilemma.attacks.extraction.method import Lesson, Places, Scene, Thief, unchanged
from trilemma.attacks.extraction.steal import Pass, Stolen
from trilemma.core.augmentation import augmented, check_augmentation
from trilemma.core.box import UNIT, Box
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput, Refused
from trilemma.core.types import Labels, Probs, Rows
from trilemma.oracles import Ledger, Oracle


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class RoundThief(Thief):
    """How much is asked in rounds, and how much is learnt after each.

    No row of the pool is asked about twice. After each round the student begins afresh and learns
    from all answers so far.

    Args:
        queries: B_Q, the hard limit; None, and whatever is more, for every row of the pool.
        rounds: the rows are asked about in so many parts of equal size, but for rounding.
        epochs: passes over what is known, after each round.
        batch: rows of a step of the student.
        augmentation: of each batch that the student learns from, drawn anew each time.
    """

    rounds: Annotated[int, Field(ge=1)] = 1

    def limit(self, pool: int) -> int:
        """B_Q for a pool of so many rows."""
        return pool if self.queries is None else min(self.queries, pool)


@plain(frozen=True, eq=False)
class Memory:
    """What was asked and answered so far.

    Args:
        places: (m,) rows of the pool.
        asked: (m, *x) what was asked in their place.
        answers: (m, k) float64.
    """

    places: Places
    asked: Rows
    answers: Probs

    def __len__(self) -> int:
        return len(self.places)

    def and_then(self, places: Places, asked: Rows, answers: Probs) -> "Memory":
        """With what was asked and answered now."""
        parts = ((self.places, places), (self.asked, asked), (self.answers, answers))
        return Memory(*map(torch.cat, parts))


Left: TypeAlias = Bool[Tensor, " n"]  # which rows of the pool were not asked about
Pick: TypeAlias = Callable[[Scene, Rows, Left, Memory, int], Places]
# what is learnt from places in the memory, their inputs, and their answers
Teach: TypeAlias = Callable[[Scene, Places, Rows, Float[Tensor, "n k"]], Lesson]


def plainly(scene: Scene, places: Places, x: Rows, answers: Probs) -> Lesson:
    """The answers as they are."""
    return x, answers


def heedless(pick: Pick) -> Callable[[Labels | None], Pick]:
    """A pick that remembers nothing and looks at no groups."""
    return lambda groups: pick


@plain(frozen=True, kw_only=True)
class RoundMethod:
    """In what thieves that search a pool differ.

    Args:
        pick: so many of the rows that are left, or fewer, which are asked about before it is asked
            for more; called once a thief, with the groups of the pool's rows if they have any, so
            that what it remembers is its own.
        craft: what is asked in place of some rows.
        teach: what the student learns from some of the answers; called once a thief, too.
    """

    pick: Callable[[Labels | None], Pick]
    craft: Callable[[Scene, Rows], Rows] = unchanged
    teach: Callable[[], Teach] = lambda: plainly


def steal_in_rounds(
    oracle: Oracle,
    pool: Rows | Dataset,
    learner: Learner,
    config: RoundThief,
    method: RoundMethod,
    *,
    box: Box = UNIT,
    rng: Generator,
    watch: Callable[[int, Pass], None] | None = None,
) -> Stolen:
    """Teach a student what an oracle answers about rows of a pool that it chose round by round.

    Where the oracle refuses a call (`Refused`), the student learns once more from all that it was
    told before, and the theft ends. Such a call is lost as a whole.

    Args:
        oracle: the victim. A `Ledger` keeps its own account and limit, in place of the config's. A
            theft that was killed begins anew, and is answered from the ledger's file for nothing
            as far as it had come.
        pool: (m, *x) rows that the thief has; as a data set, with labels of its owner's, by which
            `KnockoffNets` may group them. They need have nothing to do with the victim's, and no
            student learns them.
        learner: the student; taught in place.
        config: budgets, rounds, batches, augmentation.
        method: what is picked, asked and learnt.
        box: the valid inputs.
        rng: of every draw; with the same generator, learner and answers, the same student.
        watch: called after each pass over what is known, with its number over all rounds, from 0.

    Raises:
        BadInput: the pool is empty; it has no groups and the method needs them; augmentation of
            rows that are no images.
    """
    pool, groups = _apart(pool)
    if len(pool) == 0:
        raise BadInput("pool", "has no rows", "Give the thief some to ask about")
    check_augmentation(config.augmentation, pool.shape[1:])
    limit = config.limit(len(pool))
    account = oracle if isinstance(oracle, Ledger) else Ledger(oracle, limit)
    scene = Scene(learner.model, box, rng, account.limit)
    pick, teach = method.pick(groups), method.teach()
    nothing = torch.zeros(0, account.classes, dtype=torch.float64)
    memory = Memory(torch.zeros(0, dtype=torch.int64), pool[:0], nothing)
    history: list[Pass] = []
    stopped = ""
    for number in range(1, config.rounds + 1):
        due, known = min(round(limit * number / config.rounds), len(memory) + account.left), memory
        chosen = partial(_picked, pick, scene, pool)
        memory, stopped = _asked(account, pool, method, chosen, scene, memory, due, config.batch)
        if stopped and memory is known:
            break
        if len(memory) == 0:  # a limit of fewer rows than rounds
            continue
        learner.afresh()
        for epoch in range(config.epochs):
            learner.begin(epoch)
            loss = _learnt(learner, memory, config, teach, replace(scene, epoch=epoch))
            spent = account.limit - account.left
            history.append(Pass(loss=loss, spent=spent, mark=account.mark))
            if watch is not None:
                watch(len(history) - 1, history[-1])
        if stopped:
            break
    return Stolen(
        classifier=learner.model, spent=account.spent, history=tuple(history), stopped=stopped
    )


def _apart(pool: Rows | Dataset) -> tuple[Rows, Labels | None]:
    """The rows, and their groups where each has one."""
    if not isinstance(pool, Dataset):
        return pool, None
    return pool.x, None if pool.soft else pool.y


def _asked(
    account: Ledger,
    pool: Rows,
    method: RoundMethod,
    chosen: Callable[[Memory, int], Places],
    scene: Scene,
    memory: Memory,
    due: int,
    batch: int,
) -> tuple[Memory, str]:
    """Ask until so many answers are known; what is known then, and why the victim refused."""
    while len(memory) < due:
        for index in chosen(memory, due - len(memory)).split(batch):
            asked = method.craft(scene, pool[index])
            try:
                answers = account(asked)
            except Refused as refusal:
                return memory, str(refusal)
            memory = memory.and_then(index, asked, answers)
    return memory, ""


def _picked(pick: Pick, scene: Scene, pool: Rows, memory: Memory, count: int) -> Places:
    """So many of the rows not asked about, or fewer."""
    left = torch.ones(len(pool), dtype=torch.bool).index_fill(0, memory.places, False)
    places = pick(scene, pool, left, memory, count)
    assert len(places), "a method picks no row while some are left"  # noqa: S101 - else no end
    return places


def _learnt(
    learner: Learner, memory: Memory, config: RoundThief, teach: Teach, scene: Scene
) -> float:
    """One pass over what is known; its mean loss."""
    losses = []
    for index in torch.randperm(len(memory), generator=scene.rng).split(config.batch):
        x = augmented(memory.asked[index], config.augmentation, scene.rng, scene.box)
        inputs, targets = teach(scene, index, x, memory.answers[index])
        losses.append(learner.learn(inputs, targets.to(inputs), scene.rng) * len(index))
    return math.fsum(losses) / len(memory)
