"""The loop of every thief: choose or synthesise, query, learn (Li et al. 2023, algorithm 1)."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Generator

from trilemma.attacks.extraction.learner import Learner
from trilemma.attacks.extraction.method import Method, Scene, Thief
from trilemma.core.augmentation import augmented, check_augmentation
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput, Refused
from trilemma.core.types import Classifier, Rows
from trilemma.oracles import Ledger, Oracle


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass of a thief.

    Args:
        loss: of the student on what it was taught, mean over the rows, in nats.
        spent: rows sent until its end.
        mark: of the ledger at its end.
    """

    loss: float
    spent: int
    mark: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Stolen:
    """What a thief ends with.

    Args:
        classifier: the student.
        spent: rows sent in all, the last call's as well where it was refused.
        history: pass by pass; none in which nothing was learnt.
        stopped: why the victim refused to go on; empty where it did not.
    """

    classifier: Classifier
    spent: int
    history: tuple[Pass, ...]
    stopped: str = ""


@runtime_checkable
class Keeper(Protocol):
    """Where a theft is saved after a pass, and taken up again."""

    def load(self) -> list[dict[str, Any]]:
        """Put student and generator back to what was saved last; the passes until then."""

    def save(self, history: list[dict[str, Any]]) -> bool:
        """Save student, generator and passes, if it is time to; whether it was."""


def steal(  # noqa: PLR0913
    oracle: Oracle,
    pool: Rows,
    learner: Learner,
    config: Thief,
    method: Method,
    *,
    box: Box = UNIT,
    rng: Generator,
    keeper: Keeper | None = None,
    watch: Callable[[int, Pass], None] | None = None,
) -> Stolen:
    """Teach a student by what an oracle answers.

    Where the oracle refuses a call (`Refused`), the theft ends with what was learnt before. Such a
    call is lost as a whole.

    Args:
        oracle: the victim. A `Ledger` keeps its own account and limit, in place of the config's.
        pool: (m, *x) rows that the thief has, without labels.
        learner: the student; taught in place.
        config: budgets, batches, augmentation.
        method: what is asked, and what is learnt of it.
        box: the valid inputs.
        rng: of every draw; with the same generator, learner and answers, the same student.
        keeper: saves after passes, and where it has saved, the theft goes on from there.
        watch: called after each pass with its number, from 0, and its record.

    Raises:
        BadInput: the pool is empty; augmentation of rows that are no images.
    """
    if len(pool) == 0:
        raise BadInput("pool", "has no rows", "Give the thief some to ask about")
    check_augmentation(config.augmentation, pool.shape[1:])
    account = oracle if isinstance(oracle, Ledger) else Ledger(oracle, config.limit(len(pool)))
    history = [Pass(**each) for each in keeper.load()] if keeper else []
    if history:
        account.rewind(history[-1].mark)
    stopped = ""
    for epoch in range(len(history), config.epochs):
        if stopped or (account.left == 0 and not account.once):
            break
        learner.begin(epoch)
        scene = Scene(learner.model, box, rng, account.limit, epoch)
        passed, stopped = _passed(account, pool, learner, config, method, scene)
        if passed is None:
            break
        history.append(passed)
        if keeper is None or keeper.save([asdict(each) for each in history]):
            account.forget()
        if watch is not None:
            watch(epoch, history[-1])
    return Stolen(
        classifier=learner.model, spent=account.spent, history=tuple(history), stopped=stopped
    )


def _passed(
    account: Ledger, pool: Rows, learner: Learner, config: Thief, method: Method, scene: Scene
) -> tuple[Pass | None, str]:
    """Ask about as many rows as the pool has, or as the limit allows, and learn from each batch.

    Returns:
        The pass, None where nothing was learnt; why the victim refused to go on.
    """
    total, rows, stopped = 0.0, 0, ""
    for index in method.choose(scene, pool).split(config.batch):
        if not account.once:
            index = index[: account.left]
            if len(index) == 0:
                break
        x = augmented(pool[index], config.augmentation, scene.rng, scene.box)
        asked = method.craft(scene, x)
        if account.once:  # what is known costs nothing, so that only now is known what is left for
            able = account.payable(asked)
            index, x, asked = index[able], x[able], asked[able]
            if len(index) == 0:
                continue
        try:
            answer = account(asked)
        except Refused as refusal:
            stopped = str(refusal)
            break
        inputs, targets = method.lesson(scene, x, asked, answer)
        loss = learner.learn(inputs, targets.to(inputs), scene.rng)
        total, rows = math.fsum([total, loss * len(index)]), rows + len(index)
    if rows == 0:
        return None, stopped
    spent = account.limit - account.left
    return Pass(loss=total / rows, spent=spent, mark=account.mark), stopped
