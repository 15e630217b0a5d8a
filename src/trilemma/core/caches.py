"""Where a user's cache lies on this platform. No torch here."""

import os
import sys
from pathlib import Path


def cache_folder(name: str) -> Path:
    """`trilemma/<name>` in the platform's cache folder; not made.

    Linux: `$XDG_CACHE_HOME` or `~/.cache`; macOS: `~/Library/Caches`; Windows: `%LOCALAPPDATA%`.
    """
    if sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "trilemma" / name
