"""Handing an audit to its user: files, the terminal, the exit status."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trilemma.core.errors import BadInput
from trilemma.experiments import gate, methods
from trilemma.experiments.audit import audit
from trilemma.experiments.loot import loot
from trilemma.experiments.progress import progress
from trilemma.experiments.store import Store

DEVICES = "TRILEMMA_DEVICES"  # which `training.devices` reads


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Where an audit goes.

    Args:
        json: the document; `-` is standard output, then everything else goes to standard error.
        html: the report page; None writes `<name>.audit.html` in the current folder.
        page: whether there is a report page at all.
        markdown, junit: None writes none.
        quiet: no progress and no summary.
    """

    json: str | None = None
    html: Path | None = None
    markdown: Path | None = None
    junit: Path | None = None
    page: bool = True
    quiet: bool = False

    def files(self) -> list[Path]:
        """What is written where its user said so."""
        named = [self.html, self.markdown, self.junit]
        if self.json not in (None, "-"):
            named.append(Path(str(self.json)))
        return [path for path in named if path is not None]


def deliver(
    table: Mapping[str, Any],
    conditions: Sequence[str],
    outputs: Outputs,
    *,
    store: Store,
    workers: int = 0,
    scheduler: str | None = None,
    devices: str | None = None,
) -> int:
    """Audit, write what was asked for, say the essentials, return the exit status.

    Args:
        devices: on which each model is trained, as $TRILEMMA_DEVICES says it.

    Raises:
        BadInput: before any work starts: a bad declaration, condition or output path.
    """
    _check_outputs(outputs.files())
    _check_devices(devices, workers, scheduler)
    for text in conditions:
        gate.check_form(text)
    parsed: list[gate.Condition] = []
    accuracies = methods.accuracies(table)

    def check(about: Mapping[str, Any]) -> None:
        parsed.extend(
            gate.parse(
                text,
                models=list(about["models"]),
                attacks=list(about["methods"]),
                metrics=methods.metrics(table),
                accuracies=accuracies,
                loot=loot(table, about),
            )
            for text in conditions
        )

    with (
        _told(devices),
        progress(quiet=outputs.quiet) as on_event,
        _stdout_to_stderr() if outputs.json == "-" else nullcontext(),
    ):
        document = audit(
            table, store, workers=workers, scheduler=scheduler, on_event=on_event, check=check
        )
    verdicts = [gate.judge(condition, document) for condition in parsed]
    page = write(document, verdicts, outputs)
    if not outputs.quiet:
        tell(document, verdicts, page, to_stderr=outputs.json == "-")
    elif document["failures"]:
        sys.stderr.write(f"trilemma: {document['verdict']['headline']}\n")
    return gate.exit_status(document, verdicts)


def write(
    document: Mapping[str, Any], verdicts: Sequence[gate.Verdict], outputs: Outputs
) -> Path | None:
    """Write the files; where the report page is, or None where there is none."""
    from trilemma.experiments.reports import render_html, render_junit, render_markdown

    if outputs.json == "-":
        sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
    elif outputs.json is not None:
        _save(Path(outputs.json), lambda: json.dumps(document, indent=2, allow_nan=False) + "\n")
    if outputs.markdown is not None:
        _save(outputs.markdown, lambda: render_markdown(document))
    if outputs.junit is not None:
        found = [verdict.to_json() for verdict in verdicts]
        _save(outputs.junit, lambda: render_junit(document, found))
    if not outputs.page:
        return None
    page = outputs.html or Path(f"{_stem(document['name'])}.audit.html")
    try:
        _save(page, lambda: render_html(document))
    except BadInput as error:
        if outputs.html is not None:
            raise
        sys.stderr.write(f"trilemma: no report page was written: {error}. Say where by --html\n")
        return None
    return page


def tell(
    document: Mapping[str, Any],
    verdicts: Sequence[gate.Verdict],
    page: Path | None,
    *,
    to_stderr: bool,
) -> None:
    """The terminal's summary."""
    from rich.console import Console

    from trilemma.experiments.reports import render_text

    console = Console(
        stderr=to_stderr,
        highlight=False,
        soft_wrap=not (sys.stderr if to_stderr else sys.stdout).isatty(),
    )
    console.print(render_text(document))
    for verdict in verdicts:
        console.print(_line(verdict), markup=False)
    if page is not None:
        console.print(f"Report: {page.resolve()}", markup=False)


def _line(verdict: gate.Verdict) -> str:
    what = f"--fail-if {verdict.condition.text!r}"
    if verdict.holds is None:
        return f"{what}: not evaluable for {verdict.model}: {verdict.reason}"
    said = "holds" if verdict.holds else "does not hold"
    return f"{what}: {said} for {verdict.model}: {verdict.observed:g}"


def _check_devices(devices: str | None, workers: int, scheduler: str | None) -> None:
    if devices and (workers or scheduler):
        other = f"--workers {workers}" if workers else f"--scheduler {scheduler}"
        raise BadInput(
            "--devices",
            f"got {devices} beside {other}, whose processes cannot be told so from here",
            f"Give one of them, or set ${DEVICES} where `dask worker --no-nanny` is started",
        )


@contextmanager
def _told(devices: str | None) -> Iterator[None]:
    """Whatever trains meanwhile is told on which devices."""
    before = os.environ.get(DEVICES)
    if devices is not None:
        os.environ[DEVICES] = devices
    try:
        yield
    finally:
        os.environ.pop(DEVICES, None)
        if before is not None:
            os.environ[DEVICES] = before


def _check_outputs(paths: Sequence[Path]) -> None:
    """Refuse what could not be written once the work is done."""
    for path in paths:
        if not path.resolve().parent.is_dir():
            raise BadInput(str(path), "its folder does not exist", "Make it first")
        if path.is_dir():
            raise BadInput(str(path), "is a folder", "Give a file's name")
        if not os.access(path if path.exists() else path.resolve().parent, os.W_OK):
            raise BadInput(str(path), "cannot be written", "Choose a place that you may write to")
    regular = [path.resolve() for path in paths if path.is_file() or not path.exists()]
    twice = [path for path in regular if regular.count(path) > 1]
    if twice:
        raise BadInput(str(twice[0]), "is named for two outputs", "Give each its own file")


def _save(path: Path, render: Callable[[], str]) -> None:
    """Write a whole file or none; a device or pipe is written to, a link is followed."""
    text, target = render(), path.resolve()
    try:
        if target.exists() and not target.is_file():
            target.write_text(text, encoding="utf-8")
            return
        new = target.with_name(f".{target.name}.{os.getpid()}.new")
        try:
            new.write_text(text, encoding="utf-8")
            new.replace(target)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise BadInput(str(path), f"cannot be written: {error.strerror}") from None


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """What is printed meanwhile, by a user's own code or a worker, goes to standard error."""
    with redirect_stdout(sys.stderr):
        try:
            kept, terminal = os.dup(1), os.dup2(2, 1)
        except OSError:  # no such stream in this process
            yield
            return
        try:
            yield
        finally:
            os.dup2(kept, terminal)
            os.close(kept)


def _stem(name: str) -> str:
    """A file name that any system takes."""
    return (
        "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip(".-")[:80] or "audit"
    )
