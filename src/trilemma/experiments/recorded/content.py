"""What a file is, by its first bytes."""

import stat
from enum import Enum
from pathlib import Path

from trilemma.core.errors import BadInput

FIX = "Give an .npz, CSV or Parquet file"
HEAD = 4096


class Kind(Enum):
    """The formats that recorded predictions are read from."""

    NPZ = "npz"
    PARQUET = "parquet"
    CSV = "csv"


FOREIGN = {
    b"\x93NUMPY": (
        "is a single array (.npy)",
        "Save all arrays in one file: numpy.savez(file, output_train=..., output_test=...,"
        " train_label=..., test_label=...)",
    ),
    b"\x89HDF": ("is an HDF5 file", "Save its arrays with numpy.savez"),
    b"ARROW1": ("is an Arrow (Feather) file", "Write it as Parquet: pyarrow.parquet.write_table"),
    b"\x1f\x8b": ("is compressed (gzip)", "Decompress it first"),
    b"BZh": ("is compressed (bzip2)", "Decompress it first"),
    b"\xfd7zXZ": ("is compressed (xz)", "Decompress it first"),
    b"\x28\xb5\x2f\xfd": ("is compressed (zstd)", "Decompress it first"),
    b"MATLAB": ("is a MATLAB file", "Save its arrays with numpy.savez"),
    b"\xff\xfe": ("is text in UTF-16", "Save it as UTF-8"),
    b"\xfe\xff": ("is text in UTF-16", "Save it as UTF-8"),
    b"{": ("is JSON", FIX),
    b"[": ("is JSON", FIX),
}


def recognise(path: Path) -> Kind:
    """The format of a file, whatever its suffix.

    Raises:
        BadInput: there is no such file, it cannot be read, or it is something else.
    """
    head = _head(path)
    if not head.strip():
        raise BadInput(str(path), "is empty", FIX)
    if head.startswith(b"PK"):
        return Kind.NPZ
    if head.startswith(b"PAR1"):
        return Kind.PARQUET
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        raise BadInput(
            str(path),
            "is a pickle, which is never loaded (it can run any code)",
            "Save the arrays with numpy.savez, or a table as CSV or Parquet",
        )
    for mark, (problem, fix) in FOREIGN.items():
        if head.startswith(mark):
            raise BadInput(str(path), problem, fix)
    if b"\0" in head:
        raise BadInput(str(path), "is in no known format", FIX)
    if not _is_utf8(head):
        raise BadInput(str(path), "is in no known format, or text that is not UTF-8", FIX)
    return Kind.CSV


def _head(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise BadInput(str(path), "is a folder", FIX)
        if not stat.S_ISREG(mode):
            raise BadInput(str(path), "is not a regular file", FIX)
        with path.open("rb") as file:
            return file.read(HEAD)
    except FileNotFoundError:
        raise BadInput(str(path), "does not exist", FIX) from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        if isinstance(error, BadInput):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(str(path), f"cannot be read ({reason})", FIX) from None


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3 and len(head) == HEAD  # cut in the middle of a letter
    return True
