"""Running stages: what is missing, as a Dask graph, one stage a task.

Tasks hand each other outcomes (a key, a label, an error), never data: data go through the store.
A cluster's processes exchange the stages themselves as Dask serialises them, by cloudpickle, so a
scheduler must be one that you trust; on a shared network use a `tls://` address.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from trilemma.core.errors import BadInput
from trilemma.experiments.events import Done, Event, Failed, Finished, Outcome, Planned, ignore
from trilemma.experiments.faults import StoreFull
from trilemma.experiments.graph import Stage, key
from trilemma.experiments.making import Report, attempt
from trilemma.experiments.store import Store
from trilemma.experiments.taskgraph import Missing, look, tasks

__all__ = ["Done", "Event", "Failed", "Outcome", "Outcomes", "StoreFull", "run"]


class Outcomes(Mapping[Stage, Outcome]):
    """What became of each stage of a run: its targets and what they needed.

    A stage is looked up by its key, so that fields which do not count, or have no hash, are no
    matter.
    """

    def __init__(self, pairs: Mapping[str, tuple[Stage, Outcome]]) -> None:
        self._pairs = dict(pairs)

    def __getitem__(self, stage: Stage) -> Outcome:
        return self._pairs[key(stage)][1]

    def __iter__(self) -> Iterator[Stage]:
        return (stage for stage, _ in self._pairs.values())

    def __len__(self) -> int:
        return len(self._pairs)

    def failures(self) -> list[Failed]:
        """The stages that failed, parents before the stages that need them."""
        return [each for _, each in self._pairs.values() if isinstance(each, Failed)]


def run(
    targets: Sequence[Stage],
    store: Store,
    *,
    scheduler: str | None = None,
    workers: int = 0,
    on_event: Report = ignore,
) -> Outcomes:
    """Compute what is missing of `targets` and of what they need.

    A stored target is verified and taken; its parents are not looked at. A stage that fails is an
    outcome, and so are the stages that need it; all others run. Interrupted (Ctrl-C, SIGKILL, a
    full disk), the same call later continues: stages that finished are found, the one that was
    cut off continues from its checkpoint. Several processes may run on one store at once; each
    stage is computed by one of them.

    Args:
        targets: the stages whose results are wanted.
        store: where results go.
        scheduler: address of a Dask scheduler, `tcp://host:8786` or `tls://host:8786`, whose
            workers see the store under the same path; stages with `gpu` wait for a worker that
            offers the resource `GPU`.
        workers: start so many worker processes on this machine, with one thread each. A script
            that asks for them needs the usual `if __name__ == "__main__":`.
        on_event: called, in this thread, with each `events.Event`.

    Returns:
        The outcome of each stage that counted.

    Raises:
        BadInput: scheduler and workers both given, a negative number, nobody at the address, or a
            store that cannot be written.
        MissingExtra: workers or a scheduler without the extra `cluster`.
        StoreFull: the disk is full; what finished is stored.
    """
    _check(scheduler, workers)
    seen = look(targets, store, on_event)
    missing = tuple(stage.label() for stage in seen.missing.values())
    on_event(Planned(total=len(seen.found) + len(missing), missing=missing))
    made: Mapping[str, Outcome] = {}
    if seen.missing:
        store.prepare()
        store.sweep()
        if scheduler or workers:
            from trilemma.experiments import cluster

            made = cluster.compute(seen, store, scheduler, workers, on_event)
        else:
            made = _compute_here(seen, store, on_event)
    pairs: dict[str, tuple[Stage, Outcome]] = {}
    for name, stage in seen.found.items():
        pairs[name] = (stage, Done(key=name, label=stage.label(), found=True))
    for name, stage in seen.missing.items():
        pairs[name] = (stage, made[name])
    return Outcomes(pairs)


def _compute_here(seen: Missing, store: Store, on_event: Report) -> dict[str, Outcome]:
    from dask.base import compute
    from dask.local import get_sync  # by name, dask would import distributed to look for a client

    def work(stage: Stage) -> Callable[..., Outcome]:
        return partial(_here, stage, store, on_event)

    graph = tasks(seen, work)
    outcomes = compute(*graph.values(), scheduler=get_sync, traverse=False, optimize_graph=False)
    return dict(zip(graph, outcomes, strict=True))


def _here(stage: Stage, store: Store, on_event: Report, *needs: Outcome) -> Outcome:
    outcome = attempt(stage, store, on_event, *needs)
    on_event(Finished(outcome=outcome))
    return outcome


def _check(scheduler: str | None, workers: int) -> None:
    if workers < 0:
        raise BadInput("workers", f"must be 0 or more; got {workers}")
    if scheduler and workers:
        raise BadInput("workers", f"got {workers} beside scheduler {scheduler}", "Give one of them")
