"""One entry of the store: a folder of files, and a manifest with the checksum of each."""

import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trilemma.core.keys import Json, canonical, checksum
from trilemma.experiments.artifact import Artifact, pack, unpack

MANIFEST = "manifest.json"
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a manifest says.

    Args:
        key: the entry's name.
        created: UTC, ISO 8601.
        size: bytes of its files.
        about: what its writer noted (stage, label, spec, seconds).
    """

    key: str
    created: str
    size: int
    about: Mapping[str, Json]


def compose(key: str, artifact: Artifact, about: Mapping[str, Json]) -> dict[str, bytes]:
    """The files of an entry, name -> content, the manifest last."""
    files = pack(artifact)
    manifest = {
        "key": key,
        "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "about": dict(about),
        "files": {
            name: {"bytes": len(content), "blake2b": checksum(content)}
            for name, content in files.items()
        },
    }
    manifest["checksum"] = checksum(canonical(manifest))
    files[MANIFEST] = json.dumps(manifest, indent=1, allow_nan=False).encode()
    return files


def save(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files, in their order, and wait until the disk has them."""
    folder.mkdir()
    for name, content in files.items():
        with (folder / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    _sync(folder)


def publish(folder: Path, name: Path) -> bool:
    """Rename a folder, atomically; False where the name is taken."""
    try:
        folder.rename(name)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    _sync(name.parent)
    return True


def move_aside(folder: Path, room: Path) -> Path:
    """Rename a folder to `<room>/<its name>-<n>`, n the first free number from 1."""
    number = 1
    while not publish(folder, room / f"{folder.name}-{number}"):
        number += 1
    return room / f"{folder.name}-{number}"


def verify(folder: Path, key: str) -> None:
    """Compare every file with its checksum.

    Raises:
        ValueError: what is missing, unreadable or does not match.
    """
    _contents(folder, key)


def load(folder: Path, key: str) -> Artifact:
    """The verified artifact of an entry.

    Raises:
        ValueError: what is missing, unreadable or does not match.
    """
    contents = _contents(folder, key)
    try:
        return unpack(contents)
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # each format has errors of its own
        raise ValueError(f"cannot be decoded: {error}") from error


def entry(folder: Path) -> Entry:
    """What the manifest says, without a look at the other files."""
    manifest = _manifest(folder, folder.name)
    return Entry(
        key=manifest["key"],
        created=manifest["created"],
        size=sum(each["bytes"] for each in manifest["files"].values()),
        about=manifest["about"],
    )


def temporary_name(room: Path, key: str) -> Path:
    """A name that no other writer has."""
    return room / f"{key}-{os.getpid()}-{secrets.token_hex(4)}"


def sweep(room: Path, older_than: float) -> None:
    """Delete the folders of `room` in which nothing changed for so many seconds."""
    for folder in room.glob("*"):
        try:
            touched = max(path.stat().st_mtime for path in [folder, *folder.glob("*")])
        except FileNotFoundError:
            continue  # just renamed by its writer
        if time.time() - touched > older_than:
            shutil.rmtree(folder, ignore_errors=True)


def _contents(folder: Path, key: str) -> dict[str, bytes]:
    contents = {}
    for name, expected in _manifest(folder, key)["files"].items():
        contents[name] = _bytes(folder / name)
        if len(contents[name]) != expected["bytes"]:
            raise ValueError(
                f"{name} has {len(contents[name])} bytes instead of {expected['bytes']}"
            )
        if checksum(contents[name]) != expected["blake2b"]:
            raise ValueError(f"{name} does not match its checksum")
    return contents


def _manifest(folder: Path, key: str) -> dict[str, Any]:
    try:
        manifest = json.loads(_bytes(folder / MANIFEST))
    except ValueError as error:
        raise ValueError(f"{MANIFEST} is unreadable: {error}") from None
    if not isinstance(manifest, dict):
        raise ValueError(f"{MANIFEST} is no table")
    claimed = manifest.pop("checksum", None)
    if claimed != checksum(canonical(manifest)):
        raise ValueError(f"{MANIFEST} does not match its checksum")
    if manifest["key"] != key:
        raise ValueError(f"{MANIFEST} is that of {manifest['key']}")
    return manifest


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path.name} is missing") from None
    except OSError as error:
        if error.errno in (errno.EIO, errno.EISDIR):
            raise ValueError(f"{path.name} cannot be read: {error.strerror}") from None
        raise


def _sync(folder: Path) -> None:
    """Make a rename or a new file in `folder` survive a power cut, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
