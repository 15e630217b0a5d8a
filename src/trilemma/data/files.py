"""The user's own rows: `.npz`, CSV, Parquet, or a folder with one folder of images a class."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data.loaded import Info, Loaded, fingerprinted
from trilemma.data.readers.pictures import opened
from trilemma.data.sets import Files

LABEL_COLUMNS = ("label", "target", "y")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
CHANNELS = (1, 3, 4)
PARQUET_SUFFIXES = (".parquet", ".pq")
SHAPES = "a .npz with x and y, a .csv or .parquet with a label column, or a folder of images"


@dataclass(frozen=True, kw_only=True)
class Table:
    """What one file or folder holds.

    Args:
        path: where it came from.
        x: (n, ...) finite float32.
        y: (n,) labels; as `read_table` returns it, integers >= 0 or text.
        columns: names of the features of a CSV or Parquet table, else empty.
        notes: what was done to the values.
    """

    path: Path
    x: NDArray[np.float32]
    y: NDArray[Any]
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read(config: Files) -> Loaded:
    """All parts of the user's own data as one pool, whose `declared` says which rows are whose.

    Text labels become class indices in the order of their names, over all parts together.

    Raises:
        BadInput: a file that is missing, of no known shape, or has bad values; parts that do not
            fit together; labels that do not fit the declared number of classes.
        MissingExtra: Pillow is missing for a folder of images.
    """
    tables = {
        part: read_table(path, config.label, classes=config.classes)
        for part, path in config.paths().items()
    }
    first = tables["members"]
    fitted = {part: _fitted(first, table) for part, table in tables.items()}
    y, names = _labels(tuple(fitted.values()), config.classes)
    declared: dict[str, NDArray[np.int64]] = {}
    start = 0
    for part, table in fitted.items():
        declared[part] = np.arange(start, start + len(table.x), dtype=np.int64)
        start += len(table.x)
    notes = dict.fromkeys(note for table in fitted.values() for note in table.notes)
    files = ", ".join(table.path.name for table in fitted.values())
    info = Info(
        name=first.path.stem,
        title="the user's own rows",
        source=files,
        licence="the user's own",
        read=files,
        notes=tuple(notes),
    )
    return fingerprinted(
        Loaded(
            stored=np.concatenate([table.x for table in fitted.values()]),
            y=y,
            class_names=names,
            info=info,
            feature_names=first.columns,
            declared=declared,
        )
    )


def read_table(path: str | Path, label: str | None = None, *, classes: int | None = None) -> Table:
    """The rows and labels of one file or folder, checked.

    Args:
        path: `.npz`, `.csv`, `.parquet` or `.pq` (in either case), or a folder with one folder of
            images a class.
        label: name of the label column; None = `label`, `target` or `y`.
        classes: numbers as labels must lie below; None: below the number of rows, or 1,000.

    Raises:
        BadInput: it cannot be read as any of these, holds no rows, or holds values that are not
            finite numbers.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise BadInput(str(path), "does not exist", f"Give {SHAPES}")
    suffix = path.suffix.lower()
    if path.is_dir():
        table = _folder(path)
    elif suffix == ".npz":
        table = _npz(path)
    elif suffix == ".csv" or suffix in PARQUET_SUFFIXES:
        table = _columns(path, label)
    else:
        raise BadInput(str(path), f"has the suffix {path.suffix!r}", f"Give {SHAPES}")
    if len(table.x) == 0:
        raise BadInput(str(path), "holds no rows", "Give at least one")
    return replace(table, y=_indices(path, table.y, classes))


def _npz(path: Path) -> Table:
    try:
        with path.open("rb") as opened_file, np.load(opened_file, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files if name in ("x", "y")}
            names = ", ".join(held.files)
    except Exception as error:  # zipfile, zlib and numpy each have their own
        if isinstance(error, ValueError) and "pickle" in str(error):
            problem = "holds Python objects (pickles), which can run any code when they are read"
            fix = "Save plain arrays: np.savez(file, x=x.astype('float32'), y=y.astype('int64'))"
            raise BadInput(str(path), problem, fix) from None
        raise BadInput(str(path), f"is not a whole .npz file ({error})", "Save it again") from None
    if set(arrays) != {"x", "y"}:
        raise BadInput(str(path), f"needs the arrays x and y; it has {names or 'none'}")
    x, y = arrays["x"], arrays["y"]
    if x.ndim < 2:
        raise BadInput(str(path), f"x has the shape {x.shape}", "Give (rows, features) or images")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        fix = "Give one class index a row; y.argmax(axis=1) makes it of one-hot rows"
        raise BadInput(str(path), f"y has the shape {y.shape}", fix)
    if len(x) != len(y):
        raise BadInput(str(path), f"x has {len(x)} rows, y has {len(y)}", "Give as many of both")
    pixels, notes = _oriented(x)
    return Table(path=path, x=_finite(path, pixels, ()), y=y, notes=notes)


def _oriented(x: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Bytes to [0, 1] and channels first, where the shape leaves no doubt; says what was done."""
    notes: list[str] = []
    pixels = x.dtype == np.uint8 and x.ndim >= 3
    if pixels and x.ndim == 3:
        x = x[:, None]
        notes.append("images without a channel axis got one: (N, H, W) -> (N, 1, H, W)")
    elif x.ndim == 4 and x.shape[3] in CHANNELS and x.shape[1] not in CHANNELS:
        x = x.transpose(0, 3, 1, 2)
        notes.append("channels moved to the front: (N, H, W, C) -> (N, C, H, W)")
    elif x.ndim == 4 and x.shape[3] in CHANNELS and x.shape[1] != x.shape[2]:
        notes.append(f"images of shape {x.shape[1:]} are taken as (C, H, W)")
    if pixels:
        x = x.astype(np.float32) / np.float32(255)
        notes.append("bytes 0..255 divided by 255")
    return x, tuple(notes)


def _columns(path: Path, label: str | None) -> Table:
    table = _arrow(path)
    names = list(table.column_names)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise BadInput(str(path), f"has columns of the same name: {', '.join(twice)}")
    wanted = (label,) if label else LABEL_COLUMNS
    chosen = next((name for name in wanted if name in names), None)
    if chosen is None:
        problem = f"has no label column {' or '.join(wanted)}; it has {', '.join(names)}"
        raise BadInput(str(path), problem, "Name it with `label`")
    features = tuple(name for name in names if name != chosen)
    if not features:
        raise BadInput(str(path), f"has no column beside the labels {chosen!r}")
    columns = [_numeric(path, name, table.column(name)) for name in features]
    labels = table.column(chosen)
    if labels.null_count:
        row = labels.is_null().to_pylist().index(True)
        raise BadInput(str(path), f"row {row} has no label in column {chosen!r}", "Fill or drop it")
    x = _finite(path, np.stack(columns, axis=1), features)
    return Table(path=path, x=x, y=np.array(labels.to_pylist()), columns=features)


def _arrow(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    try:
        return csv.read_csv(path) if path.suffix.lower() == ".csv" else pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(str(path), f"cannot be read ({error})", "Save it again") from None


def _numeric(path: Path, name: str, column: Any) -> NDArray[np.float64]:
    import pyarrow as pa

    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        problem = f"row {row}, column {name!r} is empty ({column.null_count} such values)"
        raise BadInput(str(path), problem, "Fill or drop these rows (rows count from 0)")
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        example = column[0].as_py() if len(column) else ""
        problem = f"column {name!r} holds {kind} ({example!r}), not numbers"
        raise BadInput(str(path), problem, "Code it as numbers, or leave it out")
    return np.asarray(column.cast(kind).to_numpy(), dtype=np.float64)


def _folder(path: Path) -> Table:
    """`<path>/<class>/<image>`; every image of the same size."""
    classes = sorted(each for each in path.iterdir() if each.is_dir() and each.name[0] != ".")
    if not classes:
        raise BadInput(str(path), "has no folders", "Give one folder of images a class")
    files = [
        (each, folder.name)
        for folder in classes
        for each in sorted(folder.rglob("*"))
        if each.is_file() and each.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not files:
        raise BadInput(str(path), "has no images in its folders", f"Give {SHAPES}")
    images = [opened(each, mode="RGB", name=str(each)) for each, _ in files]
    size = images[0].size
    for image, (each, _) in zip(images, files, strict=True):
        if image.size != size:
            problem = (
                f"is {image.width}x{image.height} where {files[0][0].name} is {size[0]}x{size[1]}"
            )
            raise BadInput(str(each), problem, "Resize all images to one size")
    pixels = np.stack([np.asarray(image, dtype=np.uint8) for image in images])
    grey = bool((pixels == pixels[..., :1]).all())
    pixels = (pixels[..., :1] if grey else pixels).transpose(0, 3, 1, 2)
    notes = ("bytes 0..255 divided by 255", f"read as {'grey' if grey else 'colour'} images")
    return Table(
        path=path,
        x=np.ascontiguousarray(pixels, dtype=np.float32) / np.float32(255),
        y=np.array([label for _, label in files]),
        notes=notes,
    )


def _finite(path: Path, x: NDArray[Any], columns: tuple[str, ...]) -> NDArray[np.float32]:
    """x as float32; refused where a value is not a finite number, naming row and column."""
    if x.dtype.kind not in "biuf":
        raise BadInput(str(path), f"x holds {x.dtype}, not numbers", "Give numbers")
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(x, dtype=np.float32)
    bad = ~np.isfinite(cast)
    if bad.any():
        row, *place = np.argwhere(bad)[0].tolist()
        value = x[(row, *place)]
        column = repr(columns[place[0]]) if columns else ", ".join(map(str, place))
        problem = f"row {row}, column {column} is {value} ({int(bad.sum())} such values)"
        fix = "Fill or drop these rows (rows and columns count from 0)"
        if np.isfinite(value):
            fix = "float32 holds up to 3.4e38: scale the column"
        raise BadInput(str(path), problem, fix)
    return cast


def _indices(path: Path, y: NDArray[Any], classes: int | None) -> NDArray[Any]:
    """Labels as int64 >= 0, or as text; text that is all whole numbers counts as numbers."""
    if y.dtype.kind == "U" and not all(each.isascii() and each.isdigit() for each in y.tolist()):
        return y
    if y.dtype.kind not in "biufU":
        raise BadInput(str(path), f"y holds {y.dtype}", "Give class indices, or names as text")
    numbers = y.astype(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(numbers) & (numbers == np.floor(numbers))))
    if len(wrong):
        problem = f"row {wrong[0]} has the label {y[wrong[0]]} ({len(wrong)} such labels)"
        raise BadInput(str(path), problem, "Labels are whole numbers 0, 1, ... (class indices)")
    low = np.flatnonzero(numbers < 0)
    if len(low):
        problem = f"row {low[0]} has the label {y[low[0]]} ({len(low)} such labels)"
        raise BadInput(str(path), problem, "Labels are class indices from 0 on")
    limit = classes or max(len(y), 1_000)
    high = np.flatnonzero(numbers >= limit)
    if len(high):
        where = f"where `classes` is {classes}" if classes else f"in a table of {len(y)} rows"
        problem = f"row {high[0]} has the label {y[high[0]]} {where}"
        raise BadInput(str(path), problem, f"Labels are class indices below {limit}")
    return numbers.astype(np.int64)


def _fitted(first: Table, other: Table) -> Table:
    """The other part's rows in the first part's shape and order of columns."""
    if first.columns and other.columns and first.columns != other.columns:
        if set(first.columns) != set(other.columns):
            lacks = ", ".join(sorted(set(first.columns) - set(other.columns))) or "none"
            extra = ", ".join(sorted(set(other.columns) - set(first.columns))) or "none"
            problem = f"has other columns than {first.path.name} (missing: {lacks}; extra: {extra})"
            raise BadInput(str(other.path), problem, "Give the same columns in both")
        order = [other.columns.index(name) for name in first.columns]
        other = replace(other, x=other.x[:, order], columns=first.columns)
    if first.x.shape[1:] != other.x.shape[1:]:
        problem = f"has rows of shape {other.x.shape[1:]}, {first.path.name} of {first.x.shape[1:]}"
        raise BadInput(str(other.path), problem, "Give rows of the same shape in both")
    if (first.y.dtype.kind == "U") != (other.y.dtype.kind == "U"):
        problem = f"labels are {_sort(other)}, those of {first.path.name} are {_sort(first)}"
        raise BadInput(str(other.path), problem, "Give numbers in both or names in both")
    return other


def _sort(table: Table) -> str:
    return "names" if table.y.dtype.kind == "U" else "numbers"


def _labels(
    tables: tuple[Table, ...], classes: int | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class indices and names over all parts together."""
    y = np.concatenate([table.y for table in tables])
    if y.dtype.kind == "U":
        names, indices = np.unique(y, return_inverse=True)
        if classes is not None and len(names) != classes:
            raise _other_number(tables, names.tolist(), classes)
        return indices.astype(np.int64), tuple(str(name) for name in names)
    if len(np.unique(y)) < 2:
        problem = f"every row has the label {y[0]}"
        raise BadInput(str(tables[0].path), problem, "Give rows of at least 2 classes")
    return y, tuple(str(label) for label in range(classes or int(y.max()) + 1))


def _other_number(tables: tuple[Table, ...], names: list[str], classes: int) -> BadInput:
    """The error for text labels that name more or fewer classes than there are."""
    found = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    where = " and ".join(str(table.path) for table in tables)
    problem = f"the labels name {len(names)} classes ({found}) where `classes` is {classes}"
    if len(names) > classes:
        return BadInput(where, problem, "Correct the labels or `classes`")
    fix = (
        "Give class indices (0, 1, ...) as labels: with a class missing from all parts, names do"
        " not tell which output of the model is whose"
    )
    return BadInput(where, problem, fix)
