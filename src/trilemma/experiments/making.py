"""Making one stage: lock, run, store; and what becomes of one that fails."""

import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from trilemma.core.errors import TrilemmaError
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.events import (
    DEPENDENCY,
    Advanced,
    Damaged,
    Done,
    Event,
    Failed,
    Outcome,
    Started,
    Waiting,
)
from trilemma.experiments.faults import DamagedEntry, NotStored, StoreFull, is_full
from trilemma.experiments.graph import Bench, Stage, key, parents, spec
from trilemma.experiments.store import Store

Report: TypeAlias = Callable[[Event], None]

_PAUSE = 0.2  # seconds between two reports of one stage's progress


class ParentFailed(TrilemmaError):
    """A parent had to be made anew in the middle of a stage, and failed."""


class StoreBench(Bench):
    """The bench of one running stage, on a store."""

    def __init__(self, stage: Stage, store: Store, report: Report) -> None:
        self._stage, self._store, self._report = stage, store, report
        self._next = 0.0

    @property
    def scratch(self) -> Path:
        """A folder for checkpoints: survives a crash of the stage, removed once it succeeded."""
        return self._store.scratch(key(self._stage))

    def load(self, parent: Stage) -> Artifact:
        """What a parent made; one found damaged is made anew, here and now."""
        if key(parent) not in map(key, parents(self._stage)):
            raise ValueError(f"{self._stage.label()} loads {parent.label()}, no field of it")
        try:
            return self._store.read(key(parent))
        except DamagedEntry as error:
            self._report(Damaged(key=error.key, why=error.why))
        except NotStored:
            pass  # removed since the run was planned
        outcome = attempt(parent, self._store, self._report)
        if isinstance(outcome, Failed):
            raise ParentFailed(_needs(outcome))
        return self._store.read(key(parent))

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Report, at most a few times a second; the last step always."""
        now = time.monotonic()
        if now >= self._next or done >= total:
            self._next = now + _PAUSE
            self._report(Advanced(label=self._stage.label(), done=done, total=total, note=note))


def attempt(stage: Stage, store: Store, report: Report, *needs: Outcome) -> Outcome:
    """Make a stage, unless one of its parents failed; a failure is a value.

    Args:
        stage: what to make.
        store: where its parents are and where its result goes.
        report: told how it goes on.
        needs: what became of the parents that this run computes.

    Raises:
        StoreFull: there is no point in going on with any stage.
    """
    if (skipped := not_tried(stage, needs)) is not None:
        return skipped
    try:
        return _make(stage, store, report)
    except StoreFull:
        raise
    except ParentFailed as error:
        return _failed(stage, DEPENDENCY, str(error))
    except (Exception, SystemExit) as error:
        if is_full(error):  # a checkpoint that could not be written, by whichever library
            raise StoreFull(store.root) from error
        said = str(error) or type(error).__name__
        return _failed(stage, type(error).__name__, said, traceback.format_exc())


def not_tried(stage: Stage, needs: Iterable[Outcome]) -> Failed | None:
    """The outcome of a stage of which a parent failed; None where none did."""
    for outcome in needs:
        if isinstance(outcome, Failed):
            return _failed(stage, DEPENDENCY, _needs(outcome))
    return None


def _make(stage: Stage, store: Store, report: Report) -> Done:
    name, label = key(stage), stage.label()
    with store.lock(name, on_wait=lambda: report(Waiting(label=label))):
        if store.has(name):
            store.clear_scratch(name)
            return Done(key=name, label=label, found=True)
        report(Started(label=label))
        start = time.monotonic()
        artifact = stage.run(StoreBench(stage, store, report))
        seconds = time.monotonic() - start
        kind = type(stage).__name__
        about = {"stage": kind, "label": label, "spec": spec(stage), "seconds": round(seconds, 3)}
        store.write(name, artifact, about)
        store.clear_scratch(name)
        return Done(key=name, label=label, seconds=seconds)


def _needs(outcome: Failed) -> str:
    """Names the stage that failed first, however far up it is."""
    if outcome.kind == DEPENDENCY:
        return outcome.error
    return f"needs {outcome.label}, which failed"


def _failed(stage: Stage, kind: str, error: str, trace: str = "") -> Failed:
    return Failed(key=key(stage), label=stage.label(), error=error, kind=kind, trace=trace)
