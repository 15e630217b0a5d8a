"""What can go wrong with a store, said so that a person can act on it."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trilemma.core.errors import BadInput, TrilemmaError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


class NotStored(TrilemmaError, LookupError):
    """The store holds nothing under a key."""

    def __init__(self, key: str, root: Path) -> None:
        self.key, self.root = key, root
        super().__init__(f"store {root}: no entry {key}; run the experiment to make it")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.key, self.root)


class DamagedEntry(NotStored):
    """An entry did not match its checksums; it is no longer in the store.

    Args:
        key: the entry.
        root: the store's folder.
        why: what did not match.
        aside: where the entry was put; None where another process replaced it meanwhile.
    """

    def __init__(self, key: str, root: Path, why: str, aside: Path | None = None) -> None:
        super().__init__(key, root)
        self.why, self.aside = why, aside
        where = f" It was moved to {aside}." if aside else ""
        self.args = (f"store {root}: entry {key} is damaged: {why}.{where} Run again to remake it",)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.key, self.root, self.why, self.aside)


class StoreFull(TrilemmaError, OSError):
    """The store's disk is full; what was stored before is intact.

    Args:
        root: the store's folder.
        needed: bytes that were to be written; 0 when unknown.
        free: bytes that are left.
    """

    def __init__(self, root: Path, needed: int = 0, free: int = 0) -> None:
        self.root, self.needed, self.free = root, needed, free
        need = f"{needed:,} bytes are needed and " if needed else ""
        super().__init__(
            f"store {root}: the disk is full ({need}{free:,} are free). Everything stored before"
            " is intact and nothing half-written was kept. Free some space, or choose another"
            " folder with TRILEMMA_STORE, and run again: it continues where it stopped"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.root, self.needed, self.free)


@contextmanager
def full_disk_of(root: Path, needed: int = 0) -> Iterator[None]:
    """Say a full disk, or a folder that may not be used, in plain words.

    Raises:
        StoreFull: inside, the disk (or the user's quota) was exhausted.
        BadInput: inside, the folder could not be read or written.
    """
    try:
        yield
    except StoreFull:
        raise
    except OSError as error:
        if is_full(error):
            raise StoreFull(root, needed, _free(root)) from error
        if error.errno in _DENIED:
            fix = "Choose another folder with TRILEMMA_STORE"
            raise BadInput(f"store {root}", f"cannot be used: {error}", fix) from error
        raise


def is_full(error: BaseException) -> bool:
    """Whether an error, of whichever library, is about a disk without space."""
    if isinstance(error, StoreFull) or getattr(error, "errno", None) in _FULL:
        return True
    return "No space left on device" in str(error)


def _free(root: Path) -> int:
    try:
        return shutil.disk_usage(root).free
    except OSError:
        return 0
