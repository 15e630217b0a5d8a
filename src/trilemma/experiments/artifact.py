"""What a stage hands over: named arrays and facts, and the files that they become."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.core.keys import Json

FACTS, TABLE, ARRAYS = "facts.json", "table.parquet", "arrays.safetensors"


@dataclass(frozen=True, eq=False)
class Artifact:
    """The result of a stage.

    Args:
        arrays: numbers, booleans, or columns of text, by name.
        facts: JSON values by name; finite numbers only. They are held as JSON gives them back
            (tuples as lists), so that a fresh result equals the stored one.

    Raises:
        BadInput: an array that no file format here holds, or facts that JSON cannot say.
    """

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    facts: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, array in self.arrays.items():
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufU":
                got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
                raise BadInput(f"array {name!r}", f"is {got}", "Give a NumPy array of numbers")
            if array.dtype.kind == "U" and not _is_table(self.arrays):
                raise BadInput(
                    f"array {name!r}",
                    "is text beside arrays of another length or shape",
                    "Text goes into facts, or into a table of columns of one length",
                )
        try:
            plain = json.loads(json.dumps(dict(self.facts), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise BadInput(
                "facts", str(error), "Give finite numbers, text, lists, tables"
            ) from None
        object.__setattr__(self, "facts", plain)


def pack(artifact: Artifact) -> dict[str, bytes]:
    """The files of an artifact: name -> content.

    Columns of one length become a Parquet table, other arrays a safetensors file, facts JSON.
    """
    files = {FACTS: json.dumps(artifact.facts, indent=1, allow_nan=False).encode()}
    arrays = {name: _native(array) for name, array in artifact.arrays.items()}
    if _is_table(arrays):
        files[TABLE] = _to_parquet(arrays)
    elif arrays:
        from safetensors.numpy import save

        files[ARRAYS] = save(arrays)
    return files


def unpack(files: Mapping[str, bytes]) -> Artifact:
    """The artifact that `pack` made these files from; its arrays are writable copies."""
    arrays: dict[str, NDArray[Any]] = {}
    if TABLE in files:
        arrays = _from_parquet(files[TABLE])
    elif ARRAYS in files:
        from safetensors.numpy import load

        arrays = {name: _writable(array) for name, array in load(files[ARRAYS]).items()}
    return Artifact(arrays, json.loads(files[FACTS]))


def _is_table(arrays: Mapping[str, NDArray[Any]]) -> bool:
    shapes = {np.shape(array) for array in arrays.values()}
    return len(shapes) == 1 and len(next(iter(shapes))) == 1


def _native(array: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def _writable(array: NDArray[Any]) -> NDArray[Any]:
    return array if array.flags.writeable else array.copy()


def _to_parquet(columns: Mapping[str, NDArray[Any]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(
        {
            name: pyarrow.array(column.tolist() if column.dtype.kind == "U" else column)
            for name, column in columns.items()
        }
    )
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


def _from_parquet(content: bytes) -> dict[str, NDArray[Any]]:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(pyarrow.BufferReader(content), use_threads=False)
    return {name: _column(table.column(name)) for name in table.column_names}


def _column(column: Any) -> NDArray[Any]:
    import pyarrow

    if pyarrow.types.is_string(column.type):
        return np.array(column.to_pylist(), dtype=np.str_)
    return np.array(column.to_numpy())
