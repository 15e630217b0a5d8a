"""The store: a folder of finished results that several processes may share.

    <root>/<kk>/<key>/     facts.json, table.parquet or arrays.safetensors, and manifest.json
    <root>/scratch/<key>/  checkpoints of stages that run, or ran and were killed
    <root>/locks/          one file lock a key
    <root>/incoming/       entries being written
    <root>/damaged/        entries set aside, to be looked at or deleted
    <root>/audits/         documents of finished audits (see `finished`)

An entry appears whole or not at all: it is written under a temporary name, with its checksums,
synced, and renamed. Nothing in it is ever unpickled. Processes on several machines need a shared
file system with working file locks.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from trilemma.core.caches import cache_folder
from trilemma.core.keys import Json
from trilemma.experiments import entries
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.entries import Entry
from trilemma.experiments.faults import DamagedEntry, NotStored, full_disk_of
from trilemma.experiments.locks import hold

__all__ = ["Artifact", "DamagedEntry", "Entry", "NotStored", "Store", "default_root"]

_DAY = 86_400.0


def default_root() -> Path:
    """`$TRILEMMA_STORE`, or `trilemma/store` in this platform's cache folder."""
    if chosen := os.environ.get("TRILEMMA_STORE"):
        return Path(chosen).expanduser()
    return cache_folder("store")


class Store:
    """Results by key, in the folder `root`; created when something is first written.

    Args:
        root: the folder; `default_root()` when not given.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_root()).expanduser().absolute()

    def has(self, key: str) -> bool:
        """Whether an entry is there; does not look at its checksums."""
        return (self._folder(key) / entries.MANIFEST).is_file()

    def sound(self, key: str) -> bool:
        """Whether an entry is there, with every checksum right.

        Raises:
            DamagedEntry: it was there and damaged; it has been set aside.
        """
        return self._guarded(key, entries.verify)

    def read(self, key: str) -> Artifact:
        """The result under `key`, every checksum verified.

        Raises:
            NotStored: there is none.
            DamagedEntry: it was damaged (also a `NotStored`); it has been set aside.
        """
        found: list[Artifact] = []
        if not self._guarded(key, lambda folder, name: found.append(entries.load(folder, name))):
            raise NotStored(key, self.root)
        return found[0]

    def write(self, key: str, artifact: Artifact, about: Mapping[str, Json] | None = None) -> None:
        """Keep a result. Where another process was faster, its entry stays and this one is dropped.

        Args:
            key: 32 hexadecimal digits.
            artifact: the result.
            about: what the manifest shall say of it (stage, label, spec, seconds).

        Raises:
            StoreFull: no space left; nothing half-written stays, everything else is intact.
        """
        folder, files = self._folder(key), entries.compose(key, artifact, about or {})
        with full_disk_of(self.root, needed=sum(map(len, files.values()))):
            temporary = entries.temporary_name(self._room("incoming"), key)
            try:
                entries.save(temporary, files)
                folder.parent.mkdir(exist_ok=True)
                while not entries.publish(temporary, folder):
                    try:
                        entries.verify(folder, key)
                        return
                    except ValueError:
                        self._set_aside(key)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def remove(self, key: str) -> None:
        """Forget an entry and its checkpoints; no error where there is none."""
        if self._folder(key).is_dir():
            with full_disk_of(self.root):
                doomed = entries.temporary_name(self._room("incoming"), key)
                entries.publish(self._folder(key), doomed)
            shutil.rmtree(doomed, ignore_errors=True)
        self.clear_scratch(key)

    def prepare(self) -> None:
        """Make the folder and try to write to it, before any work starts.

        Raises:
            BadInput: it cannot be written to.
            StoreFull: no space is left.
        """
        with full_disk_of(self.root):
            trial = entries.temporary_name(self._room("incoming"), "trial")
            trial.mkdir()
            trial.rmdir()

    @contextmanager
    def lock(self, key: str, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the key's file lock; `on_wait` is called once when somebody else holds it."""
        with full_disk_of(self.root):
            path = self._room("locks") / f"{key}.lock"
        with hold(path, on_wait):
            yield

    def scratch(self, key: str) -> Path:
        """The folder for the checkpoints of `key`, created when missing."""
        with full_disk_of(self.root):
            folder = self._room("scratch") / key
            folder.mkdir(exist_ok=True)
        return folder

    def clear_scratch(self, key: str) -> None:
        """Delete the checkpoints of `key`."""
        shutil.rmtree(self.root / "scratch" / key, ignore_errors=True)

    def entries(self) -> Iterator[Entry]:
        """What is stored, oldest name first; reads manifests only."""
        for folder in sorted(self.root.glob("[0-9a-f][0-9a-f]/*")):
            try:
                yield entries.entry(folder)
            except (OSError, ValueError):
                continue  # damaged or just removed: a run that needs it will say so

    def size(self) -> int:
        """Bytes of all files below the root, leftovers included."""
        return sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())

    def sweep(self, *, older_than: float = _DAY, checkpoints: bool = False) -> None:
        """Delete what killed writers left, untouched for so many seconds.

        With `checkpoints`, also damaged entries and checkpoints of stages that never finished.
        """
        for room in ("incoming", "damaged", "scratch") if checkpoints else ("incoming",):
            entries.sweep(self.root / room, older_than)

    def _folder(self, key: str) -> Path:
        if len(key) != 32 or not set(key) <= set("0123456789abcdef"):
            raise ValueError(f"a key is 32 hexadecimal digits; got {key!r}")
        return self.root / key[:2] / key

    def _room(self, name: str) -> Path:
        room = self.root / name
        room.mkdir(parents=True, exist_ok=True)
        return room

    def _guarded(self, key: str, look: Callable[[Path, str], object]) -> bool:
        folder = self._folder(key)
        if not folder.is_dir():
            return False
        try:
            with full_disk_of(self.root):
                look(folder, key)
        except ValueError as error:
            if not folder.is_dir():  # removed or set aside by another process meanwhile
                return False
            raise DamagedEntry(key, self.root, str(error), self._set_aside(key)) from None
        return True

    def _set_aside(self, key: str) -> Path | None:
        """Move a damaged entry out of the way; None where another process already did."""
        folder = self._folder(key)
        with self.lock(f"{key}.aside"), full_disk_of(self.root):
            try:
                entries.verify(folder, key)
            except ValueError:
                if folder.is_dir():
                    return entries.move_aside(folder, self._room("damaged"))
            return None
