"""File locks: one process at a time, and none left behind by a process that died."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hold(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock on `path`; the operating system frees it when its holder dies.

    Args:
        path: the lock's file, created when missing and left in place (deleting it would race).
        on_wait: called once when somebody else holds it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if on_wait is not None:
            on_wait()
        lock.acquire(poll_interval=0.1)
    try:
        yield
    finally:
        lock.release()
