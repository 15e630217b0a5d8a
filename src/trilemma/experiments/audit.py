"""The main job: from a declared experiment to the audit document."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from trilemma.core.errors import BadInput, MissingExtra
from trilemma.experiments import finished, methods
from trilemma.experiments.declared import portable
from trilemma.experiments.decode import decode
from trilemma.experiments.document import Json, document
from trilemma.experiments.events import Event, ignore
from trilemma.experiments.execution import Outcomes, run
from trilemma.experiments.plan import Cell, check_name, describe_recorded, recorded_cell
from trilemma.experiments.recorded import Predictions, read_recorded
from trilemma.experiments.store import Store

Check: TypeAlias = Callable[[Mapping[str, Any]], None]
RECORDED_KEYS = {"name", "models"}


def audit(
    table: Mapping[str, Any],
    store: Store,
    *,
    scheduler: str | None = None,
    workers: int = 0,
    on_event: Callable[[Event], None] = ignore,
    check: Check = lambda about: None,
) -> Json:
    """Run what is missing of a declared experiment and put the document together.

    Args:
        table: the experiment as plain values (see `specs.Experiment`).
        store: where finished stages live; a finished audit asked for again comes from here.
        scheduler: address of a Dask cluster; None computes in this process.
        workers: size of a local cluster to start instead, in processes.
        on_event: told what happens, for progress.
        check: told before any work starts what the document will say of its `models`, `methods`,
            `robustness` and `thieves`; may refuse.

    Raises:
        BadInput: before any work starts.
    """
    again = finished.find(table, store)
    if again is not None:
        check(again)
        return again
    cells, about = plan(table)
    check(about)
    inputs = [stage for cell in cells for stage in cell.inputs]
    _refuse(run(inputs, store, on_event=on_event))
    stages = [stage for cell in cells for stage in cell.stages()]
    outcomes = run(stages, store, scheduler=scheduler, workers=workers, on_event=on_event)
    built = document(about["name"], cells, outcomes, store, about=about)
    if built["status"] == "complete":
        finished.remember(table, store, built)
    return built


def _refuse(outcomes: Outcomes) -> None:
    """Data or a model that cannot be used are bad input, said before anything is trained."""
    for failed in outcomes.failures():
        if failed.kind in ("BadInput", "MissingExtra"):
            raise BadInput(failed.label, failed.error)


def plan(table: Mapping[str, Any]) -> tuple[list[Cell], Json]:
    """The cells of a declared experiment, and what the document says about it."""
    models = table.get("models")
    if isinstance(models, dict) and models and all(_is_recorded(each) for each in models.values()):
        return _recorded(table)
    try:
        from trilemma.experiments.trained import plan_trained
    except ImportError as error:
        raise _needs_torch(error) from error
    return plan_trained(table)


def _recorded(table: Mapping[str, Any]) -> tuple[list[Cell], Json]:
    """Nothing but recorded predictions: no torch, no data set, no attack to configure."""
    for key in table:
        if key not in RECORDED_KEYS:
            allowed = ", ".join(sorted(RECORDED_KEYS))
            raise BadInput(
                str(key),
                "cannot be applied to recorded predictions alone",
                f"With only `predictions` models, allowed are: {allowed}",
            )
    paths = {
        str(name): decode(each, Predictions, f"models.{name}").predictions
        for name, each in table["models"].items()
    }
    for name in paths:
        check_name(name)
    models = {name: read_recorded(path, name=name) for name, path in paths.items()}
    cells = [recorded_cell(name, models[name], path) for name, path in paths.items()]
    about = {
        "name": str(table.get("name", "audit")),
        "seeds": [],
        "spec": portable(dict(table)),
        "data": {"name": ", ".join(path.name for path in paths.values())},
        "models": {name: describe_recorded(models[name], path) for name, path in paths.items()},
        "methods": {attack: methods.recorded(attack) for attack in methods.RECORDED},
        "robustness": {},
    }
    return cells, about


def _is_recorded(model: Any) -> bool:
    return isinstance(model, dict) and "predictions" in model


def _needs_torch(error: ImportError) -> Exception:
    if error.name in ("torch", "jaxtyping"):
        return MissingExtra(error.name, "torch", "auditing a model (not recorded predictions)")
    return error
