"""Recorded predictions as a table, one row a record.

Columns `member`, `label`, `p0` to `p<k-1>` and, optionally, `adversarial_p0` to
`adversarial_p<k-1>`; or `member`, `confidence` (the probability of the true label) and,
optionally, `confidence_adversarial`. A member is `true`, `yes`, `1` or `train`, a non-member
`false`, `no`, `0` or `test`. Other columns are ignored, and said so. CSV is UTF-8 with a first
line of names and commas, semicolons, tabs or bars between values; between semicolons a decimal
comma is understood.
"""

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trilemma.core.errors import BadInput
from trilemma.experiments.recorded import checks
from trilemma.experiments.recorded.columns import Columns, choose
from trilemma.experiments.recorded.memory import check_memory
from trilemma.experiments.recorded.predictions import Answers, Array, Contents

if TYPE_CHECKING:
    import pyarrow as pa

INSIDE = ("true", "t", "yes", "y", "1", "1.0", "train", "member", "in")
OUTSIDE = ("false", "f", "no", "n", "0", "0.0", "test", "nonmember", "non-member", "out")
DELIMITERS = ",;\t|"


def read_csv(path: Path) -> Contents:
    """Members' and non-members' answers from a CSV file.

    Raises:
        BadInput: columns are missing or are not what the form says, or the text is no table.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow

    delimiter, decimal_point, header = _dialect(path)
    columns, notes = choose(path, header)
    check_memory(path, 4 * path.stat().st_size)  # "0," is two bytes of text, eight of memory
    texts = {columns.member, columns.label}
    try:
        table = arrow.read_csv(
            path,
            read_options=arrow.ReadOptions(use_threads=False),  # errors then name the row
            parse_options=arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=arrow.ConvertOptions(
                decimal_point=decimal_point,
                include_columns=columns.names(),
                column_types={
                    name: pa.string() if name in texts else pa.float64() for name in columns.names()
                },
            ),
        )
    except Exception as error:  # malformed text raises anything
        raise _unreadable(path, error) from None
    return _contents(path, table, columns, notes)


def read_parquet(path: Path) -> Contents:
    """Members' and non-members' answers from a Parquet file.

    Raises:
        BadInput: columns are missing or are not what the form says, or the file is damaged.
    """
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        columns, notes = choose(path, file.schema_arrow.names)
        check_memory(path, 8 * file.metadata.num_rows * len(columns.names()))
        table = file.read(columns=columns.names())
    except BadInput:
        raise
    except Exception as error:  # damaged bytes raise anything
        raise _unreadable(path, error) from None
    return _contents(path, table, columns, notes)


def _dialect(path: Path) -> tuple[str, str, list[str]]:
    """The delimiter, the decimal point and the columns' names, from the first two lines."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = (line for line in file if line.strip())
        names, values = next(lines, ""), next(lines, "")
    delimiter = max(DELIMITERS, key=names.count)
    comma = re.search(r"\d,\d", values) and not re.search(r"\d\.\d", values)
    decimal_point = "," if comma and delimiter != "," else "."
    return delimiter, decimal_point, next(csv.reader([names], delimiter=delimiter), [])


def _contents(path: Path, table: "pa.Table", columns: Columns, notes: tuple[str, ...]) -> Contents:
    if not table.num_rows:
        raise BadInput(str(path), "has no rows", "Give one row a record below the names")
    member = _membership(f"{path}: column {columns.member}", table.column(columns.member))
    sides = []
    for names in filter(None, (columns.benign, columns.adversarial)):
        what = f"{path}: column {names[0]}" + (f" to {names[-1]}" if len(names) > 1 else "")
        values = _numbers(path, table, names)
        if columns.label is None:
            values = checks.as_row(what, values)
            checks.check_confidences(what, values)
        else:
            values = checks.as_table(what, values)
            notes += checks.check_probabilities(what, values)
        sides.append(_split(values, member))
    labels = None
    if columns.label is not None:
        stored = _label_numbers(f"{path}: column {columns.label}", table.column(columns.label))
        size = (len(member), len(columns.benign))
        labels = _split(checks.as_labels(f"{path}: column {columns.label}", stored, *size), member)
    return Contents(
        benign=sides[0],
        adversarial=sides[1] if len(sides) > 1 else None,
        labels=labels,
        notes=notes,
    )


def _split(rows: Array, member: Array) -> Answers:
    return Answers(members=rows[member], nonmembers=rows[~member])


def _membership(what: str, column: "pa.ChunkedArray") -> Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        words = pc.utf8_lower(pc.utf8_trim_whitespace(column.cast(pa.string())))
    except pa.ArrowException:
        raise BadInput(what, f"has type {column.type}", "Give true or false") from None
    inside, outside = (
        pc.is_in(words, value_set=pa.array(side)).to_numpy() for side in (INSIDE, OUTSIDE)
    )
    known = inside | outside
    if not known.all():
        row = int(np.argmin(known))
        raise BadInput(
            what,
            f"row {row} is {column[row].as_py()!r}",
            "Give true (member) or false; yes/no, 1/0 and train/test are understood too",
        )
    if inside.all() or outside.all():
        side, other = ("members", "non-members") if inside.all() else ("non-members", "members")
        raise BadInput(
            what, f"all {len(inside)} rows are {side}", f"Add rows of {other} to compare with"
        )
    return np.asarray(inside)


def _numbers(path: Path, table: "pa.Table", names: tuple[str, ...]) -> Array:
    """(n, k) in the finest precision of the columns."""
    from pyarrow import types

    arrays = []
    for name in names:
        column = table.column(name)
        what = f"{path}: column {name}"
        if not (types.is_floating(column.type) or types.is_integer(column.type)):
            raise BadInput(what, f"has type {column.type}", "Give probabilities as numbers")
        _no_gaps(what, column)
        arrays.append(column.to_numpy())
    return np.stack(arrays, axis=1)


def _label_numbers(what: str, column: "pa.ChunkedArray") -> Array:
    import pyarrow as pa

    _no_gaps(what, column)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return np.asarray(column.to_numpy())
    texts = column.to_numpy()
    try:
        return np.asarray(texts, dtype=np.float64)
    except ValueError:
        row = next(row for row, text in enumerate(texts) if not _is_number(text))
        raise BadInput(
            what,
            f"row {row} is {texts[row]!r}, not a number",
            "Give the number of the true class: 0 where p0 is its probability, 1 for p1, ...",
        ) from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _no_gaps(what: str, column: "pa.ChunkedArray") -> None:
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise BadInput(
            what,
            f"row {row} is empty or not a number ({column.null_count} of {len(column)} rows are)",
            "Give a value in each row",
        )


def _unreadable(path: Path, error: Exception) -> BadInput:
    reason = " ".join(str(error).split()).rstrip(".")
    return BadInput(str(path), f"cannot be read as a table ({reason})", "Check or save it again")
