"""Docstrings are plain text: `(n, *x)` is a shape, |delta| a norm, and what is quoted is code."""

import re
from typing import Any

from sphinx.application import Sphinx

CODE = re.compile(r"(?<![`:\\])(`[^`]+`)(?!`)")
MARKUP = re.compile(r"(?<!\\)(\*(?=\w)|\|)")


def plain(lines: list[str]) -> list[str]:
    """The lines as reStructuredText; examples and formulas as they are."""
    found, formula = [], False
    for line in lines:
        formula = line.lstrip().startswith(".. math::") or (formula and bool(line.strip()))
        literal = formula or ":math:" in line or line.lstrip().startswith((">>>", "..."))
        found.append(line if literal else "".join(map(_part, CODE.split(line))))
    return found


def _part(text: str) -> str:
    return f"`{text}`" if CODE.fullmatch(text) else MARKUP.sub(r"\\\1", text)


def _process(app: Sphinx, what: str, name: str, it: Any, options: Any, lines: list[str]) -> None:
    lines[:] = plain(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx; before napoleon, which writes markup of its own."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True}
