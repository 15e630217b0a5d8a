"""Laws of a run: what is missing is computed once, what is there is taken, failures are values."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from toys import Number, Pokes, Raises, Sum, Walk, noted, value

from trilemma.core.errors import BadInput, MissingExtra
from trilemma.experiments.events import (
    Advanced,
    Damaged,
    Done,
    Event,
    Failed,
    Finished,
    Planned,
    Started,
    Waiting,
)
from trilemma.experiments.execution import run
from trilemma.experiments.graph import Artifact, Stage, key, spec
from trilemma.experiments.store import Store


def damage(store: Store, stage: Stage) -> None:
    (store.root / key(stage)[:2] / key(stage) / "facts.json").write_text("{}")


def test_each_stage_is_computed_once_and_parents_first(store: Store, log: Path) -> None:
    one, two = (Number(value=v, log=log) for v in (1.0, 2.0))
    inner = Sum(parts=(one, two), log=log)
    outer = Sum(parts=(inner, one, inner), log=log)
    outcomes = run([outer, inner, outer], store)
    assert value(store, outer) == 7.0
    assert sorted(noted(log)) == ["number-1.0", "number-2.0", "sum", "sum"]
    assert list(outcomes) == [one, two, inner, outer]
    assert all(isinstance(each, Done) and not each.found for each in outcomes.values())
    assert outcomes.failures() == []


def test_what_is_stored_is_not_computed_again(store: Store, log: Path) -> None:
    target = Sum(parts=(Number(value=1.0, log=log),), log=log)
    run([target], store)
    events: list[Event] = []
    outcomes = run([target], store, on_event=events.append)
    assert noted(log) == ["number-1.0", "sum"]
    assert events == [Planned(total=1, missing=())]
    assert outcomes[target] == Done(key=key(target), label="sum of 1", found=True)


def test_a_stored_target_does_not_look_at_its_parents(store: Store) -> None:
    target = Sum(parts=(Raises(),))
    store.write(key(target), Artifact(facts={"value": 5.0}))
    assert run([target], store).failures() == []


def test_only_what_is_missing_is_computed(store: Store, log: Path) -> None:
    one, two = (Number(value=v, log=log) for v in (1.0, 2.0))
    run([one], store)
    outcomes = run([Sum(parts=(one, two), log=log)], store)
    assert noted(log) == ["number-1.0", "number-2.0", "sum"]
    assert [isinstance(each, Done) and each.found for each in outcomes.values()] == [
        True,
        False,
        False,
    ]


def test_outcomes_are_found_by_key(store: Store, log: Path) -> None:
    outcomes = run([Number(value=1.0, log=log)], store)
    assert Number(value=1) in outcomes
    assert outcomes[Number(value=1)].label == "number 1.0"
    assert Number(value=2) not in outcomes
    assert len(outcomes) == 1


def test_a_failure_is_a_value_and_the_rest_goes_on(store: Store) -> None:
    bad = Raises(error=ZeroDivisionError, message="no quotient")
    child = Sum(parts=(Number(value=1), bad))
    grandchild = Sum(parts=(child,))
    good = Sum(parts=(Number(value=1), Number(value=2)))
    outcomes = run([grandchild, good], store)
    assert value(store, good) == 3.0
    failed = outcomes[bad]
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.error, failed.label) == (
        "ZeroDivisionError",
        "no quotient",
        "raise",
    )
    assert "self.error(self.message)" in failed.trace
    for stage in (child, grandchild):
        assert outcomes[stage] == Failed(
            key=key(stage),
            label=stage.label(),
            error="needs raise, which failed",
            kind="DependencyFailed",
        )
    assert outcomes.failures() == [outcomes[bad], outcomes[child], outcomes[grandchild]]
    assert not store.has(key(bad))


def test_a_failure_is_tried_again(store: Store) -> None:
    run([Sum(parts=(Raises(error=ValueError),))], store)
    store.write(key(Raises()), Artifact(facts={"value": 1.0}))
    assert run([Sum(parts=(Raises(),))], store).failures() == []


@pytest.mark.parametrize("error", [MemoryError, SystemExit, RecursionError, AssertionError])
def test_whatever_a_stage_raises_is_its_failure(store: Store, error: type[BaseException]) -> None:
    failed = run([Raises(error=error)], store)[Raises()]
    assert isinstance(failed, Failed)
    assert failed.kind == error.__name__


def test_an_error_without_words_is_named(store: Store) -> None:
    failed = run([Raises(message="", error=KeyError)], store).failures()[0]
    assert failed.error == "''"
    failed = run([Raises(message="", error=MemoryError)], store).failures()[0]
    assert failed.error == "MemoryError"


def test_an_interruption_passes_and_what_is_stored_stays(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt):
        run([Sum(parts=(Number(value=1), Raises(error=KeyboardInterrupt)))], store)
    assert not store.has(key(Raises()))
    before = list(store.entries())
    with store.lock(key(Raises())):  # nobody holds it any more
        pass
    run([Number(value=1)], store)
    assert value(store, Number(value=1)) == 1.0
    assert all(store.sound(each.key) for each in before)


def test_a_stage_may_load_only_what_its_key_counts(store: Store) -> None:
    failed = run([Number(value=1), Pokes()], store)[Pokes()]
    assert isinstance(failed, Failed)
    assert failed.error == "poke loads number 1, no field of it"


def test_the_manifest_says_how_it_was_made(store: Store) -> None:
    stage = Walk(steps=3)
    run([stage], store)
    (entry,) = store.entries()
    assert entry.about["stage"] == "Walk"
    assert entry.about["label"] == "walk 3, seed 0"
    assert entry.about["spec"] == spec(stage)
    assert entry.about["seconds"] >= 0


def test_scratch_goes_when_the_stage_succeeded(store: Store) -> None:
    run([Walk(steps=3)], store)
    assert list((store.root / "scratch").iterdir()) == []


def test_events_tell_the_story_in_order(store: Store) -> None:
    events: list[Event] = []
    run([Walk(steps=2)], store, on_event=events.append)
    assert [type(each) for each in events] == [Planned, Started, Advanced, Advanced, Finished]
    assert events[0] == Planned(total=1, missing=(Walk(steps=2).label(),))
    assert events[2] == Advanced(label="walk 2, seed 0", done=1, total=2)
    assert events[3] == Advanced(label="walk 2, seed 0", done=2, total=2)
    assert isinstance(events[4], Finished)
    assert events[4].outcome.label == "walk 2, seed 0"


def test_progress_is_throttled(store: Store) -> None:
    events: list[Event] = []
    run([Walk(steps=200)], store, on_event=events.append)
    advanced = [each for each in events if isinstance(each, Advanced)]
    assert len(advanced) < 100
    assert advanced[-1].done == 200


def test_a_damaged_target_is_made_anew(store: Store, log: Path) -> None:
    stage = Number(value=1, log=log)
    run([stage], store)
    damage(store, stage)
    events: list[Event] = []
    assert run([stage], store, on_event=events.append).failures() == []
    assert isinstance(events[0], Damaged)
    assert events[0].key == key(stage)
    assert events[0].why.startswith("facts.json has 2 bytes instead of")
    assert noted(log) == ["number-1", "number-1"]
    assert value(store, stage) == 1.0


def test_a_damaged_parent_is_made_anew(store: Store, log: Path) -> None:
    one, two = Number(value=1, log=log), Number(value=2, log=log)
    run([one, two], store)
    damage(store, two)
    events: list[Event] = []
    target = Sum(parts=(one, two))
    run([target], store, on_event=events.append)
    assert [type(each) for each in events[:2]] == [Damaged, Planned]
    assert noted(log) == ["number-1", "number-2", "number-2"]
    assert value(store, target) == 3.0


@pytest.mark.parametrize("lose", [damage, lambda store, stage: store.remove(key(stage))])
def test_a_parent_that_is_lost_after_planning_is_made_anew(
    store: Store, log: Path, lose: Callable[[Store, Stage], None]
) -> None:
    one = Number(value=1, log=log)
    target = Sum(parts=(one,))
    run([one], store)
    events: list[Event] = []

    def late(event: Event) -> None:
        events.append(event)
        if event == Started(label=target.label()):
            lose(store, one)

    assert run([target], store, on_event=late).failures() == []
    assert value(store, target) == 1.0
    assert noted(log) == ["number-1", "number-1"]


def test_a_parent_that_is_lost_and_then_fails_fails_its_child(store: Store) -> None:
    bad = Raises()
    store.write(key(bad), Artifact(facts={"value": 1.0}))
    target = Sum(parts=(bad,))

    def late(event: Event) -> None:
        if event == Started(label=target.label()):
            damage(store, bad)

    failed = run([target], store, on_event=late)[target]
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.error) == ("DependencyFailed", "needs raise, which failed")


def test_a_run_that_waits_for_another_says_so_and_takes_its_result(store: Store, log: Path) -> None:
    stage = Number(value=1, log=log)
    waiting = threading.Event()
    events: list[Event] = []

    def on_event(event: Event) -> None:
        events.append(event)
        if isinstance(event, Waiting):
            waiting.set()

    thread = threading.Thread(target=run, args=([stage], store), kwargs={"on_event": on_event})
    with store.lock(key(stage)):
        thread.start()
        assert waiting.wait(20)
        store.write(key(stage), Artifact(facts={"value": 1.0}))
    thread.join()
    assert noted(log) == []
    assert events[1:] == [
        Waiting(label="number 1"),
        Finished(outcome=Done(key=key(stage), label="number 1", found=True)),
    ]


@pytest.mark.parametrize(
    ("scheduler", "workers", "said"),
    [(None, -1, "workers: must be 0 or more; got -1"), ("tcp://h:1", 2, "Give one of them")],
)
def test_nonsense_is_refused_before_any_work(
    store: Store, scheduler: str | None, workers: int, said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        run([Number(value=1)], store, scheduler=scheduler, workers=workers)
    assert not store.root.exists()


def test_a_store_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = tmp_path / "log"
    with pytest.raises(BadInput, match="cannot be used"):
        run([Number(value=1, log=log)], Store(tmp_path / "file"))
    assert noted(log) == []


def test_workers_without_the_extra_say_what_to_install(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra, match=r"pip install 'trilemma\[cluster\]'"):
        run([Number(value=1)], store, workers=2)


def test_nothing_heavy_is_imported_before_it_is_needed(
    python: Callable[..., subprocess.Popen[str]], store: Store
) -> None:
    run([Number(value=1)], store)
    code = f"""
import trilemma.experiments.progress
heavy = ("torch", "dask", "distributed", "rich", "pyarrow", "filelock", "jaxtyping")
loaded = lambda: [name for name in heavy if name in sys.modules]
print(loaded())
run([Number(value=1)], Store(Path({str(store.root)!r})))
print(loaded())
run([Sum(parts=(Number(value=1),))], Store(Path({str(store.root)!r})))
print(loaded())
"""
    out, _ = python(code).communicate(timeout=60)
    assert out.splitlines() == ["[]", "[]", "['dask', 'pyarrow', 'filelock']"]
