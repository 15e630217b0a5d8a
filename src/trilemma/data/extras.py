"""Optional packages, imported when they are needed and named when they are missing."""

import importlib
from typing import Any

from trilemma.core.errors import MissingExtra


def optional(module: str, package: str, why: str) -> Any:
    """The module, imported now.

    Args:
        module: as it is imported (`PIL.Image`).
        package: as it is installed (`pillow`).
        why: what needs it, the start of the sentence that the user reads.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.split(".")[0] != error.name.split(".")[0]:
            raise
        raise MissingExtra(package, "torch", why) from None
