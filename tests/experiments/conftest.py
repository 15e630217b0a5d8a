"""Stages that other processes run must be importable there: `toys` lies beside this file."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import trilemma

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

START = """
import sys
from pathlib import Path
from toys import *
from trilemma.experiments.execution import run
from trilemma.experiments.store import Store
"""


@pytest.fixture
def python(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start another interpreter on some code that knows the toys, `run` and `Store`."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *, seed: int = 0, **environment: str) -> subprocess.Popen[str]:
        script = tmp_path / f"script-{len(started)}.py"
        script.write_text(START + code)
        path = os.pathsep.join([str(Path(trilemma.__file__).parents[1]), str(HERE)])
        started.append(
            subprocess.Popen(
                [sys.executable, script],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={
                    **os.environ,
                    "PYTHONPATH": path,
                    "PYTHONHASHSEED": str(seed),
                    "OMP_NUM_THREADS": "1",
                    **environment,
                },
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
