"""What a run says while it goes on, and what became of each stage."""

from dataclasses import dataclass
from typing import TypeAlias

DEPENDENCY = "DependencyFailed"  # the kind of a stage that was not tried: a parent of it failed


@dataclass(frozen=True, kw_only=True)
class Done:
    """A stage whose result is in the store.

    Args:
        key: where the store keeps it.
        label: the stage's name for people.
        seconds: what it took in this run; 0 where it was found.
        found: it was stored already, or another process made it.
    """

    key: str
    label: str
    seconds: float = 0.0
    found: bool = False


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A stage that has no result, and why.

    Args:
        key: where the store would keep it.
        label: the stage's name for people.
        error: the reason in one sentence; "needs <label>, which failed" where it was not tried.
        kind: the exception's class name; `DependencyFailed` where it was not tried.
        trace: the traceback, empty where it was not tried.
    """

    key: str
    label: str
    error: str
    kind: str
    trace: str = ""


Outcome: TypeAlias = Done | Failed


@dataclass(frozen=True, kw_only=True)
class Planned:
    """Of `total` stages that count for this run, those that must be computed, by their labels."""

    total: int
    missing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Started:
    """A stage began, perhaps from its checkpoint."""

    label: str


@dataclass(frozen=True, kw_only=True)
class Advanced:
    """A stage is `done` of `total` far."""

    label: str
    done: int
    total: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Another process computes this stage; its result will be used."""

    label: str


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A stored entry was damaged; it was set aside and is made anew."""

    key: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A stage came to its end, this way or that."""

    outcome: Outcome


Event: TypeAlias = Planned | Started | Advanced | Waiting | Damaged | Finished


def ignore(event: Event) -> None:
    """Take no notice: the observer of a quiet run."""
