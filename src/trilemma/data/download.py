"""Fetching a data set from its publisher: checksum, progress, and a cut download goes on."""

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from filelock import FileLock

from trilemma.core.errors import BadInput, TrilemmaError
from trilemma.data.catalogue import download_folder
from trilemma.data.entries import Entry, Remote
from trilemma.data.extras import optional

Progress: TypeAlias = Callable[[str, int, int | None], None]

CHUNK = 1 << 15  # bytes; a cut connection loses less than one
PATIENCE = 3  # attempts in a row that bring no new byte
TIMEOUT = (10.0, 60.0)  # seconds to connect, seconds without a byte
RETRIED = {408, 425, 429, 500, 502, 503, 504}


class DownloadFailed(TrilemmaError):
    """A publisher did not deliver a file.

    Args:
        url: what was asked for.
        reason: what happened.
        kept: bytes that were kept, so that the next run goes on from there.
    """

    def __init__(self, url: str, reason: str, kept: int = 0) -> None:
        self.url, self.reason, self.kept = url, reason, kept
        state = f"; {kept:,} bytes were kept, and running again goes on from there" if kept else ""
        super().__init__(
            f"{url} could not be downloaded: {reason}{state}. Or fetch it by hand and put it into"
            " the folder that $TRILEMMA_DATA names"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.url, self.reason, self.kept)


class _Restart(Exception):
    """The bytes kept so far are of no use."""


@dataclass(frozen=True, kw_only=True)
class Resuming:
    """A pooch downloader that keeps what a cut connection delivered and asks for the rest.

    Args:
        part: where bytes are kept until the file is whole.
        checksum: `md5:...`, `sha256:...`, or empty.
        progress: called with (file, bytes so far, bytes in all or None).
        wait: how to pass the seconds between two attempts that brought nothing.
    """

    part: Path
    checksum: str
    progress: Progress
    wait: Callable[[float], None] = time.sleep

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> bool:
        """Fetch `url` into `output_file`.

        Raises:
            DownloadFailed: the server refused, or delivered nothing several times in a row.
            BadInput: the file is whole and its checksum is not the published one.
        """
        requests = optional("requests", "requests", "downloading a data set")
        failures = 0
        while True:
            before = self._held()
            try:
                self._continue(requests, url, before)
                break
            except _Restart:
                self.part.unlink(missing_ok=True)
                failures += 1
                reason = "the server answers with a range that was not asked for"
            except requests.HTTPError as error:
                if error.response.status_code not in RETRIED:
                    raise DownloadFailed(url, f"the server answers {error}") from None
                failures, reason = failures + 1, f"the server answers {error}"
            except requests.RequestException as error:
                failures = 0 if self._held() > before else failures + 1
                reason = f"the connection failed ({type(error).__name__})"
            except OSError as error:
                raise DownloadFailed(url, f"{self.part}: {error.strerror}", self._held()) from None
            if failures >= PATIENCE:
                raise DownloadFailed(url, reason, self._held())
            if failures:
                self.wait(2.0**failures)
        self._verify(url)
        shutil.move(self.part, output_file)
        return True

    def _held(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _continue(self, requests: Any, url: str, held: int) -> None:
        """Ask for the bytes after the first `held`, and append them."""
        headers = {"Accept-Encoding": "identity"}
        if held:
            headers["Range"] = f"bytes={held}-"
        with requests.get(url, stream=True, timeout=TIMEOUT, headers=headers) as response:
            span = response.headers.get("Content-Range", "")
            if held and response.status_code == 416:
                if span.endswith(f"/{held}"):
                    return  # all of it is here already
                raise _Restart
            response.raise_for_status()
            if response.status_code == 206 and not span.startswith(f"bytes {held}-"):
                raise _Restart
            start = held if response.status_code == 206 else 0
            length = response.headers.get("Content-Length")
            total = start + int(length) if length else None
            with self.part.open("ab" if start else "wb") as kept:
                for chunk in response.iter_content(CHUNK):
                    kept.write(chunk)
                    start += len(chunk)
                    self.progress(self.part.stem, start, total)
        if total is not None and start < total:
            raise requests.ConnectionError("the connection was cut")

    def _verify(self, url: str) -> None:
        if not self.checksum:
            return
        algorithm, expected = self.checksum.split(":")
        with self.part.open("rb") as kept:
            actual = hashlib.file_digest(kept, algorithm).hexdigest()
        if actual != expected:
            self.part.unlink()
            problem = f"has the checksum {algorithm}:{actual} instead of {self.checksum}"
            raise BadInput(url, problem, "The file was not kept; try again, or fetch it by hand")


def fetch(
    entry: Entry, *, progress: Progress | None = None, wait: Callable[[float], None] = time.sleep
) -> tuple[Path, ...]:
    """Download every file of a data set that the cache lacks.

    Args:
        entry: the data set; its `remotes` say what and from where.
        progress: called with (file, bytes so far, bytes in all or None); None = a bar on stderr.
        wait: how to pass the seconds between two attempts.

    Returns:
        The files, in the order of `entry.remotes`.

    Raises:
        DownloadFailed: no address delivered a file.
        BadInput: a file's checksum is not the published one; it is not kept.
        MissingExtra: pooch is not installed.
    """
    folder = download_folder(entry)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"), _reported(progress) as report:
        return tuple(_fetch(remote, folder, report, wait) for remote in entry.remotes)


def _fetch(remote: Remote, folder: Path, progress: Progress, wait: Callable[[float], None]) -> Path:
    pooch = optional("pooch", "pooch", f"downloading {remote.file}")
    downloader = Resuming(
        part=folder / f"{remote.file}.part",
        checksum=remote.checksum,
        progress=progress,
        wait=wait,
    )
    for url in remote.urls:
        try:
            with _quiet(pooch.get_logger()):
                kept = pooch.retrieve(
                    url=url,
                    known_hash=remote.checksum or None,
                    fname=remote.file,
                    path=folder,
                    downloader=downloader,
                )
            return Path(kept)
        except DownloadFailed as failed:
            if url == remote.urls[-1]:
                raise
            progress(f"{failed.reason}; trying the next address", 0, None)
    raise DownloadFailed(remote.file, "no address is known")


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Pooch's own lines would break the progress bar."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _reported(progress: Progress | None) -> Iterator[Progress]:
    """The caller's own progress, or a bar on stderr."""
    if progress is not None:
        yield progress
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=Console(stderr=True)) as bars:

        def show(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield show
