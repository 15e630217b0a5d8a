"""UCI HAR: features of smartphone sensors as text, in a zip, in a zip within a zip, or neither."""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data.readers.archives import walk, walk_inner
from trilemma.data.readers.decoded import Decoded, parts

ACTIVITIES = (
    "WALKING",
    "WALKING_UPSTAIRS",
    "WALKING_DOWNSTAIRS",
    "SITTING",
    "STANDING",
    "LAYING",
)
FEATURES = 561
PEOPLE = 30
ROUNDING = 1e-6  # how far beyond [-1, 1] a value that was written as a decimal may lie
INNER = "UCI HAR Dataset.zip"
NAMES = ("activity_labels.txt", "features.txt")
NEEDED = (
    *NAMES,
    *(f"{part}/{of}_{part}.txt" for part in ("train", "test") for of in ("X", "y", "subject")),
)
AGAIN = "Fetch it again"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One official part.

    Args:
        x: (n, 561) float32 in [-1, 1].
        y: (n,) activities, 0 to 5.
        people: (n,) whose rows they are, 0 to 29.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    people: NDArray[np.int64]


def archive(path: Path) -> Decoded:
    """`UCI HAR Dataset.zip`, the zip that UCI serves around it, or what either unpacks to.

    The values stay as they are, in [-1, 1]; the activities 1 to 6 become the classes 0 to 5.
    """
    texts = _texts(path)
    activities = _listed(path, "activity_labels.txt", texts, len(ACTIVITIES))
    if activities != ACTIVITIES:
        problem = f"has the activities {', '.join(activities)} instead of {', '.join(ACTIVITIES)}"
        raise BadInput(str(path), problem, AGAIN)
    features = _listed(path, "features.txt", texts, FEATURES)
    train, test = (_part(path, name, texts) for name in ("train", "test"))
    deviation, note = _people(train, test)
    return Decoded(
        stored=np.concatenate([train.x, test.x]),
        y=np.concatenate([train.y, test.y]),
        class_names=ACTIVITIES,
        divisor=1.0,
        part=parts(len(train.y), len(test.y)),
        feature_names=features,
        deviation=deviation,
        notes=(note,) if note else (),
    )


def _people(train: Part, test: Part) -> tuple[str, str]:
    """A deviation where people are in both parts, else a note that none is."""
    if shared := len(np.intersect1d(train.people, test.people)):
        return f"people whose rows are in both official parts: {shared}", ""
    counts = " and ".join(str(len(np.unique(part.people))) for part in (train, test))
    said = f"training and test rows come from different people ({counts})"
    return "", f"{said}, so what tells them apart is not membership alone"


def _texts(path: Path) -> dict[str, bytes]:
    """Each needed file's content; looks into the inner zip where there is none outside it."""
    texts = _once(path, walk(path, _is_text)) or _once(path, _within(path))
    if missing := [name for name in NEEDED if name not in texts]:
        fix = "Fetch human+activity+recognition+using+smartphones.zip again"
        raise BadInput(str(path), f"lacks {', '.join(missing)}", fix)
    return texts


def _within(path: Path) -> Iterator[tuple[str, bytes]]:
    for name, content in walk(path, _is_inner):
        yield from walk_inner(path, name, content, _is_text)


def _once(path: Path, files: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    texts: dict[str, bytes] = {}
    for name, content in files:
        short = _short(name)
        if short in texts:
            raise BadInput(str(path), f"holds {short} more than once", "Keep one copy of the data")
        texts[short] = content
    return texts


def _short(name: str) -> str:
    """The name below the data set's folder."""
    found = PurePosixPath(name)
    return found.name if found.name in NAMES else f"{found.parent.name}/{found.name}"


def _is_text(name: str) -> bool:
    return _short(name) in NEEDED and "__MACOSX" not in name


def _is_inner(name: str) -> bool:
    return PurePosixPath(name).name == INNER and "__MACOSX" not in name


def _part(path: Path, part: str, texts: Mapping[str, bytes]) -> Part:
    x = _features(path, f"{part}/X_{part}.txt", texts)
    y = _codes(path, f"{part}/y_{part}.txt", texts, len(ACTIVITIES))
    people = _codes(path, f"{part}/subject_{part}.txt", texts, PEOPLE)
    if not len(x) == len(y) == len(people):
        held = f"{len(x):,} rows of features, {len(y):,} labels and {len(people):,} subjects"
        raise BadInput(str(path), f"{part} holds {held}", AGAIN)
    return Part(x=x, y=y, people=people)


def _features(path: Path, name: str, texts: Mapping[str, bytes]) -> NDArray[np.float32]:
    x = _numbers(path, name, texts, FEATURES, np.float32)
    if wrong := x.size - int(np.isfinite(x).sum()):
        raise BadInput(str(path), f"{name} holds {wrong:,} values that are not finite", AGAIN)
    distance = np.abs(x)
    if outside := int((distance > 1 + ROUNDING).sum()):
        problem = f"{name} holds {outside:,} values outside [-1, 1], up to {distance.max():.4g}"
        raise BadInput(str(path), f"{problem} in size", AGAIN)
    return np.clip(x, -1, 1, out=x)


def _codes(path: Path, name: str, texts: Mapping[str, bytes], last: int) -> NDArray[np.int64]:
    """A column of the whole numbers 1 to `last`, less 1."""
    values = _numbers(path, name, texts, 1, np.float64)[:, 0]
    if not (known := np.isin(values, np.arange(1, last + 1))).all():
        raise BadInput(str(path), f"{name} holds {values[~known][0]:g}, not 1 to {last}", AGAIN)
    return values.astype(np.int64) - 1


def _numbers(
    path: Path, name: str, texts: Mapping[str, bytes], width: int, kind: type[Any]
) -> NDArray[Any]:
    """A table of numbers that are set apart by blanks."""
    text = texts[name]
    if not text or text.isspace():
        raise BadInput(str(path), f"{name} holds no rows", AGAIN)
    try:
        table: NDArray[Any] = np.loadtxt(
            io.BytesIO(text), dtype=kind, comments=None, ndmin=2, encoding="ascii"
        )
    except ValueError as error:  # NumPy's advice after the semicolon is for programmers
        said = str(error).split(";")[0]
        raise BadInput(str(path), f"{name} is not a table of numbers ({said})", AGAIN) from None
    if table.shape[1] != width:
        raise BadInput(str(path), f"{name} has {table.shape[1]:,} columns, not {width}", AGAIN)
    return table


def _listed(path: Path, name: str, texts: Mapping[str, bytes], count: int) -> tuple[str, ...]:
    """Names that are numbered from 1 on."""
    lines = [line.split(maxsplit=1) for line in texts[name].decode("latin-1").splitlines()]
    listed = [line[1].strip() for line in lines if len(line) == 2]
    if [line[0] for line in lines if line] != [str(n + 1) for n in range(count)] or (
        len(listed) != count
    ):
        raise BadInput(str(path), f"{name} is not a list of {count} numbered names", AGAIN)
    return tuple(listed)
