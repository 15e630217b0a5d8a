"""The audit in a terminal."""

from collections.abc import Iterator, Sequence
from io import StringIO
from typing import TYPE_CHECKING

from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.figures import attacks, method_title, titles
from trilemma.experiments.reports.quantities import (
    ACCURACIES,
    Metric,
    Quantity,
    quantity,
    shown,
)
from trilemma.experiments.reports.verdict import incomplete

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

METRICS = ("best_threshold_accuracy", "held_out_threshold_accuracy", "auc", "tpr_at_fpr_0.01")
ABSENT: Metric = {"not_evaluable": "not part of this audit"}


def render_text(
    document: Document,
    *,
    written: Sequence[str] = (),
    width: int = 100,
    colour: bool = False,
) -> str:
    """Verdict, a table of models and metrics, the warnings, and where the reports are.

    Args:
        document: a valid audit document (see `validate`).
        written: the files that were written, as their user named them.
        width: of the terminal, in characters.
        colour: whether escape sequences for bold and colours may be used.
    """
    from rich.console import Console
    from rich.text import Text

    out = StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
        highlight=False,
        emoji=False,
    )
    for line in _head(document):
        console.print(line)
    if document["models"]:
        console.print(_table(document))
    for warning in document["verdict"]["warnings"]:
        console.print(Text.assemble(("! ", "yellow"), _plain(warning)))
    for file in written:
        console.print(Text.assemble("Report: ", (_plain(file), "bold")), soft_wrap=True)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _head(document: Document) -> "Iterator[Text]":
    from rich.text import Text

    headline = document["verdict"]["headline"]
    if document["status"] == "incomplete":
        lost = incomplete(document)
        yield Text(_plain(lost), style="bold red")
        for failure in document["failures"]:
            error = str(failure["error"]).strip().splitlines()
            yield Text(_plain(f"  failed: {failure['stage']}: {error[0] if error else ''}"))
        if headline != lost:
            yield Text(_plain(headline), style="bold")
        else:
            yield from (Text(_plain(s), style="bold") for s in document["verdict"]["sentences"][:1])
    else:
        yield Text(_plain(headline), style="bold")
    yield Text("")


def _table(document: Document) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("")
    models = list(document["models"].values())
    for title in titles(document).values():
        table.add_column(_cellular(title), justify="left")
    for name, kind in ACCURACIES.items():
        _row(table, kind, [model["accuracy"].get(name, ABSENT) for model in models])
    for attack in attacks(document):
        table.add_section()
        table.add_row(_cellular(method_title(document, attack), "bold"))
        for name in METRICS:
            found = [model["membership"].get(attack, {}).get(name, ABSENT) for model in models]
            _row(table, quantity(name), found)
    table.add_section()
    return table


def _row(table: "Table", kind: Quantity, metrics: Sequence[Metric]) -> None:
    from rich.text import Text

    cells = []
    for metric in metrics:
        print_ = shown(metric, kind)
        if print_.reason:
            cells.append(Text(f"n/a ({_plain(print_.reason)})", style="dim"))
        else:
            cells.append(Text.assemble((print_.value, "bold"), f"  {print_.interval}"))
    table.add_row(Text(f"  {kind.label}"), *cells)


def _cellular(text: str, style: str = "") -> "Text":
    from rich.text import Text

    return Text(_plain(text), style=style)


def _plain(text: object) -> str:
    """Without control characters, which could drive a terminal."""
    return "".join(c if c.isprintable() else " " for c in str(text))
