"""Stages that other processes run must be importable there: `toys` lies beside this file."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import trilemma
from trilemma.experiments.execution import run
from trilemma.experiments.graph import Stage, key
from trilemma.experiments.store import Store

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

START = """
import sys
import time
from pathlib import Path
from toys import *
from trilemma.experiments.execution import run
from trilemma.experiments.store import Store
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where toys note what they do."""
    return tmp_path / "log"


@pytest.fixture
def undisturbed(tmp_path: Path) -> Callable[[Stage], float]:
    """The value that a stage has when nothing goes wrong."""

    def calm(stage: Stage) -> float:
        store = Store(tmp_path / "calm")
        run([stage], store)
        return float(store.read(key(stage)).facts["value"])

    return calm


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def environment() -> dict[str, str]:
    """For processes that know trilemma and the toys."""
    path = os.pathsep.join([str(Path(trilemma.__file__).parents[1]), str(HERE)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def python(
    tmp_path: Path, environment: dict[str, str]
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start another interpreter on some code that knows the toys, `run` and `Store`."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *, seed: int = 0) -> subprocess.Popen[str]:
        script = tmp_path / f"script-{len(started)}.py"
        script.write_text(START + code)
        started.append(
            subprocess.Popen(
                [sys.executable, script],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**environment, "PYTHONHASHSEED": str(seed)},
            )
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait for something to become true."""

    def wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, "waited too long"
            time.sleep(0.02)

    return wait
