"""What the terminal shows of the data sets and of the claims ledger."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trilemma.data.catalogue import Listed
from trilemma.experiments.claims import Decision

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
        claim = each.claim
        measured = "\n".join(part for part in (each.measured, each.scale, each.deviation) if part)
        table.add_row(
            f"{claim.paper}, {claim.where}\n{claim.statement}\n({claim.study})",
            each.status,
            claim.published,
            measured or "-",
        )
    return table


def _table(*columns: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_lines=True, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", vertical="top")
    return table
