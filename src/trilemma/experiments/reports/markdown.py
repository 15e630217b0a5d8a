"""The audit as a compact summary in GitHub-flavoured Markdown: for a pull request, a job's page."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

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
from trilemma.experiments.reports.promises import KIND, promises
from trilemma.experiments.reports.quantities import (
    Metric,
    Quantity,
    Shown,
    accuracies,
    measured,
    quantity,
    shown,
)
from trilemma.experiments.reports.verdict import incomplete

METRICS = (
    *("best_threshold_accuracy", "held_out_threshold_accuracy", "advantage", "auc"),
    *("tpr_at_fpr_0.1", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001"),
)
SOMETIMES = (
    *("class_threshold_accuracy", "shadow_threshold_accuracy", "random_threshold_accuracy"),
    *("shadow_tpr_at_fpr_0.01", "shadow_fpr_at_fpr_0.01", "shadow_precision_at_prior_0.01"),
)
ABSENT: Metric = {"not_evaluable": "not part of this audit"}
SIGNS = re.compile(r"([\\`*_\[\]|~$])")
START = re.compile(r"^([-+#=]|\d+(?=[.)]))")  # what makes a heading or a list at a line's start


def render_markdown(document: Document) -> str:
    """Verdict, one table, what thieves got folded away, and the warnings.

    Names and texts from the document are escaped: none can start markup, a link, a mention or a
    further table cell.

    Args:
        document: a valid audit document (see `validate`).
    """
    parts = (_head(document), _table(document), _stolen(document), _foot(document))
    return "\n\n".join(text for part in parts if (text := "\n".join(part))) + "\n"


def escaped(text: object) -> str:
    r"""Text that Markdown prints as it is, on one line.

    >>> escaped("a|b <i>")
    'a\\|b &lt;i&gt;'
    """
    line = " ".join(str(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = START.sub("&#8203;\\1", SIGNS.sub(r"\\\1", line))
    return line.replace("@", "@&#8203;").replace("://", "&#58;//").replace("www.", "www&#46;")


def _head(document: Document) -> Iterator[str]:
    yield f"## Audit of {escaped(document['name'])}"
    yield ""
    headline = document["verdict"]["headline"]
    if document["status"] == "incomplete":
        lost = incomplete(document)
        yield f"**{escaped(lost)}**"
        yield ""
        if headline != lost:
            yield f"**{escaped(headline)}**"
            yield ""
    else:
        yield f"**{escaped(headline)}**"
        yield ""
    said = [*document["verdict"]["sentences"], *thefts.sentences(document)]
    said += [each for part in (taken, exchanged, noticed) for each in part.remarks(document)]
    yield from (f"- {escaped(sentence)}" for sentence in said)


def _table(document: Document) -> Iterator[str]:
    if not document["models"]:
        return
    yield f"| | {' | '.join(map(escaped, titles(document).values()))} |"
    yield "| --- |" + " ---: |" * len(document["models"])
    models = list(document["models"].values())
    for name, kind in accuracies(document).items():
        yield _row(kind, kind.label, [model["accuracy"].get(name, ABSENT) for model in models])
    if promised := promises(models):
        cells = [_cell(replace(each, interval=escaped(each.interval))) for each in promised]
        yield f"| {escaped(KIND.label)} | {' | '.join(cells)} |"
    for part in (security, sensitivity, closer):
        for name, kind in part.quantities(document).items():
            found = [part.numbers(model).get(name, ABSENT) for model in models]
            yield _row(kind, kind.label, found)
    for shares in certified.by_radius(document):
        yield f"| **{escaped(shares.title)}** |" + " |" * len(models)
        for radius, metrics in shares.rows:
            yield _row(certified.KIND, f"radius {radius:.4g}", list(metrics))
    yield from _costs(document)
    yield from _attacks(document, models)


def _attacks(document: Document, models: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What each attack found; of attacks that follow the boundary also with fewer queries."""
    asked = {each.attack: each for each in budgets.rows(document)}
    for attack in attacks(document):
        yield f"| **{escaped(method_title(document, attack))}** |" + " |" * len(models)
        for name in (*METRICS, *measured(document, SOMETIMES, attack)):
            kind = quantity(name)
            found = [model["membership"].get(attack, {}).get(name, ABSENT) for model in models]
            yield _row(kind, kind.label, found)
        for name, metrics in asked[attack].every() if attack in asked else ():
            yield _row(budgets.KIND, name, list(metrics))
        if spared := decided.saved(document, attack):
            yield f"| Queries saved | {' | '.join(spared)} |"


def _stolen(document: Document) -> Iterator[str]:
    """A table for each model and thief, and whose adversarial examples mislead whom; folded."""
    shared = [table for figure in exchanged.matrices(document) for table in figure.tables]
    found = [*taken.tables(document), *noticed.tables(document), *shared]
    if not found:
        return
    yield "<details><summary>What thieves get, by number</summary>"
    for table in found:
        yield ""
        yield f"**{escaped(table.caption)}**"
        yield ""
        yield f"| {' | '.join(map(escaped, table.columns))} |"
        yield "| --- |" + " ---: |" * (len(table.columns) - 1)
        yield from (f"| {' | '.join(map(escaped, row))} |" for row in table.rows)
    yield ""
    yield "</details>"


def _costs(document: Document) -> Iterator[str]:
    for said, cells in costs(document):
        yield f"| {escaped(said)} | {' | '.join(map(escaped, cells))} |"


def _row(kind: Quantity, name: str, metrics: list[Metric]) -> str:
    return f"| {escaped(name)} | {' | '.join(_cell(shown(metric, kind)) for metric in metrics)} |"


def _cell(print_: Shown) -> str:
    if print_.reason:
        return f"n/a: {escaped(print_.reason)}"
    return f"**{print_.value}** ({print_.interval})"


def _foot(document: Document) -> Iterator[str]:
    warnings = [*document["verdict"]["warnings"], *_failures(document)]
    if warnings:
        yield "**Before you rely on these numbers**"
        yield ""
        yield from (f"- {escaped(warning)}" for warning in warnings)
        yield ""
    made = document["provenance"]
    rows = "; ".join(_rows(name, model) for name, model in document["models"].items())
    seeds = ", ".join(map(str, made["seeds"])) or "none (recorded predictions)"
    yield (
        f"<sub>In brackets: intervals. Rows: {rows or 'none'}. Seeds: {seeds}."
        f" Data: {escaped(made['data']['name'])}. trilemma {escaped(made['trilemma'])},"
        f" {escaped(document['created'])}.</sub>"
    )


def _rows(name: str, model: Mapping[str, Any]) -> str:
    counts = model["rows"]
    return f"{escaped(name)} {counts['members']} members, {counts['nonmembers']} non-members"


def _failures(document: Document) -> Iterator[str]:
    for failure in document["failures"]:
        yield f"Failed: {failure['stage']}: {failure['error']}"
