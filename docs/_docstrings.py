"""Docstrings say shapes and norms in plain text: `(n, *x)`, `|delta|`. Neither is markup."""

import re
from typing import Any

from sphinx.application import Sphinx

MARKUP = re.compile(r"(?<!\\)(\*(?=\w)|\|)")


def plain(lines: list[str]) -> list[str]:
    """The lines with stars and bars escaped, except in examples and formulas."""
    found, formula = [], False
    for line in lines:
        formula = line.lstrip().startswith(".. math::") or (formula and bool(line.strip()))
        literal = formula or ":math:" in line or line.lstrip().startswith((">>>", "..."))
        found.append(line if literal else MARKUP.sub(r"\\\1", line))
    return found


def _process(app: Sphinx, what: str, name: str, it: Any, options: Any, lines: list[str]) -> None:
    lines[:] = plain(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx; before napoleon, which writes markup of its own."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True}
