"""What every test runs under: a store of its own, one thread; where its data are; executed docs."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser
from sybil.parsers.myst import SkipParser
from sybil.parsers.myst.lexers import DirectiveLexer

ROOT = Path(__file__).parent
MISSING = "missing data"
DATA = os.environ.get("TRILEMMA_DATA")  # as the run was started; tests change it

# Before the first import of torch, which reads it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "trilemma",
    deadline=None,
    derandomize="CI" in os.environ,
    max_examples=50,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no defect
)
settings.load_profile("trilemma")

collect_ignore_glob = ["docs/*.py", "docs/_build"]


def _enter(page: dict[str, Any]) -> None:
    page["_left"], page["_folder"] = Path.cwd(), tempfile.TemporaryDirectory()
    os.chdir(page["_folder"].name)
    sys.path.insert(0, page["_folder"].name)


def _leave(page: dict[str, Any]) -> None:
    os.chdir(page["_left"])
    sys.path.remove(page["_folder"].name)
    page["_folder"].cleanup()


def _shell(example: Example) -> None:
    """A block of `sh`: each line must succeed."""
    here = str(Path(sys.executable).parent)
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.parsed],
        env={**os.environ, "PATH": here + os.pathsep + os.environ["PATH"], "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"exit status {run.returncode}\n{run.stdout}\n{run.stderr}"


def _files(document: Document) -> Iterable[Region]:
    """A `{code-block}` with a caption is the file of that name."""
    for region in DirectiveLexer("code-block", r"\w+")(document):
        name, text = region.lexemes["options"].get("caption"), str(region.lexemes["source"])
        if name:
            region.parsed = text
            region.evaluator = lambda example, name=name: _write(name, example.parsed)
            yield region


def _write(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")


# The README and each page of the docs run from top to bottom, each in a folder of its own. What a
# page only shows is a block of `console`.
pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser("sh", _shell), _files, SkipParser()],
    patterns=["README.md", "docs/*.md"],
    fixtures=["_own_store"],
    setup=_enter,
    teardown=_leave,
).pytest()


def _folder(named: str | None, name: str, fix: str) -> Path:
    folder = Path(named) if named else ROOT.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"{MISSING}: {fix}")
    return folder.resolve()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """$TRILEMMA_DATA, by default ../shared/data; the test also finds the variable set."""
    return _folder(DATA, "data", "no folder ../shared/data, and $TRILEMMA_DATA names none")


@pytest.fixture(scope="session")
def fixtures_folder() -> Path:
    """../shared/fixtures: recorded outputs of published models."""
    return _folder(None, "fixtures", "no folder ../shared/fixtures")


@pytest.fixture(scope="session", autouse=True)
def _session_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For what is set up once for several tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRILEMMA_STORE", str(tmp_path_factory.mktemp("store")))
        patch.setenv("TRILEMMA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _own_store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test sees the user's store, cache or data, nor those of another test."""
    monkeypatch.setenv("TRILEMMA_STORE", str(tmp_path / "trilemma-store"))
    monkeypatch.setenv("TRILEMMA_CACHE", str(tmp_path / "trilemma-cache"))
    monkeypatch.delenv("TRILEMMA_DATA", raising=False)
    monkeypatch.delenv("TRILEMMA_DEVICES", raising=False)
    if "data_folder" in request.fixturenames:
        monkeypatch.setenv("TRILEMMA_DATA", str(request.getfixturevalue("data_folder")))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes that hold the time, as gzip's do, would name a test differently in each process."""
    return f"{argname} of {len(val)} bytes" if isinstance(val, bytes) else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests were not run because their data is not here."""
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(f"{MISSING}:" in str(report.longrepr) for report in skipped)
    terminalreporter.write_line(f"skipped for missing data: {count}")
