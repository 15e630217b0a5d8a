"""Reading .npz archives without unpickling and without trusting the sizes they declare."""

import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from trilemma.core.errors import BadInput
from trilemma.experiments.recorded.memory import check_memory
from trilemma.experiments.recorded.predictions import Array

READABLE = "biuf"  # booleans, integers, floats


def array_names(path: Path) -> list[str]:
    """Names of the arrays in an archive, without reading them.

    Raises:
        BadInput: the archive is damaged, or is not one of arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.namelist()
    except Exception as error:  # damaged bytes raise anything
        raise _damaged(path, error) from None
    _recognise(path, entries)
    return [entry.removesuffix(".npy") for entry in entries if entry.endswith(".npy")]


def read_arrays(path: Path, names: Collection[str]) -> dict[str, Array]:
    """Some arrays of an archive, in their own precision and the machine's byte order.

    Nothing is read before every size is known: an array's header must agree with what the
    archive declares, which the decompressor enforces, and the sum must fit in memory.

    Raises:
        BadInput: damaged, encrypted, pickled, not numeric, or larger than memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = [_declared(path, archive, f"{name}.npy") for name in names]
            check_memory(path, sum(sizes))
            return {name: _read(archive, f"{name}.npy") for name in names}
    except BadInput:
        raise
    except Exception as error:  # damaged bytes raise anything, even a tokenizer's error
        raise _damaged(path, error) from None


def _declared(path: Path, archive: zipfile.ZipFile, entry: str) -> int:
    """Bytes that an array will take, after checking that it is one that can be read."""
    info = archive.getinfo(entry)
    what = f"{path}: {entry.removesuffix('.npy')}"
    if info.flag_bits & 1:
        raise BadInput(what, "is encrypted", "Save the archive without a password")
    shape, dtype, header = _header(what, archive, entry)
    if dtype.hasobject:
        raise BadInput(
            what,
            "holds Python objects (a pickle), which are never loaded",
            "Save a plain array of numbers, e.g. numpy.asarray(values, dtype=numpy.float64)",
        )
    if dtype.kind not in READABLE or dtype.itemsize > 8:
        raise BadInput(
            what, f"has type {dtype}, which is no plain number", "Save it as float64 or int64"
        )
    size = dtype.itemsize
    for length in shape:
        size *= length
    if size != info.file_size - header or min(shape, default=0) < 0:
        raise BadInput(
            what,
            f"is damaged: its header declares {size:,} bytes for shape {shape},"
            f" the archive holds {info.file_size - header:,}",
            "Save the file again",
        )
    return size


def _header(
    what: str, archive: zipfile.ZipFile, entry: str
) -> tuple[tuple[int, ...], np.dtype[np.generic], int]:
    """Shape, type, and how many bytes stand before the values."""
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    with archive.open(entry) as stream:
        version = npy.read_magic(stream)
        if version not in readers:
            raise BadInput(what, f"is in npy format {version}", "Save a plain array of numbers")
        shape, _, dtype = readers[version](stream)
        return shape, dtype, stream.tell()


def _read(archive: zipfile.ZipFile, entry: str) -> Array:
    with archive.open(entry) as stream:
        array: Array = npy.read_array(stream, allow_pickle=False)
        while stream.read(1 << 16):  # to the end, where the checksum is compared
            pass
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _recognise(path: Path, entries: list[str]) -> None:
    if any(entry.endswith(".npy") for entry in entries):
        return
    kinds = {
        "data.pkl": "a file of torch.save (a pickle), which is never loaded",
        "[Content_Types].xml": "an Office document",
    }
    for entry in entries:
        for mark, kind in kinds.items():
            if entry == mark or entry.endswith("/" + mark):
                raise BadInput(
                    str(path),
                    f"is {kind}",
                    "Save the predictions with numpy.savez, or export a table as CSV or Parquet",
                )
    raise BadInput(
        str(path),
        "is an archive without arrays" if entries else "is an empty archive",
        "Save the predictions with numpy.savez",
    )


def _damaged(path: Path, error: Exception) -> BadInput:
    reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    return BadInput(
        str(path),
        f"is damaged and cannot be read ({reason})",
        "Copy or save it again",
    )
