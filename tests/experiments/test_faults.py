"""Real faults: processes killed, disks full, files damaged, two runs at once."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from toys import Bulk, Hoards, Number, Sum, Walk, noted, value

from trilemma.experiments.execution import run
from trilemma.experiments.faults import StoreFull
from trilemma.experiments.graph import Stage, key
from trilemma.experiments.store import Store

Start = Callable[..., subprocess.Popen[str]]
Until = Callable[[Callable[[], bool]], None]


def steps(log: Path) -> list[str]:
    return [line for line in noted(log) if line.startswith("step-")]


def test_killed_in_the_middle_of_a_stage_it_continues_from_the_checkpoint(
    python: Start, until: Until, store: Store, log: Path, undisturbed: Callable[[Stage], float]
) -> None:
    code = f"""
log = Path({str(log)!r})
target = Sum(parts=(Number(value=1, log=log), Walk(steps=40, pause=0.1, log=log)))
run([target], Store(Path({str(store.root)!r})))
"""
    process = python(code)
    until(lambda: "step-10" in noted(log))
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    walk = Walk(steps=40, log=log)
    assert not store.has(key(walk))
    target = Sum(parts=(Number(value=1, log=log), walk))
    assert run([target], store).failures() == []
    assert value(store, walk) == undisturbed(Walk(steps=40))
    assert value(store, target) == undisturbed(target)
    (continued,) = (line for line in noted(log) if line.startswith("continued"))
    assert int(continued.removeprefix("continued-at-")) >= 11
    # A kill between a checkpoint and its line loses the line, never a step.
    assert len(steps(log)) == len(set(steps(log))) >= 39


def test_killed_while_it_stores_there_is_no_half_entry(
    python: Start, until: Until, store: Store
) -> None:
    code = f"""
import time
from trilemma.experiments import entries
real = entries.os.fsync
calls = iter(range(9))
def second_hangs(descriptor):
    if next(calls) == 1:
        print("now", flush=True)
        time.sleep(99)
    real(descriptor)
entries.os.fsync = second_hangs
run([Number(value=1), Bulk(size=1000)], Store(Path({str(store.root)!r})))
"""
    process = python(code)
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.kill()
    process.wait()
    left = list((store.root / "incoming").iterdir())
    assert len(left) == 1
    assert list(store.entries()) == []
    assert run([Number(value=1), Bulk(size=1000)], store).failures() == []
    store.sweep(older_than=-1.0)
    assert list((store.root / "incoming").iterdir()) == []
    assert len(list(store.entries())) == 2


def test_two_processes_on_one_store_compute_each_stage_once(
    python: Start, store: Store, log: Path
) -> None:
    code = f"""
log = Path({str(log)!r})
walks = tuple(Walk(steps=4, seed=seed, pause=0.02, log=log) for seed in range(5))
target = Sum(parts=walks, log=log)
while not (log.parent / "go").exists():
    time.sleep(0.01)
outcomes = run([target], Store(Path({str(store.root)!r})))
print(repr(Store(Path({str(store.root)!r})).read(outcomes[target].key).facts["value"]))
print(sum(each.found for each in outcomes.values()))
"""
    both = [python(code), python(code)]
    (log.parent / "go").touch()
    said = [process.communicate(timeout=60) for process in both]
    assert [error for _, error in said] == ["", ""]
    (one, found), (other, also_found) = (out.split() for out, _ in said)
    assert one == other
    assert int(found) + int(also_found) == 6
    lines = noted(log)
    assert sum(line.startswith("process-") for line in lines) == 5
    assert lines.count("sum") == 1
    assert not any(line.startswith("continued") for line in lines)


@pytest.mark.parametrize("how", ["truncated", "flipped"])
@pytest.mark.parametrize("file", ["arrays.safetensors", "facts.json", "manifest.json"])
def test_a_damaged_artifact_is_set_aside_and_made_anew(store: Store, how: str, file: str) -> None:
    stage = Bulk(size=1000)
    run([stage], store)
    before = store.read(key(stage)).arrays["noise"]
    path = store.root / key(stage)[:2] / key(stage) / file
    content = bytearray(path.read_bytes())
    if how == "truncated":
        content = content[:-5]
    else:
        content[-5] ^= 4
    path.write_bytes(content)
    outcomes = run([stage], store)
    assert outcomes.failures() == []
    assert (store.read(key(stage)).arrays["noise"] == before).all()
    (aside,) = (store.root / "damaged").iterdir()
    assert (aside / file).read_bytes() == content


@pytest.mark.parametrize("big", [Bulk(size=600_000), Hoards(size=600_000)])
def test_a_full_disk_stops_the_run_and_loses_nothing(tiny_disk: Path, big: Stage) -> None:
    store = Store(tiny_disk / "store")
    small = Bulk(size=1000)
    run([small], store)
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(b"x" * 700_000)
    with pytest.raises(StoreFull, match="the disk is full") as caught:
        run([big], store)
    assert str(store.root) in str(caught.value)
    assert "intact" in str(caught.value)
    assert list((store.root / "incoming").iterdir()) == []
    assert [entry.key for entry in store.entries()] == [key(small)]
    assert store.sound(key(small))
    ballast.unlink()
    assert run([small, big], store).failures() == []
    assert store.sound(key(big))
