"""The audit in a terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trilemma.experiments.reports import (
    budgets,
    certified,
    closer,
    decided,
    exchanged,
    noticed,
    security,
    sensitivity,
    taken,
    thefts,
)
from trilemma.experiments.reports.costs import costs
from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.figures import attacks, method_title, titles
from trilemma.experiments.reports.points import price
from trilemma.experiments.reports.promises import KIND, promises
from trilemma.experiments.reports.quantities import (
    Metric,
    Quantity,
    Shown,
    accuracies,
    evaluable,
    measured,
    quantity,
    shown,
)
from trilemma.experiments.reports.verdict import first_line, incomplete

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table
    from rich.text import Text

METRICS = ("best_threshold_accuracy", "held_out_threshold_accuracy", "auc", "tpr_at_fpr_0.01")
SOMETIMES = (
    *("shadow_threshold_accuracy", "random_threshold_accuracy"),
    *("shadow_tpr_at_fpr_0.01", "shadow_fpr_at_fpr_0.01"),
)
LABELS, NUMBERS = 22, 27  # characters that a label and a number with its interval need
ABSENT: Metric = {"not_evaluable": "not part of this audit"}


def render_text(document: Document) -> "Summary":
    """Verdict, a table of models and metrics, and the warnings, to print with rich.

    Args:
        document: a valid audit document (see `validate`).

    Returns:
        What `rich.console.Console.print` takes; it fits itself to the console's width.
    """
    return Summary(document=document)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """An audit as rich prints it; no text of the document is read as markup."""

    document: Document

    def __rich_console__(
        self, console: "Console", options: "ConsoleOptions"
    ) -> "Iterator[RenderableType]":
        from rich.text import Text

        yield from _head(self.document)
        names = list(self.document["models"])
        fitting = max(1, (options.max_width - LABELS) // NUMBERS)
        for start in range(0, len(names), fitting):
            yield _table(self.document, names[start : start + fitting])
            yield Text("")
        yield from _exchanged(self.document)
        for reason in _reasons(self.document):
            yield Text(f"n/a: {_plain(reason)}", style="dim")
        for warning in self.document["verdict"]["warnings"]:
            yield Text.assemble(("! ", "yellow"), _plain(warning))


def _head(document: Document) -> "Iterator[Text]":
    from rich.text import Text

    headline = document["verdict"]["headline"]
    if document["status"] == "incomplete":
        lost = incomplete(document)
        yield Text(_plain(lost), style="bold red")
        for failure in document["failures"][1:]:
            yield Text(_plain(f"  failed: {failure['stage']}: {first_line(failure['error'])}"))
        if headline == lost:  # what would be the headline otherwise
            headline = next(iter(document["verdict"]["sentences"]), "")
    yield Text(_plain(headline), style="bold")
    if cost := price(document):
        yield Text(_plain(cost))
    for part in (thefts.sentences, taken.remarks, exchanged.remarks, noticed.remarks):
        yield from (Text(_plain(said)) for said in part(document))
    yield Text("")


def _exchanged(document: Document) -> "Iterator[RenderableType]":
    """Whose adversarial examples mislead whom."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    for figure in exchanged.matrices(document):
        for found in figure.tables:
            table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
            for column in found.columns:
                table.add_column(_cell(column), overflow="fold")
            for row in found.rows:
                table.add_row(*map(_cell, row))
            yield _cell(found.caption, "bold")
            yield table
            yield Text("")


def _table(document: Document, names: Sequence[str]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("", min_width=LABELS - 2, overflow="fold")
    models = [document["models"][name] for name in names]
    for name in names:
        table.add_column(_cell(titles(document)[name]), min_width=NUMBERS - 2, overflow="fold")
    for name, kind in accuracies(document).items():
        _row(table, kind, [model["accuracy"].get(name, ABSENT) for model in models])
    if promised := promises(models):
        table.add_row(_cell(f"  {KIND.short}"), *map(_printed, promised))
    for part in (security, sensitivity, closer):
        for name, kind in part.quantities(document).items():
            _row(table, kind, [part.numbers(model).get(name, ABSENT) for model in models])
    shown_models = {**document, "models": dict(zip(names, models, strict=True))}
    _add_costs(table, shown_models)
    for shares in certified.by_radius(shown_models):
        table.add_row()
        table.add_row(_cell(shares.title, "bold"))
        for radius, metrics in shares.brief:
            kind = replace(certified.KIND, short=f"radius {radius:.4g}")
            _row(table, kind, metrics)
    _attacks(table, document, shown_models)
    return table


def _attacks(table: "Table", document: Document, part: Document) -> None:
    """What each attack of the document found on the models of a part of it."""
    asked = {each.attack: each for each in budgets.rows(part)}
    models = list(part["models"].values())
    for attack in attacks(document):
        table.add_row()
        table.add_row(_cell(method_title(document, attack), "bold"))
        for name in (*METRICS, *measured(document, SOMETIMES, attack)):
            found = [model["membership"].get(attack, {}).get(name, ABSENT) for model in models]
            _row(table, quantity(name), found)
        for name, metrics in asked[attack].budgets if attack in asked else ():
            _row(table, replace(budgets.KIND, short=name), metrics)
        if spared := decided.saved(part, attack):
            table.add_row(_cell("  Queries saved"), *map(_cell, spared))


def _add_costs(table: "Table", document: Document) -> None:
    for said, cells in costs(document):
        table.add_row(_cell(f"  {said}"), *map(_cell, cells))


def _row(table: "Table", kind: Quantity, metrics: Sequence[Metric]) -> None:
    from rich.text import Text

    cells = [_printed(shown(metric, kind)) for metric in metrics]
    table.add_row(Text(f"  {_plain(kind.short)}"), *cells)


def _printed(print_: Shown) -> "Text":
    from rich.text import Text

    style = "dim" if print_.reason else "bold"
    return Text.assemble((print_.value, style), f"  {_plain(print_.interval)}")


def _reasons(document: Document) -> list[str]:
    """Why the table has gaps, each reason once."""
    reasons: dict[str, None] = {}
    for model in document["models"].values():
        found = [model["accuracy"].get(name, ABSENT) for name in accuracies(document)]
        found += [
            security.numbers(model).get(name, ABSENT) for name in security.quantities(document)
        ]
        found += [*sensitivity.numbers(model).values(), *closer.numbers(model).values()]
        for attack in attacks(document):
            metrics = model["membership"].get(attack, {})
            names = (*METRICS, *measured(document, SOMETIMES, attack))
            found += [metrics.get(name, ABSENT) for name in names]
        reasons |= {metric["not_evaluable"]: None for metric in found if not evaluable(metric)}
    return list(reasons)


def _cell(text: str, style: str = "") -> "Text":
    from rich.text import Text

    return Text(_plain(text), style=style)


def _plain(text: object) -> str:
    """Without control characters, which could drive a terminal."""
    return "".join(c if c.isprintable() else " " for c in str(text))
