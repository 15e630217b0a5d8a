"""What the terminal shows of the data sets and of the claims ledger."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trilemma.data.catalogue import Listed
from trilemma.experiments.claims import Decision
from trilemma.experiments.study import SCALES, Study, record

if TYPE_CHECKING:
    from rich.table import Table

MEGABYTE = 1e6


def data_table(rows: Sequence[Listed]) -> "Table":
    """`trilemma data list`: one line a data set, then what differs from the canonical release."""
    table = _table("name", "present", "size", "licence", "differs from the canonical release")
    for row in rows:
        where = row.found.how if row.found else f"no: {row.get}"
        size = f"{row.size / MEGABYTE:.1f} MB" if row.size else "-"
        deviation = row.found.deviation if row.found else ""
        table.add_row(row.entry.name, where, size, row.entry.licence, deviation or "-")
    return table


def claims_table(decisions: Sequence[Decision]) -> "Table":
    """`trilemma claims`: one line a claim, with measured and published numbers."""
    table = _table("claim", "status", "published", "measured")
    for each in decisions:
        claim, study = each.claim, each.study
        measured = "\n".join(part for part in (each.measured, each.scale, each.deviation) if part)
        table.add_row(
            f"{study.paper}, {study.where}\n{claim.statement}\n({study.name})",
            each.status,
            claim.published,
            measured or "-",
        )
    return table


def studies_table(studies: Sequence[Study]) -> "Table":
    """`trilemma claims studies`: one line a study, with the scales at which it was run."""
    table = _table("study", "shows", "takes", "run at")
    for each in studies:
        ran = [scale for scale in SCALES if record(each.name, scale) is not None]
        takes = "\n".join(f"{scale}: {words}" for scale, words in each.takes.items())
        shows = f"{each.paper}, {each.where}\n{each.shows}"
        table.add_row(each.name, shows, takes, ", ".join(ran) or "-")
    return table


def _table(*columns: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_lines=True, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", vertical="top")
    return table
