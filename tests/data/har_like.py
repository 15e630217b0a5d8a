"""Miniature archives in the form of UCI HAR, with activities that a small network learns.

Sixty features tell the activities apart; of the others each person has an own offset, and the
rest is noise. So a network that is trained on a hundred rows knows them by heart and does worse on
the rows of other people. Values are written as in the published files.
"""

import io
import zipfile
from pathlib import Path

import numpy as np

from trilemma.data.readers.har import ACTIVITIES, FEATURES, INNER

FOLDER = "UCI HAR Dataset"
OUTER = "human+activity+recognition+using+smartphones.zip"
TOLD = 60  # features that depend on the activity
PEOPLE = {"train": (1, 3, 5, 6, 7), "test": (2, 4, 9)}


def write_har_like(folder: Path, *, train: int = 120, test: int = 60, seed: int = 0) -> Path:
    """`UCI HAR Dataset.zip` in the folder, which `$TRILEMMA_DATA` may then name.

    Args:
        folder: where it is written.
        train: rows of the official training part, activities in turn.
        test: rows of the official test part, of other people.
        seed: of the values.
    """
    path = folder / INNER
    path.write_bytes(zipped(har_files(train=train, test=test, seed=seed)))
    return path


def har_files(*, train: int = 12, test: int = 6, seed: int = 0) -> dict[str, str]:
    """Name in the archive -> text, in the order of the published archive."""
    rng = np.random.default_rng(seed)
    centres = np.zeros((len(ACTIVITIES), FEATURES))
    centres[:, :TOLD] = rng.normal(0, 0.5, (len(ACTIVITIES), TOLD))
    files = {
        "activity_labels.txt": numbered(ACTIVITIES),
        "features.txt": numbered([f"tBodyAcc-{number % 477}()" for number in range(FEATURES)]),
        "README.txt": "Universit\xe0 degli Studi di Genova",
    }
    for part, rows in (("test", test), ("train", train)):
        y = np.arange(rows) % len(ACTIVITIES)
        people = np.sort(rng.choice(PEOPLE[part], rows))
        offsets = rng.normal(0, 0.15, (max(PEOPLE[part]) + 1, FEATURES))
        x = centres[y] + offsets[people] + rng.normal(0, 0.35, (rows, FEATURES))
        files[f"{part}/Inertial Signals/body_acc_x_{part}.txt"] = table(x[:, :3])
        files[f"{part}/subject_{part}.txt"] = lines(people)
        files[f"{part}/X_{part}.txt"] = table(np.clip(x, -1, 1))
        files[f"{part}/y_{part}.txt"] = lines(y + 1)
    return {f"{FOLDER}/{name}": text for name, text in files.items()}


def zipped(files: dict[str, str | bytes]) -> bytes:
    """A zip of the files, with what a Mac puts into one."""
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/UCI HAR Dataset/train/X_train.txt", b"resource fork")
        for name, content in files.items():
            archive.writestr(name, encoded(content))
    return kept.getvalue()


def encoded(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.encode("latin-1")


def table(x: np.ndarray) -> str:
    """Sixteen characters a number: `  2.8858451e-001 -2.0294171e-002`."""
    return "".join("".join(map(number, row)) + "\n" for row in x)


def number(value: float) -> str:
    mantissa, exponent = f"{value:.7e}".split("e")
    return f"{mantissa}e{exponent[0]}{int(exponent[1:]):03d}".rjust(16)


def lines(values: np.ndarray) -> str:
    return "".join(f"{value}\n" for value in values)


def numbered(names) -> str:
    return "".join(f"{place} {name}\n" for place, name in enumerate(names, start=1))
