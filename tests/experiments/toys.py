"""Stages small enough to reason about, for this process and for those that tests start."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from trilemma.experiments.graph import Artifact, Bench, Stage, key
from trilemma.experiments.store import Store


def note(log: Path | None, what: str) -> None:
    """Append a line; appends this short are atomic."""
    if log is not None:
        with log.open("a") as file:
            file.write(f"{what}\n")


def noted(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def same(one: Artifact, other: Artifact) -> bool:
    return (
        one.facts == other.facts
        and one.arrays.keys() == other.arrays.keys()
        and all(
            each.dtype == other.arrays[name].dtype
            and each.shape == other.arrays[name].shape
            and each.tobytes() == other.arrays[name].tobytes()
            for name, each in one.arrays.items()
        )
    )


def value(store: Store, stage: Stage) -> float:
    return float(store.read(key(stage)).facts["value"])


@dataclass(frozen=True, kw_only=True)
class Number(Stage):
    REVISION: ClassVar[int] = 1
    value: float
    log: Path | None = field(default=None, metadata={"counts": False})

    def label(self) -> str:
        return f"number {self.value}"

    def run(self, bench: Bench) -> Artifact:
        note(self.log, self.label().replace(" ", "-"))
        return Artifact({"value": np.array([self.value])}, {"value": self.value})


@dataclass(frozen=True, kw_only=True)
class Sum(Stage):
    REVISION: ClassVar[int] = 1
    parts: tuple[Stage, ...]
    log: Path | None = field(default=None, metadata={"counts": False})

    def label(self) -> str:
        return f"sum of {len(self.parts)}"

    def run(self, bench: Bench) -> Artifact:
        note(self.log, "sum")
        total = sum(float(bench.load(part).facts["value"]) for part in self.parts)
        return Artifact(facts={"value": total})


@dataclass(frozen=True, kw_only=True)
class Raises(Stage):
    REVISION: ClassVar[int] = 1
    error: type[BaseException] = field(default=RuntimeError, metadata={"counts": False})
    message: str = "broken on purpose"

    def label(self) -> str:
        return "raise"

    def run(self, bench: Bench) -> Artifact:
        raise self.error(self.message)


@dataclass(frozen=True, kw_only=True)
class Walk(Stage):
    """A random walk with a checkpoint at every step: what training is to the engine."""

    REVISION: ClassVar[int] = 1
    steps: int
    seed: int = 0
    log: Path | None = field(default=None, metadata={"counts": False})
    pause: float = field(default=0.0, metadata={"counts": False})

    def label(self) -> str:
        return f"walk {self.steps}, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        rng, position, done = np.random.default_rng(self.seed), 0.0, 0
        checkpoint = bench.scratch / "walk.txt"
        if checkpoint.exists():
            before, at = checkpoint.read_text().split()
            done, position = int(before), float(at)
            rng.normal(size=done)
            note(self.log, f"continued-at-{done}")
        note(self.log, f"process-{os.getpid()}")
        for step in range(done, self.steps):
            position += float(rng.normal())
            new = checkpoint.with_suffix(".new")
            new.write_text(f"{step + 1} {position!r}")
            new.replace(checkpoint)
            note(self.log, f"step-{step}")
            bench.progress(step + 1, self.steps)
            time.sleep(self.pause)
        return Artifact(facts={"value": position})


@dataclass(frozen=True, kw_only=True)
class Bulk(Stage):
    """An array of so many bytes, which no file format makes smaller."""

    REVISION: ClassVar[int] = 1
    size: int

    def label(self) -> str:
        return f"bulk of {self.size}"

    def run(self, bench: Bench) -> Artifact:
        noise = np.random.default_rng(0).integers(0, 256, (self.size, 1), dtype=np.uint8)
        return Artifact({"noise": noise}, {"value": float(self.size)})


@dataclass(frozen=True, kw_only=True)
class Hoards(Stage):
    """A small result after a checkpoint of so many bytes."""

    REVISION: ClassVar[int] = 1
    size: int

    def label(self) -> str:
        return f"hoard {self.size}"

    def run(self, bench: Bench) -> Artifact:
        (bench.scratch / "hoard").write_bytes(b"x" * self.size)
        return Artifact(facts={"value": 1.0})


@dataclass(frozen=True, kw_only=True)
class Dies(Stage):
    """Takes the process that runs it along."""

    REVISION: ClassVar[int] = 1

    def label(self) -> str:
        return "die"

    def run(self, bench: Bench) -> Artifact:
        os._exit(1)


@dataclass(frozen=True, kw_only=True)
class Pokes(Stage):
    """Loads a stage that is none of its fields."""

    REVISION: ClassVar[int] = 1

    def label(self) -> str:
        return "poke"

    def run(self, bench: Bench) -> Artifact:
        return bench.load(Number(value=1))


@dataclass(frozen=True, kw_only=True)
class OnGpu(Stage):
    """Tells the name of the worker that it ran on."""

    REVISION: ClassVar[int] = 1
    number: int

    def label(self) -> str:
        return f"GPU work {self.number}"

    @property
    def gpu(self) -> bool:
        return True

    def run(self, bench: Bench) -> Artifact:
        from distributed import get_worker

        return Artifact(facts={"worker": get_worker().name})
