"""Stages: pure functions of their description and of what their parents made.

A stage is a frozen dataclass. Its fields are plain values, configs (frozen dataclasses) and other
stages, its parents; together with the class name and `REVISION` they are its key, under which the
store keeps what it made. A field that cannot change the result says
`field(metadata={"counts": False})`.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from trilemma.core.keys import Json, digest, encode
from trilemma.experiments.artifact import Artifact

__all__ = ["Artifact", "Bench", "Json", "Stage", "key", "parents", "spec"]


class Bench(ABC):
    """What a stage works with while it runs."""

    @property
    @abstractmethod
    def scratch(self) -> Path:
        """A folder for checkpoints: survives a crash of the stage, removed once it succeeded."""

    @abstractmethod
    def load(self, parent: "Stage") -> Artifact:
        """What a parent made, its checksums verified.

        Raises:
            ValueError: `parent` is no field of the running stage, so its key would not count.
        """

    @abstractmethod
    def progress(self, done: int, total: int, note: str = "") -> None:
        """Say how far the stage is; cheap enough for every step."""


@dataclass(frozen=True, kw_only=True)
class Stage(ABC):
    """One computation. Subclasses are frozen, keyword-only dataclasses with a `REVISION`.

    `REVISION` counts the versions of the method: it goes up when the same description gives
    another result, so that what the old version stored is not taken for the new one's.
    """

    REVISION: ClassVar[int]

    @abstractmethod
    def label(self) -> str:
        """Its name for people, unique within an experiment: "train robust, seed 1"."""

    @abstractmethod
    def run(self, bench: Bench) -> Artifact:
        """Compute. Same description, same parents, same result."""

    @property
    def gpu(self) -> bool:
        """Whether a cluster must run it on a worker that offers the resource `GPU`."""
        return False

    @cached_property
    def _key(self) -> str:
        if not isinstance(getattr(type(self), "REVISION", None), int):
            raise TypeError(f"{type(self).__name__} needs a class attribute REVISION: int")
        return digest(self, stand_in=_by_key)


def key(stage: Stage) -> str:
    """32 hexadecimal digits: equal for equal stages, in any process."""
    return stage._key


def spec(stage: Stage) -> Json:
    """What the key is a digest of: `{"kind":, "REVISION":, **fields}`, parents by their keys."""
    return encode(stage, stand_in=_by_key)


def parents(stage: Stage) -> tuple[Stage, ...]:
    """The stages among its fields, also inside tuples, mappings and configs; each once."""
    found = {key(parent): parent for parent in _inside(stage)}
    return tuple(found.values())


def _by_key(value: object) -> Json:
    return {"stage": key(value)} if isinstance(value, Stage) else None


def _inside(value: object) -> Iterator[Stage]:
    parts: list[object] = []
    if isinstance(value, list | tuple):
        parts = list(value)
    elif isinstance(value, Mapping):
        parts = list(value.values())
    elif dataclasses.is_dataclass(value):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
    for part in parts:
        if isinstance(part, Stage):
            yield part
        else:
            yield from _inside(part)
