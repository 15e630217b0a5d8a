"""How far a run is, on standard error: live bars on a terminal, plain lines elsewhere.

Work that takes less than two seconds shows nothing.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

from trilemma.experiments.events import (
    Advanced,
    Damaged,
    Done,
    Event,
    Failed,
    Finished,
    Planned,
    Waiting,
    ignore,
)
from trilemma.experiments.making import Report
from trilemma.experiments.tally import Tally, duration

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

__all__ = ["progress"]

_GRACE = 2.0  # seconds of work that show nothing
_SILENCE = 30.0  # seconds between two lines about a stage that goes on, where there are no bars


@contextmanager
def progress(*, quiet: bool = False, stream: IO[str] | None = None) -> Iterator[Report]:
    """Show a run whose `on_event` is what this context manager yields.

    Args:
        quiet: show nothing at all.
        stream: where to; standard error when not given.
    """
    if quiet:
        yield ignore
        return
    stream = stream or sys.stderr
    shown = _Bars(stream) if stream.isatty() else _Lines(stream)
    try:
        yield shown
    finally:
        shown.close()


class _Lines:
    """A line for each finished stage, once the run has taken a while."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream, self.tally = stream, Tally()
        self.start = self.said = time.monotonic()

    def __call__(self, event: Event) -> None:
        self.tally.add(event)
        now = time.monotonic()
        if isinstance(event, Planned):
            self.start = self.said = now
        line = _remark(event) or self._step(event, now)
        if line:
            self.said = now
            _say(line, self.stream)

    def close(self) -> None:
        """Nothing stays open."""

    def _step(self, event: Event, now: float) -> str:
        elapsed = now - self.start
        left = self.tally.left()
        left = f" ({left})" if left else ""
        if isinstance(event, Finished) and elapsed > _GRACE:
            count = f"{len(self.tally.finished)}/{self.tally.missing}"
            return f"[{count}] {_ended(event)}{left}"
        if isinstance(event, Advanced) and now - self.said > _SILENCE:
            return f"{event.label}: {event.done}/{event.total} {event.note}".rstrip() + left
        return ""


class _Bars:
    """One bar for the run and one for each stage that runs; gone when the run ends."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream, self.tally, self.guard = stream, Tally(), threading.RLock()
        self.start = time.monotonic()
        self.live: Live | None = None
        self.timer: threading.Timer | None = None

    def __call__(self, event: Event) -> None:
        with self.guard:
            self.tally.add(event)
            live = self.live
        if isinstance(event, Planned) and event.missing:
            self.start = time.monotonic()
            if self.timer is None:
                self.timer = threading.Timer(_GRACE, self._show)
                self.timer.daemon = True
                self.timer.start()
        if live is not None:  # not under the guard: the drawing thread holds its lock and wants it
            if remark := _remark(event) or _failure(event):
                live.console.print(remark, markup=False, highlight=False)
        elif remark := _remark(event):
            _say(remark, self.stream)

    def close(self) -> None:
        """Take the bars away."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer.join()
        if self.live is not None:
            self.live.stop()

    def _show(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self.stream)
        live = Live(get_renderable=self._table, console=console, transient=True)
        live.start()
        with self.guard:
            self.live = live

    def _table(self) -> "Table":
        with self.guard:
            return _draw(self.tally, time.monotonic() - self.start)


def _draw(tally: Tally, elapsed: float) -> "Table":
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for each in tally.running:
        count = f"{each.done}/{each.total}" if each.total else ""
        bar = ProgressBar(
            total=each.total or 100, completed=each.done, width=24, pulse=not each.total
        )
        table.add_row(Text(each.label), bar, Text(count), Text(each.note, style="dim"))
    total = ProgressBar(total=1.0, completed=tally.share, width=24)
    count = f"{len(tally.finished)}/{tally.missing}"
    spent = f"{duration(elapsed)}, {tally.left()}".removesuffix(", ")
    table.add_row(Text("all stages", style="bold"), total, Text(count), Text(spent, style="dim"))
    return table


def _say(line: str, stream: IO[str]) -> None:
    with suppress(OSError):  # a terminal that was closed is no reason to lose a stage
        print(line, file=stream, flush=True)


def _remark(event: Event) -> str:
    """What is worth a line at any time."""
    match event:
        case Damaged(key=key, why=why):
            return f"warning: stored entry {key} is damaged ({why}); set aside, made anew"
        case Waiting(label=label):
            return f"{label}: waiting for another process that computes it"
        case _:
            return ""


def _failure(event: Event) -> str:
    match event:
        case Finished(outcome=Failed(label=label, error=error)):
            return f"{label}: failed: {error}"
        case _:
            return ""


def _ended(event: Finished) -> str:
    match event.outcome:
        case Done(label=label, found=True):
            return f"{label}: found"
        case Done(label=label, seconds=seconds):
            return f"{label}: done in {duration(seconds)}"
        case _:
            return _failure(event)
