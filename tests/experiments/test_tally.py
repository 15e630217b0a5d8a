"""The arithmetic of what is done and what is left."""

from collections.abc import Callable

import pytest

from trilemma.experiments import tally as module
from trilemma.experiments.events import Advanced, Done, Event, Failed, Finished, Planned, Started
from trilemma.experiments.tally import Tally, duration

DONE = Finished(outcome=Done(key="k", label="a", seconds=12.0))
STORY: list[Event] = [
    Planned(total=5, missing=("a", "b", "c")),
    Started(label="a"),
    Advanced(label="a", done=5, total=10, note="loss 0.3"),
    DONE,
    Finished(outcome=Failed(key="k", label="b", error="broken", kind="ValueError")),
    Finished(outcome=Done(key="k", label="c", found=True)),
]


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The clock."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def planned(*labels: str) -> Tally:
    tally = Tally()
    tally.add(Planned(total=len(labels), missing=labels))
    return tally


def done(label: str, seconds: float) -> Finished:
    return Finished(outcome=Done(key="k", label=label, seconds=seconds))


def test_a_share_counts_stages_and_parts_of_stages() -> None:
    tally = Tally()
    shares = []
    for event in STORY:
        tally.add(event)
        shares.append(tally.share)
    assert shares == pytest.approx([0, 0, 0.5 / 3, 1 / 3, 2 / 3, 1])


def test_stages_take_as_long_as_their_like() -> None:
    seeds = [f"train pgd, seed {seed}" for seed in range(3)]
    tally = planned(*seeds, "train dist, seed 0", "evaluate pgd, seed 0")
    assert tally.left() == ""
    tally.add(done(seeds[0], 600.0))
    assert tally.left() == "at least 30 min left"  # two more, and dist as the one of its word
    tally.add(done("train dist, seed 0", 60.0))
    tally.add(done("evaluate pgd, seed 0", 1.0))
    assert tally.left() == "about 20 min left"
    tally.add(done(seeds[1], 1200.0))
    assert tally.left() == "about 15 min left"  # the mean of two


def test_a_stage_that_goes_on_has_a_pace_of_its_own(after: Callable[[float], None]) -> None:
    tally = planned("train a, seed 0", "train a, seed 1")
    tally.add(Started(label="train a, seed 0"))
    after(100.0)
    tally.add(Advanced(label="train a, seed 0", done=40, total=50))  # from a checkpoint
    assert tally.left() == ""
    after(60.0)
    tally.add(Advanced(label="train a, seed 0", done=42, total=50))
    assert tally.left() == "about 29 min left"  # 8 and 50 steps of half a minute
    after(60.0)
    assert tally.left() == "about 28 min left"


def test_stages_that_go_on_at_once_share_what_is_left(after: Callable[[float], None]) -> None:
    labels = [f"ask a, seed {seed}" for seed in range(4)]
    tally = planned(*labels)
    for label in labels[:2]:
        tally.add(Advanced(label=label, done=0, total=10))
    after(60.0)
    for label in labels[:2]:
        tally.add(Advanced(label=label, done=5, total=10))
    assert tally.left() == "about 3 min left"  # twice one minute and twice two, by two


def test_found_and_failed_stages_teach_nothing() -> None:
    tally = planned("a", "b", "c", "d")
    for event in STORY[4:]:
        tally.add(event)
    assert tally.left() == ""


def test_late_and_repeated_news_change_nothing() -> None:
    tally = planned("a", "b")
    for event in [DONE, *STORY[1:3]]:
        tally.add(event)
    assert tally.running == []
    assert tally.share == 0.5


def test_a_new_plan_starts_anew() -> None:
    tally = Tally()
    for event in STORY:
        tally.add(event)
    tally.add(Planned(total=1, missing=("a",)))
    assert tally.share == 0
    assert tally.left() == ""


def test_no_work_is_all_done() -> None:
    tally = planned()
    assert tally.share == 1
    assert tally.left() == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, "1 s"), (59.9, "60 s"), (60, "1 min"), (3_540, "59 min"), (3_600, "1 h 0 min")],
)
def test_durations_are_for_people(seconds: float, said: str) -> None:
    assert duration(float(seconds)) == said
