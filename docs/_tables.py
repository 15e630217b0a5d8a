"""Tables that are made from the code when the site is built: `{generated} name`."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import get_args

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from trilemma.attacks.evasion import Evasion
from trilemma.attacks.membership import Membership
from trilemma.data.known import CATALOGUE
from trilemma.training.objectives import Objective


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _members(union: object) -> list[type]:
    return [kind for kind in get_args(union) or [union] if isinstance(kind, type)]


def _paragraphs(kind: type) -> list[str]:
    text = inspect.cleandoc(kind.__doc__ or "")
    return [" ".join(part.split()) for part in text.split("\n\n")]


def methods() -> str:
    """Each member of each union: what an experiment may name."""
    families = {
        "membership attack": Membership,
        "evasion attack": Evasion,
        "training objective": Objective,
    }
    return _table(
        ("family", "`kind`", "what it is"),
        (
            (family, f"`{kind.__name__}`", _paragraphs(kind)[0])
            for family, union in families.items()
            for kind in _members(union)
        ),
    )


def data() -> str:
    """Each data set of the catalogue."""
    return _table(
        ("name", "`kind`", "what it is", "classes", "row", "training + test rows", "licence"),
        (
            (
                f"`{entry.name}`",
                f"`{entry.kind}`",
                f"[{entry.title}]({entry.source})" if entry.source else entry.title,
                str(entry.classes),
                "x".join(map(str, entry.shape)),
                " + ".join(f"{rows:,}" for rows in entry.rows if rows),
                entry.licence,
            )
            for entry in _entries()
        ),
    )


def _entries() -> list:
    return list(CATALOGUE.values()) if isinstance(CATALOGUE, Mapping) else list(CATALOGUE)


TABLES: Mapping[str, Callable[[], str]] = {"methods": methods, "data": data}


class Generated(SphinxDirective):
    """Puts a table in the page's place."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Nodes of the table."""
        return self.parse_text_to_nodes(TABLES[self.arguments[0]]())


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("generated", Generated)
    return {"parallel_read_safe": True}
