"""What a run's events add up to: what is done, what goes on, how long the rest takes."""

import time
from dataclasses import dataclass, field
from statistics import fmean

from trilemma.experiments.events import (
    Advanced,
    Done,
    Event,
    Finished,
    Planned,
    Started,
    Waiting,
)

__all__ = ["Tally", "duration"]


@dataclass
class _Going:
    """A stage that goes on: how far it was when it first said so, and how far it is.

    A stage that goes on from a checkpoint begins far in, so that only what was seen is its pace.
    """

    now: Advanced
    first: tuple[float, int] | None = None
    last: tuple[float, int] = (0.0, 0)

    def add(self, event: Advanced, at: float) -> None:
        self.now, self.last = event, (at, event.done)
        self.first = self.first or self.last

    @property
    def pace(self) -> float | None:
        """Seconds a step; None while nobody knows."""
        if self.first is None or self.last[1] <= self.first[1]:
            return None
        return (self.last[0] - self.first[0]) / (self.last[1] - self.first[1])


@dataclass
class Tally:
    """How far a run is."""

    planned: tuple[str, ...] = ()
    finished: list[str] = field(default_factory=list)
    going: dict[str, _Going] = field(default_factory=dict)
    took: dict[str, list[float]] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Count one event; what arrives late, about a finished stage, changes nothing."""
        match event:
            case Planned(missing=missing):
                self.planned, self.finished, self.going, self.took = missing, [], {}, {}
            case Started(label=label) | Waiting(label=label) if label not in self.finished:
                self.going[label] = _Going(Advanced(label=label, done=0, total=0))
            case Advanced(label=label) if label not in self.finished:
                self.going.setdefault(label, _Going(event)).add(event, time.monotonic())
            case Finished(outcome=outcome):
                self.going.pop(outcome.label, None)
                self.finished.append(outcome.label)
                if isinstance(outcome, Done) and not outcome.found:
                    for kind in _kinds(outcome.label):
                        self.took.setdefault(kind, []).append(outcome.seconds)

    @property
    def running(self) -> list[Advanced]:
        """How far each stage is that goes on."""
        return [each.now for each in self.going.values()]

    @property
    def missing(self) -> int:
        """How many stages the run computes."""
        return len(self.planned)

    @property
    def share(self) -> float:
        """How much of the work is done, in [0, 1], each stage counting the same."""
        inside = sum(each.done / each.total for each in self.running if each.total)
        return min(1.0, (len(self.finished) + inside) / self.missing) if self.missing else 1.0

    def left(self) -> str:
        """Such as "about 3 min left"; empty while nothing is known.

        A stage takes as long as those that differ from it by the seed alone took, or else those
        that begin with the same word; "at least" says that of some nothing is known.
        """
        took = {kind: list(seconds) for kind, seconds in self.took.items()}
        rest: dict[str, float] = {}
        for label, each in self.going.items():
            if each.pace is not None:
                ahead = (each.now.total - each.now.done) * each.pace
                rest[label] = max(0.0, ahead - (time.monotonic() - each.last[0]))
                for kind in _kinds(label):
                    took.setdefault(kind, []).append(each.now.total * each.pace)
        unknown = False
        for label in set(self.planned).difference(self.finished, rest):
            known = next((took[kind] for kind in _kinds(label) if kind in took), None)
            unknown |= known is None
            rest[label] = fmean(known) if known else 0.0
        seconds = sum(rest.values()) / max(1, len(self.going))
        if not seconds:
            return ""
        return f"{'at least' if unknown else 'about'} {duration(seconds)} left"


def duration(seconds: float) -> str:
    """In the two units a person would use: "12 s", "3 min", "2 h 5 min".

    >>> from trilemma.experiments.tally import duration
    >>> [duration(s) for s in (0.2, 59.4, 61.0, 7_500.0)]
    ['1 s', '59 s', '1 min', '2 h 5 min']
    """
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _kinds(label: str) -> tuple[str, str]:
    """What it is but for its seed; the word that it begins with."""
    return label.split(", seed ")[0], label.split(" ")[0].rstrip(",")
