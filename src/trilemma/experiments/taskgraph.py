"""What a run must compute, and the Dask graph of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from trilemma.experiments.events import Damaged, Outcome
from trilemma.experiments.faults import DamagedEntry
from trilemma.experiments.graph import Stage, key, parents
from trilemma.experiments.making import Report
from trilemma.experiments.store import Store

Work: TypeAlias = Callable[[Stage], Callable[..., Outcome]]  # a stage -> the task that makes it


@dataclass(frozen=True)
class Missing:
    """Stages by key: `found` in the store, or `missing`, parents before the stages that need them.

    Stages that only a found stage would need are in neither.
    """

    found: dict[str, Stage] = field(default_factory=dict)
    missing: dict[str, Stage] = field(default_factory=dict)

    def needs(self, stage: Stage) -> list[str]:
        """The keys of the stage's parents that are missing too."""
        return [key(parent) for parent in parents(stage) if key(parent) in self.missing]


def look(targets: Sequence[Stage], store: Store, on_event: Report) -> Missing:
    """Find what of the targets, and of what they need, is stored and sound."""
    seen = Missing()

    def visit(stage: Stage) -> None:
        name = key(stage)
        if name in seen.found or name in seen.missing:
            return
        if _stored(store, name, on_event):
            seen.found[name] = stage
            return
        for parent in parents(stage):
            visit(parent)
        seen.missing[name] = stage

    for target in targets:
        visit(target)
    return seen


def tasks(
    seen: Missing, work: Work, *, suffix: str = "", resources: bool = False
) -> dict[str, Any]:
    """One `dask.delayed` for each missing stage; a task is given its parents' outcomes.

    Args:
        seen: what is missing.
        work: makes the function of a task.
        suffix: tells this run's tasks from others' on a shared scheduler.
        resources: annotate stages that want a GPU with the resource `GPU`.
    """
    from dask.base import annotate
    from dask.delayed import delayed

    made: dict[str, Any] = {}
    for name, stage in seen.missing.items():
        title = f"{type(stage).__name__}-{name}{suffix}"
        task = delayed(work(stage), name=f"make-{title}", pure=False, traverse=False)
        with annotate(**({"resources": {"GPU": 1}} if resources and stage.gpu else {})):
            made[name] = task(*map(made.get, seen.needs(stage)), dask_key_name=title)
    return made


def _stored(store: Store, name: str, on_event: Report) -> bool:
    try:
        return store.sound(name)
    except DamagedEntry as error:
        on_event(Damaged(key=name, why=error.why))
        return False
