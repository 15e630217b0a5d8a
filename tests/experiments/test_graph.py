"""Laws of stages: what is in a key, and who the parents are."""

import dataclasses
import pickle
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from toys import Number, Sum, Walk

from trilemma.experiments.graph import Artifact, Bench, Stage, key, parents, spec


@dataclass(frozen=True, kw_only=True)
class Config:
    inside: Stage
    rate: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Mixed(Stage):
    REVISION: ClassVar[int] = 3
    one: Stage
    config: Config
    table: Mapping[str, Stage] = field(default_factory=dict)
    several: tuple[tuple[Stage, ...], ...] = ()

    def label(self) -> str:
        return "mixed"

    def run(self, bench: Bench) -> Artifact:
        return Artifact()


A, B, C, D = (Number(value=value) for value in range(4))


def test_parents_are_found_wherever_they_stand_and_once() -> None:
    stage = Mixed(one=A, config=Config(inside=B), table={"x": C, "y": A}, several=((D,), (B,)))
    assert parents(stage) == (A, B, C, D)
    assert parents(A) == ()


def test_a_spec_names_parents_by_their_keys() -> None:
    assert spec(Mixed(one=A, config=Config(inside=B))) == {
        "kind": "Mixed",
        "REVISION": 3,
        "one": {"stage": key(A)},
        "config": {"kind": "Config", "inside": {"stage": key(B)}, "rate": 0.5},
        "table": {},
        "several": [],
    }


def test_a_key_changes_with_anything_above_it() -> None:
    base = Sum(parts=(Sum(parts=(A, B)), C))
    others = [
        Sum(parts=(Sum(parts=(A, D)), C)),
        Sum(parts=(Sum(parts=(B, A)), C)),
        Sum(parts=(C, Sum(parts=(A, B)))),
        Sum(parts=(A, B, C)),
    ]
    assert len({key(each) for each in [base, *others]}) == 5
    assert key(Sum(parts=(Sum(parts=(A, B)), C))) == key(base)


def test_what_does_not_count_is_in_no_key_below_it() -> None:
    loud = dataclasses.replace(A, log=Path("log"))
    assert loud != A
    assert key(loud) == key(A)
    assert key(Sum(parts=(loud,))) == key(Sum(parts=(A,)))
    assert key(Walk(steps=3, pause=1.0)) == key(Walk(steps=3))


def test_a_revision_changes_the_key() -> None:
    newer = type("Number", (Number,), {"REVISION": 2})(value=1.0)
    assert spec(newer) == {**spec(Number(value=1.0)), "REVISION": 2}
    assert key(newer) != key(Number(value=1.0))


def test_a_stage_without_a_revision_is_a_mistake() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Forgetful(Stage):
        def label(self) -> str:
            return "forgetful"

        def run(self, bench: Bench) -> Artifact:
            return Artifact()

    with pytest.raises(TypeError, match="Forgetful needs a class attribute REVISION"):
        key(Forgetful())


def test_keys_survive_pickling_and_replacing() -> None:
    key(A)
    assert key(pickle.loads(pickle.dumps(A))) == key(A)
    assert key(dataclasses.replace(A, value=1)) == key(B)


def test_a_key_costs_as_much_as_the_graph_has_stages() -> None:
    stage: Stage = A
    for _ in range(12):  # 8^12 paths
        stage = Sum(parts=(stage,) * 8)
    start = time.monotonic()
    assert len(key(stage)) == 32
    assert time.monotonic() - start < 1.0
