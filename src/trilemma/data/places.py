"""Where data sets may lie on this machine. Nothing heavy is imported here."""

import os
from pathlib import Path

from trilemma.core import caches

FASHION_MNIST_PACKAGE = Path("/usr/share/datasets/fashion-mnist")  # Debian: dataset-fashion-mnist


def cache_folder() -> Path:
    """Where downloaded data sets are kept: `$TRILEMMA_CACHE/data`, else the platform's cache."""
    if named := os.environ.get("TRILEMMA_CACHE"):
        return Path(named).expanduser() / "data"
    return caches.cache_folder("data")


def own_folder() -> Path | None:
    """The folder that `$TRILEMMA_DATA` names, or None where it is not set."""
    named = os.environ.get("TRILEMMA_DATA")
    return Path(named).expanduser() if named else None


def searched(entry_name: str) -> tuple[tuple[str, Path], ...]:
    """Where an entry's files are looked for, first match wins: (how it is called, folder)."""
    own = own_folder()
    places = [("$TRILEMMA_DATA", own)] if own else []
    places.append(("cache", cache_folder()))
    if entry_name == "fashion_mnist":
        places.append(("Debian package dataset-fashion-mnist", FASHION_MNIST_PACKAGE))
    return tuple(places)
