"""Refusing what would not fit, before it is read."""

import os
from pathlib import Path

from trilemma.core.errors import BadInput

UNKNOWN = 8 * 2**30  # taken where the system does not say
CGROUP = Path("/sys/fs/cgroup/memory.max")


def check_memory(path: Path, needed: int) -> None:
    """Refuse a file whose arrays would take more than half of this machine's memory.

    Half, since checking takes as much again at its worst.

    Args:
        path: the file, for the message.
        needed: bytes that its arrays take in memory.

    Raises:
        BadInput: they would not fit.
    """
    limit = memory() // 2
    if needed > limit:
        raise BadInput(
            str(path),
            f"declares {needed / 2**30:,.1f} GiB of arrays, more than half of this machine's"
            f" memory ({2 * limit / 2**30:,.1f} GiB)",
            "Record fewer rows, or only the probability of the true label (`confidence_train`,"
            " `confidence_test`), or use a larger machine",
        )


def memory() -> int:
    """Bytes of memory this process may have: the machine's, or its container's if that is less."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        machine = UNKNOWN
    try:
        return min(machine, int(CGROUP.read_text()))
    except (OSError, ValueError):  # no cgroup, or no limit ("max")
        return machine
