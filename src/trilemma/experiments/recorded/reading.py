"""Reading recorded predictions from a file. The content decides what it is, not the suffix."""

import hashlib
from pathlib import Path

import numpy as np

from trilemma.core.errors import BadInput
from trilemma.experiments.recorded.archive import read_archive
from trilemma.experiments.recorded.content import Kind, recognise
from trilemma.experiments.recorded.predictions import Contents, Recorded
from trilemma.experiments.recorded.tables import read_csv, read_parquet

READERS = {Kind.NPZ: read_archive, Kind.PARQUET: read_parquet, Kind.CSV: read_csv}


def read_recorded(path: Path | str, *, name: str | None = None) -> Recorded:
    """The recorded answers of one model about members and non-members.

    Args:
        path: an .npz file (forms in `archive`), or a CSV or Parquet file (forms in `tables`).
        name: what to call the model; the file's name without its suffix if not given.

    Returns:
        The answers with the values of the file: they are compared as they were recorded.

    Raises:
        BadInput: the file cannot be read, or what it holds is no such record. The message says
            what was found and what to do.
    """
    path = Path(path).expanduser()
    called = path.stem if name is None else name
    if not called.strip():
        raise BadInput("name", f"{called!r} is empty", "Give the model a name")
    contents = READERS[recognise(path)](path)
    return Recorded(
        name=called,
        fingerprint=fingerprint(path),
        benign=contents.benign,
        adversarial=contents.adversarial,
        labels=contents.labels,
        notes=(*contents.notes, *_remarks(contents)),
    )


def fingerprint(path: Path) -> str:
    """BLAKE2b-128 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _remarks(read: Contents) -> list[str]:
    """What is allowed but most likely a mistake."""
    notes = []
    if np.array_equal(read.benign.members, read.benign.nonmembers):
        notes.append(
            "Members and non-members have identical answers in the same order: the same rows seem"
            " to have been recorded twice."
        )
    if read.adversarial is not None and all(
        np.array_equal(getattr(read.benign, side), getattr(read.adversarial, side))
        for side in ("members", "nonmembers")
    ):
        notes.append("Adversarial answers equal the benign ones: the inputs seem unperturbed.")
    if read.labels is not None:
        right = float(np.mean(read.benign.members.argmax(1) == read.labels.members))
        if right < 1 / read.benign.members.shape[1]:
            notes.append(
                f"Only {right:.1%} of the members are classified correctly, less than by chance:"
                " labels and answers may be in different orders."
            )
    return notes
