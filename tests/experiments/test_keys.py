"""Laws of keys: equal descriptions, equal keys; any difference that counts, another key."""

import dataclasses
import itertools
import math
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic.dataclasses import dataclass as validated

from trilemma.core.balls import L2, Linf
from trilemma.core.errors import BadInput
from trilemma.core.keys import UNLESS_DEFAULT, canonical, checksum, digest, encode


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.1
    steps: int = 3


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str = "a"
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    flag: bool = False
    table: dict[str, int] = field(default_factory=dict)
    device: str = field(default="cpu", metadata={"counts": False})


inners = st.builds(Inner, rate=st.floats(allow_nan=False), steps=st.integers(-(2**70), 2**70))
outers = st.builds(
    Outer,
    name=st.text(max_size=5),
    inner=inners,
    many=st.lists(inners, max_size=2).map(tuple),
    flag=st.booleans(),
    table=st.dictionaries(st.sampled_from(["a", "b", "kind"]), st.integers()),
    device=st.sampled_from(["cpu", "cuda"]),
)

quick = settings(max_examples=25, phases=(Phase.explicit, Phase.generate), deadline=None)


def without_fields(value: object) -> str:
    """A wrong digest: forgets everything but the class."""
    return checksum(type(value).__name__.encode())


def with_everything(value: object) -> str:
    """A wrong digest: also counts what does not count, and the order of tables."""
    return checksum(repr(value).encode())


def distinct(one: Outer, other: Outer, digest_of: Callable[[object], str]) -> None:
    counted = dataclasses.replace(other, device=one.device)
    assert (digest_of(one) == digest_of(other)) == (one == counted)


def broken(wrong: Callable[[object], str]) -> Any:
    return pytest.param(wrong, marks=pytest.mark.xfail(strict=True, reason="negative control"))


@pytest.mark.parametrize("digest_of", [digest, broken(without_fields)])
def test_equal_keys_mean_equal_descriptions(digest_of: Callable[[object], str]) -> None:
    @quick
    @given(outers, outers)
    def law(one: Outer, other: Outer) -> None:
        distinct(one, other, digest_of)

    law()


@pytest.mark.parametrize("digest_of", [digest, broken(with_everything)])
def test_equal_descriptions_have_equal_keys(digest_of: Callable[[object], str]) -> None:
    @quick
    @given(outers)
    def law(one: Outer) -> None:
        turned = dict(reversed(one.table.items()))
        distinct(one, dataclasses.replace(one, table=turned, device="tpu"), digest_of)

    law()


@settings(quick, max_examples=10)
@given(outers, outers)
def test_each_counted_field_changes_the_key(one: Outer, other: Outer) -> None:
    before = digest(one)
    for each in dataclasses.fields(one):
        changed = dataclasses.replace(one, **{each.name: getattr(other, each.name)})
        counts = each.name != "device" and getattr(one, each.name) != getattr(other, each.name)
        assert (digest(changed) != before) == counts


@dataclass(frozen=True, kw_only=True)
class Later(Inner):
    """As a later release has it: two options more."""

    rounds: int = field(default=1, metadata={"counts": UNLESS_DEFAULT})
    more: Inner | None = field(default_factory=Inner, metadata={"counts": UNLESS_DEFAULT})


def as_before(later: Later) -> object:
    """What the earlier release had for it."""
    return {**encode(Inner(rate=later.rate, steps=later.steps)), "kind": "Later"}


def all_fields(later: Later) -> object:
    """A wrong encoding: every field counts."""
    fields = {each.name: getattr(later, each.name) for each in dataclasses.fields(later)}
    return {"kind": "Later", **encode(fields)}


@pytest.mark.parametrize("encode_it", [encode, broken(all_fields)])
def test_an_option_counts_where_it_is_set(encode_it: Callable[[Later], object]) -> None:
    @quick
    @given(inners, st.integers(1, 3), st.none() | inners)
    def law(one: Inner, rounds: int, more: Inner | None) -> None:
        later = Later(rate=one.rate, steps=one.steps, rounds=rounds, more=more)
        unset = (rounds, more) == (1, Inner())
        assert (encode_it(later) == as_before(later)) == unset
        assert ("rounds" in encode(later)) == (rounds != 1)
        assert ("more" in encode(later)) == (more != Inner())

    law()
    assert encode_it(Later()) == as_before(Later())


def test_an_option_that_is_set_to_what_it_was_counts_no_more() -> None:
    assert digest(Later(rounds=1.0)) == digest(Later()) != digest(Later(rounds=2))  # type: ignore[arg-type]
    assert digest(Later(rounds=True)) != digest(Later())  # True is not 1


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (field(metadata={"counts": UNLESS_DEFAULT}), "has no default"),
        (field(default=1, metadata={"counts": "unless it is set"}), "give True, False or"),
    ],
)
def test_a_slip_in_what_counts_is_an_error_of_the_program(made: Any, said: str) -> None:
    kind = dataclasses.make_dataclass("Slip", [("rounds", int, made)])
    with pytest.raises(TypeError, match=said):
        digest(kind(rounds=1))


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(
            st.text(max_size=2) | st.sampled_from(["kind", "array", "float", "mapping", "stage"]),
            inside,
            max_size=3,
        )
    ),
    max_leaves=8,
)


def same(one: object, other: object) -> bool:
    """Equality that tells True from 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other and isinstance(one, bool) == isinstance(other, bool)


@given(json_like, json_like)
def test_plain_values_never_collide(one: object, other: object) -> None:
    assert (digest(one) == digest(other)) == same(one, other)


def test_a_table_is_no_dataclass_that_looks_like_it() -> None:
    assert digest({"kind": "Linf", "radius": 0.5}) != digest(Linf(0.5))
    assert digest({"float": "inf"}) != digest(math.inf)


@pytest.mark.parametrize("number", [0, 1, -7, 2**52])
def test_numbers_that_compare_equal_count_as_equal(number: int) -> None:
    assert (number,) == (float(number),)
    assert digest((number,)) == digest((float(number),))
    assert digest(0.0) == digest(-0.0)
    assert digest(1) != digest(True)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_keeps_every_bit(number: float) -> None:
    assert encode(number) == number
    assert digest(number) != digest(math.nextafter(number, math.inf))


def test_classes_count_by_their_names() -> None:
    assert digest(Linf(0.1)) != digest(L2(0.1))
    assert encode(Linf(0.1)) == {"kind": "Linf", "radius": 0.1}


def test_a_revision_counts() -> None:
    def revised(number: int) -> object:
        @dataclass(frozen=True)
        class Method:
            REVISION: ClassVar[int] = number
            steps: int = 1

        return Method()

    assert encode(revised(1)) == {"kind": "Method", "REVISION": 1, "steps": 1}
    assert digest(revised(1)) == digest(revised(1)) != digest(revised(2))
    assert digest((revised(1),)) != digest((revised(2),))


def test_validated_dataclasses_are_dataclasses() -> None:
    @validated(frozen=True, kw_only=True)
    class Recipe:
        epochs: int = 3
        batch: int = field(default=32, metadata={"counts": False})

    assert encode(Recipe(batch=7)) == {"kind": "Recipe", "epochs": 3}


def test_arrays_count_by_type_shape_and_content() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    variants = [
        array,
        array.astype(np.float64),
        array.reshape(3, 2),
        array.T,
        array + 1,
        array[:1],
        np.array(["a", "b"]),
    ]
    keys = [digest(each) for each in variants]
    assert len(set(keys)) == len(keys)
    assert digest(np.asfortranarray(array)) == keys[0]
    assert digest(array.astype(">f4")) == keys[0]
    assert digest(torch.from_numpy(array)) == keys[0]
    assert digest(torch.tensor(2.5, requires_grad=True)) == digest(np.float32([2.5]).reshape(()))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Path("data"), "Path"),
        (np.float64(1.0), "float64"),
        (np.int64(1), "int64"),
        (np.bool_(True), "bool"),
        (math.nan, "NaN"),
        ({1, 2}, "set"),
        (b"bytes", "bytes"),
        (len, "builtin"),
        (int, "type"),
        (object(), "object"),
        (np.array([object()]), "object"),
        (torch.zeros(2, dtype=torch.bfloat16), "bfloat16"),
        ({1: "a"}, "the key 1"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: (1, {"deep": v})])
def test_what_has_no_meaning_of_its_own_is_refused(
    value: object, said: str, wrap: Callable[[object], object]
) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        digest(wrap(value))
    assert caught.value.what == ("value" if wrap(value) is value else "1.deep")


def test_a_field_may_not_be_called_like_the_class_tag() -> None:
    @dataclass(frozen=True)
    class Odd:
        kind: str = "x"

    with pytest.raises(BadInput, match=r"Odd\.kind"):
        encode(Odd())


def test_a_stand_in_replaces_nested_values_only() -> None:
    def stand_in(value: object) -> object:
        return {"stage": "k"} if isinstance(value, Inner) else None

    assert encode(Inner(), stand_in=stand_in) == encode(Inner())
    assert encode((Inner(),), stand_in=stand_in) == [{"stage": "k"}]


def test_canonical_json_has_one_spelling() -> None:
    for order in itertools.permutations(("é", "a", "b")):
        assert canonical(dict.fromkeys(order, 1)) == b'{"a":1,"b":1,"\\u00e9":1}'


def test_keys_are_the_same_in_every_process(
    python: Callable[..., subprocess.Popen[str]],
) -> None:
    code = """
from trilemma.experiments.graph import key
from trilemma.core.keys import digest
print(digest({"b": (1.5, None), "a": ["x", True]}),
      key(Sum(parts=(Number(value=1.5), Walk(steps=3)))))
"""
    said = {python(code, seed=seed).communicate(timeout=60)[0].strip() for seed in (1, 2)}
    from toys import Number, Sum, Walk

    from trilemma.experiments.graph import key

    here = (
        f"{digest({'a': ['x', True], 'b': (1.5, None)})}"
        f" {key(Sum(parts=(Number(value=1.5), Walk(steps=3))))}"
    )
    assert said == {here}
    # Written down, so that a change of the encoding, which orphans every store, is seen.
    assert digest(Linf(0.1)) == "7b095cb1f530857bcf175448f8e86efb"
