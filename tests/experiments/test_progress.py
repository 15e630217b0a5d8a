"""Progress: who sees what."""

import io
import time
from collections.abc import Callable

import pytest

from trilemma.experiments import progress as module
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
from trilemma.experiments.progress import progress

DONE = Finished(outcome=Done(key="k", label="a", seconds=12.0))
FAILED = Finished(outcome=Failed(key="k", label="b", error="broken", kind="ValueError"))
STORY: list[Event] = [
    Planned(total=5, missing=("a", "b", "c")),
    Started(label="a"),
    Advanced(label="a", done=5, total=10, note="loss 0.3"),
    DONE,
    FAILED,
    Finished(outcome=Done(key="k", label="c", found=True)),
]


class Plain(io.StringIO):
    name, mode = "<stderr>", "w"


class Terminal(Plain):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The clock of the lines."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


@pytest.mark.parametrize("stream", [Plain, Terminal])
def test_short_work_shows_nothing(stream: type[Plain]) -> None:
    out = stream()
    with progress(stream=out) as on_event:
        for event in STORY:
            on_event(event)
    assert out.getvalue() == ""


@pytest.mark.parametrize("stream", [Plain, Terminal])
def test_quiet_is_quiet(stream: type[Plain], after: Callable[[float], None]) -> None:
    out = stream()
    with progress(stream=out, quiet=True) as on_event:
        for event in [*STORY, Damaged(key="k", why="w"), Waiting(label="a")]:
            after(100.0)
            on_event(event)
    assert out.getvalue() == ""


@pytest.mark.parametrize("stream", [Plain, Terminal])
def test_what_a_person_must_know_is_said_at_once(stream: type[Plain]) -> None:
    out = stream()
    with progress(stream=out) as on_event:
        on_event(Planned(total=1, missing=("a",)))
        on_event(Damaged(key="k", why="facts.json is missing"))
        on_event(Waiting(label="train, seed 1"))
    assert out.getvalue().splitlines() == [
        "warning: stored entry k is damaged (facts.json is missing); set aside, made anew",
        "train, seed 1: waiting for another process that computes it",
    ]


def test_lines_where_there_is_no_terminal(after: Callable[[float], None]) -> None:
    out = Plain()
    with progress(stream=out) as on_event:
        for event in STORY:
            on_event(event)
            after(10.0)
        on_event(Planned(total=1, missing=("a",)))
    assert out.getvalue().splitlines() == [
        "[1/3] a: done in 12 s",
        "[2/3] b: failed: broken",
        "[3/3] c: found",
    ]


def test_a_long_stage_is_heard_of_now_and_then(after: Callable[[float], None]) -> None:
    out = Plain()
    with progress(stream=out) as on_event:
        on_event(Planned(total=1, missing=("a",)))
        on_event(Started(label="a"))
        for step in range(1, 11):
            after(10.0)
            on_event(Advanced(label="a", done=step, total=10, note="loss 0.3"))
    assert out.getvalue().splitlines() == [
        "a: 4/10 loss 0.3 (about 1 min left)",
        "a: 8/10 loss 0.3 (about 20 s left)",
    ]


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GRACE", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    out = Terminal()
    with progress(stream=out) as on_event:
        for event in STORY[:3]:
            on_event(event)
        limit = time.monotonic() + 20
        while "5/10" not in out.getvalue() and time.monotonic() < limit:
            time.sleep(0.05)
        on_event(FAILED)
    shown = out.getvalue()
    assert "loss 0.3" in shown
    assert "all stages" in shown
    assert "0/3" in shown
    assert "b: failed: broken" in shown


def test_bars_survive_news_from_a_busy_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The drawing thread and the run take each other's locks in one order only."""
    monkeypatch.setattr(module, "_GRACE", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    with progress(stream=Terminal()) as on_event:
        limit = time.monotonic() + 1.0
        on_event(STORY[0])
        while time.monotonic() < limit:
            on_event(Waiting(label="a"))
            on_event(Advanced(label="a", done=1, total=2))
