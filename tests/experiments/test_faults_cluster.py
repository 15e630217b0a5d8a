"""Real clusters: worker processes that die, a scheduler elsewhere, the same numbers everywhere."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from toys import Bulk, Dies, Number, OnGpu, Raises, Sum, Walk, noted, value

from trilemma.core.errors import BadInput, TrilemmaError
from trilemma.experiments import cluster
from trilemma.experiments.events import Advanced, Done, Event, Finished, Started
from trilemma.experiments.execution import run
from trilemma.experiments.faults import StoreFull
from trilemma.experiments.graph import Stage, key
from trilemma.experiments.store import Store

slow = pytest.mark.slow

Start = Callable[..., subprocess.Popen[str]]
Until = Callable[[Callable[[], bool]], None]


def workers_of(log: Path) -> list[int]:
    return [int(line.removeprefix("process-")) for line in noted(log) if "process" in line]


def test_a_killed_worker_loses_nothing(
    store: Store, log: Path, undisturbed: Callable[[Stage], float]
) -> None:
    walk = Walk(steps=40, pause=0.05, log=log)
    target = Sum(parts=(walk, Number(value=1)))
    killed: list[int] = []

    def kill(event: Event) -> None:
        if isinstance(event, Advanced) and event.done >= 5 and not killed:
            killed.extend(workers_of(log))
            os.kill(killed[0], signal.SIGKILL)

    outcomes = run([target], store, workers=2, on_event=kill)
    assert outcomes.failures() == []
    assert value(store, walk) == undisturbed(Walk(steps=40))
    assert value(store, target) == undisturbed(Sum(parts=(Walk(steps=40), Number(value=1))))
    first, second = workers_of(log)
    assert [first] == killed
    assert second not in (first, os.getpid())
    (continued,) = (line for line in noted(log) if line.startswith("continued"))
    assert int(continued.removeprefix("continued-at-")) >= 5


@slow
def test_workers_give_the_same_results_and_the_same_failures(store: Store, tmp_path: Path) -> None:
    child = Sum(parts=(Number(value=1), Raises(error=KeyError)))
    targets = [
        Sum(parts=(Walk(steps=3), Number(value=2))),
        Sum(parts=(child,)),
        *(Walk(steps=5, seed=seed) for seed in range(3)),
    ]
    here = Store(tmp_path / "here")
    expected = run(targets, here)
    events: list[Event] = []
    heard: set[str] = set()

    def listen(event: Event) -> None:
        events.append(event)
        heard.update(
            each.laddr.ip for each in psutil.Process().net_connections("inet") if each.raddr == ()
        )

    outcomes = run(targets, store, workers=2, on_event=listen)
    assert heard <= {"127.0.0.1"}
    assert list(outcomes) == list(expected)
    for stage, outcome in outcomes.items():
        other = expected[stage]
        assert type(outcome) is type(other)
        if isinstance(outcome, Done):
            assert store.read(key(stage)).facts == here.read(key(stage)).facts
        else:
            assert (outcome.kind, outcome.error) == (other.kind, other.error)
    ended = [each.outcome.label for each in events if isinstance(each, Finished)]
    assert sorted(ended) == sorted(stage.label() for stage in expected)
    assert {each.label for each in events if isinstance(each, Started)} <= set(ended)


@slow
def test_a_stage_that_kills_its_workers_is_a_failure(store: Store) -> None:
    good, bad = Number(value=1), Dies()
    child = Sum(parts=(good, bad))
    outcomes = run([child], store, workers=1)
    assert [each.label for each in outcomes.failures()] == ["die", "sum of 2"]
    assert outcomes.failures()[0].kind == "KilledWorker"
    assert outcomes.failures()[1].error == "needs die, which failed"
    assert value(store, good) == 1.0


@slow
def test_a_full_disk_on_a_worker_stops_the_run(tiny_disk: Path) -> None:
    store = Store(tiny_disk / "store")
    run([Number(value=1)], store)
    with pytest.raises(StoreFull, match="intact"):
        run([Sum(parts=(Number(value=1), Bulk(size=2_000_000)))], store, workers=1)
    assert value(store, Number(value=1)) == 1.0


@slow
def test_a_store_that_workers_keep_elsewhere_is_noticed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "has", lambda self, key: False)
    with pytest.raises(BadInput, match=r"not stored here.*share"):
        run([Number(value=1)], store, workers=1)


@slow
def test_nobody_at_the_address(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_PATIENCE", 1)
    with pytest.raises(BadInput, match=r"nobody answers at tcp://127\.0\.0\.1:9"):
        run([Number(value=1)], store, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(BadInput, match="nobody answers at nonsense://x"):
        run([Number(value=1)], store, scheduler="nonsense://x")


@slow
def test_an_interrupted_run_on_workers_stops_them_and_continues_later(
    python: Start, until: Until, store: Store, log: Path, undisturbed: Callable[[Stage], float]
) -> None:
    code = f"""
if __name__ == "__main__":
    run([Walk(steps=100, pause=0.1, log=Path({str(log)!r}))],
        Store(Path({str(store.root)!r})), workers=1)
"""
    process = python(code)
    until(lambda: "step-3" in noted(log))
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in error
    (worker,) = workers_of(log)
    until(lambda: not Path(f"/proc/{worker}").exists())
    walk = Walk(steps=100, log=log)
    assert run([walk], store).failures() == []
    assert value(store, walk) == undisturbed(Walk(steps=100))
    assert any(line.startswith("continued") for line in noted(log))


@pytest.fixture
def scheduler(
    tmp_path: Path, until: Until, environment: dict[str, str]
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Address and process of a scheduler with two workers, one of which offers a GPU."""
    file = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard"]
    one = ["--nthreads", "1", "--no-nanny", *common]
    commands = {
        "scheduler": ["--port", "0", *common],
        "worker": [*one, "--name", "plain"],
        "worker ": [*one, "--name", "gpu", "--resources", "GPU=1"],
    }
    started = []
    try:
        for name, options in commands.items():
            module = f"distributed.cli.dask_{name.strip()}"
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", module, *options],
                    env=environment,
                    stderr=subprocess.DEVNULL,
                    cwd=tmp_path,
                )
            )
            until(file.exists)
        yield json.loads(file.read_text())["address"], started[0]
    finally:
        for process in started:
            process.kill()
            process.wait()


@slow
def test_gpu_stages_go_where_a_gpu_is(
    scheduler: tuple[str, subprocess.Popen[bytes]], store: Store
) -> None:
    stages = [OnGpu(number=number) for number in range(4)]
    walks = [Walk(steps=5, seed=seed, pause=0.02) for seed in range(4)]
    outcomes = run([*stages, *walks], store, scheduler=scheduler[0])
    assert outcomes.failures() == []
    assert {store.read(key(stage)).facts["worker"] for stage in stages} == {"gpu"}


@slow
def test_a_scheduler_that_goes_away_is_an_error_that_loses_nothing(
    scheduler: tuple[str, subprocess.Popen[bytes]],
    store: Store,
    log: Path,
    undisturbed: Callable[[Stage], float],
) -> None:
    walk = Walk(steps=600, pause=0.1, log=log)

    def kill(event: Event) -> None:
        if isinstance(event, Advanced) and event.done >= 5:
            scheduler[1].kill()

    with pytest.raises(TrilemmaError, match="connection to the Dask scheduler was lost"):
        run([walk], store, scheduler=scheduler[0], on_event=kill)
    for pid in workers_of(log):
        os.kill(pid, signal.SIGKILL)
    calm = Walk(steps=600, log=log)
    assert run([calm], store).failures() == []
    assert value(store, calm) == undisturbed(Walk(steps=600))
    assert any(line.startswith("continued") for line in noted(log))
