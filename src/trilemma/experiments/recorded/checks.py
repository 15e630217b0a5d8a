"""What recorded probabilities, confidences and labels must look like, and what else they may be.

Values are never changed: what is refused is said with the array, the row and the value; what is
accepted goes on as it was recorded. Rows count from 0.
"""

import numpy as np

from trilemma.core.errors import BadInput
from trilemma.experiments.recorded.predictions import Array

ROUNDING = 1e-6  # softmax in float32 ends a little outside of [0, 1]
SUM = 1e-3  # float16 over many classes, or a few printed digits
LOOSEST = 0.05  # for rows that were visibly rounded to two decimals or more
SOFTMAX = "these look like logits: apply softmax first"


def as_table(what: str, array: Array, rows: int | None = None) -> Array:
    """(n, k) whatever axes of length 1 came with it.

    Args:
        what: the array, as its user knows it.
        array: recorded probabilities.
        rows: how many rows its labels say it has, where they say.

    Raises:
        BadInput: no table of at least one row and two columns.
    """
    shape = array.shape
    kept = [shape[0], *(n for n in shape[1:] if n != 1)] if shape else []
    if len(kept) == 3 and kept[0] == 1:
        kept = kept[1:]
    if 0 in shape:
        raise BadInput(what, f"is empty (shape {shape})", "Give at least one row")
    if len(kept) == 1:
        raise BadInput(
            what,
            f"has one number a row (shape {shape}), probabilities need a column for each class",
            "For two classes and p = P(class 1) save numpy.column_stack([1 - p, p]); the"
            " probability of the true label alone goes into confidence_train and confidence_test",
        )
    if len(kept) != 2:
        raise BadInput(what, f"has shape {shape}", "Give one row a record, one column a class")
    if rows is not None and kept[0] != rows == kept[1]:
        raise BadInput(
            what,
            f"has shape {shape} for {rows} labels",
            "Transpose it: one row a record, one column a class",
        )
    return array.reshape(kept)


def as_row(what: str, array: Array) -> Array:
    """(n,) whatever axes of length 1 came with it.

    Raises:
        BadInput: it is empty, or has two axes that are longer than 1.
    """
    if array.size == 0:
        raise BadInput(what, f"is empty (shape {array.shape})", "Give at least one row")
    if max(array.shape, default=1) != array.size:
        raise BadInput(what, f"has shape {array.shape}", "Give one number a row")
    return array.reshape(-1)


def check_probabilities(what: str, table: Array) -> tuple[str, ...]:
    """Refuse what is not a distribution a row.

    Returns:
        A note where rows were rounded and therefore sum to 1 only roughly.

    Raises:
        BadInput: a value is not finite or outside [0, 1], or a row does not sum to 1.
    """
    check_finite(what, table)
    if table.dtype.kind == "f" and not _inside(table):
        row, column = np.unravel_index(np.argmax(np.abs(table - 0.5)), table.shape)
        raise BadInput(
            what,
            f"row {row} has {_number(table[row, column])} in column {column}, outside of [0, 1];"
            f" {_other_scale(table)}",
            "Give probabilities",
        )
    if table.dtype.kind != "f" and (table.min() < 0 or table.max() > 1):
        raise BadInput(
            what,
            f"holds whole numbers from {table.min()} to {table.max()}",
            "Give probabilities; of counts divide each row by its sum",
        )
    return _check_sums(what, table)


def check_confidences(what: str, row: Array) -> None:
    """Refuse what is not a probability a row.

    Raises:
        BadInput: a value is not finite or outside [0, 1].
    """
    check_finite(what, row)
    if not _inside(row):
        worst = int(np.argmax(np.abs(row.astype(np.float64) - 0.5)))
        raise BadInput(
            what,
            f"row {worst} is {_number(row[worst])}, outside of [0, 1]",
            "Give the probability of the true label (of a loss in nats: numpy.exp(-loss))",
        )


def check_finite(what: str, array: Array) -> None:
    """Refuse NaN and infinity, naming the first row that has one.

    Raises:
        BadInput: there is one.
    """
    if array.dtype.kind != "f":
        return
    bad = ~np.isfinite(array)
    if bad.any():
        rows = np.unique(np.nonzero(bad)[0])
        first = array[rows[0]]
        value = np.ravel(first)[~np.isfinite(np.ravel(first))][0]
        raise BadInput(
            what,
            f"row {rows[0]} has {value} ({len(rows)} of {len(array)} rows are not finite)",
            "Find out why the model answered this; leave such rows out on purpose, not by accident",
        )


def as_labels(what: str, array: Array, rows: int, classes: int) -> Array:
    """(n,) int64 classes from whole numbers of any type, or from one-hot rows.

    Args:
        what: the array, as its user knows it.
        array: recorded labels.
        rows: how many there must be.
        classes: one more than the largest one allowed.

    Raises:
        BadInput: wrong number of labels, or labels that are not whole or out of range.
    """
    check_finite(what, array)
    wide = [length for length in array.shape if length != 1]
    if wide == [length for length in (rows, classes) if length != 1]:
        flat = _from_one_hot(what, array.reshape(rows, classes))
    elif wide == ([rows] if rows > 1 else []):
        flat = array.reshape(-1)
    else:
        raise BadInput(
            what,
            f"has shape {array.shape} for {rows} rows of {classes} probabilities",
            "Give one label a row, in the same order",
        )
    _check_range(what, flat, classes)
    return flat.astype(np.int64)


def _check_range(what: str, labels: Array, classes: int) -> None:
    fractional = labels.dtype.kind == "f" and labels != np.floor(labels)
    if np.any(fractional):
        row = int(np.argmax(fractional))
        raise BadInput(
            what, f"row {row} is {_number(labels[row])}, not a whole number", "Give class numbers"
        )
    low, high = int(labels.min()), int(labels.max())
    if low >= 0 and high < classes:
        return
    row = int(labels.argmin() if low < 0 else labels.argmax())
    raise BadInput(
        what,
        f"row {row} is {low if low < 0 else high}, but {classes} columns of probabilities allow"
        f" labels 0 to {classes - 1}",
        "These labels seem to count from 1: subtract 1"
        if low >= 0 and high == classes
        else "Give the number of the true class",
    )


def _from_one_hot(what: str, table: Array) -> Array:
    ones = table == 1
    good = (ones | (table == 0)).all(1) & (ones.sum(1) == 1)
    if not good.all():
        raise BadInput(
            what,
            f"row {int(np.argmin(good))} of shape {table.shape} is not one-hot",
            "Give the true class of each row as one number (soft targets name no true class)",
        )
    return np.asarray(ones.argmax(1))


def _inside(array: Array) -> bool:
    return bool(array.min() >= -ROUNDING and array.max() <= 1 + ROUNDING)


def _check_sums(what: str, table: Array) -> tuple[str, ...]:
    sums = table.sum(axis=1, dtype=np.float64)
    away = np.abs(sums - 1)
    worst = int(away.argmax())
    if away[worst] <= SUM:
        return ()
    decimals = _decimals(table)
    allowed = SUM if decimals is None else _rounded_sum(decimals, table.shape[1])
    if away[worst] > allowed:
        many = int((away > allowed).sum())
        raise BadInput(
            what,
            f"row {worst} sums to {_number(sums[worst])}, not to 1 within {allowed:g}"
            f" ({many} of {len(table)} rows do not)",
            "Give a softmax's output; independent sigmoids are no distribution over the classes",
        )
    return (
        f"{what} was rounded to {decimals} decimals (row {worst} sums to {_number(sums[worst])});"
        " rounding makes ties.",
    )


def _decimals(table: Array) -> int | None:
    """To how many decimals (2 to 6) the table was rounded; None where it was not."""
    for decimals in range(2, 7):
        scaled = table.astype(np.float64) * 10**decimals
        slack = 10**decimals * np.finfo(table.dtype).eps if table.dtype.kind == "f" else 0.0
        if np.all(np.abs(scaled - np.round(scaled)) <= slack):
            return decimals
    return None


def _rounded_sum(decimals: int, classes: int) -> float:
    """How far k numbers that were each rounded to so many decimals may be from summing to 1."""
    return float(np.clip(0.5 * classes * 10.0**-decimals + SUM, SUM, LOOSEST))


def _other_scale(table: Array) -> str:
    """What rows outside of [0, 1] most likely are."""
    rows = table.astype(np.float64)
    if rows.max() <= ROUNDING and np.allclose(np.exp(rows).sum(1), 1, atol=SUM):
        return "these look like log-probabilities: apply exp first"
    if rows.min() >= 0 and np.allclose(rows.sum(1), 100, atol=1):
        return "these look like percentages: divide by 100"
    if np.mean((rows < 0).any(1) | (rows > 1).any(1)) > 0.5:
        return SOFTMAX
    return "most rows are probabilities, this one is not"


def _number(value: object) -> str:
    return f"{float(value):.6g}"  # type: ignore[arg-type]
