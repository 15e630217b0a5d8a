"""Laws of artifacts: the files hold every bit; what no file holds is refused at once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from toys import same

from trilemma.core.errors import BadInput
from trilemma.experiments.artifact import Artifact, pack, unpack

DTYPES = [
    *(np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)),
    *(np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)),
    *(np.dtype(f"float{bits}") for bits in (16, 32, 64)),
    np.dtype(bool),
]
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
)
names = st.text(min_size=1, max_size=5).filter(lambda name: name.isprintable())
tables = st.integers(0, 5).flatmap(
    lambda n: st.dictionaries(
        names, st.sampled_from(DTYPES).flatmap(lambda d: hnp.arrays(d, n)), max_size=4
    )
)
facts = st.dictionaries(
    st.text(max_size=4),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(codec="utf-8")),
        lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside),
        max_leaves=5,
    ),
    max_size=4,
)


@given(st.dictionaries(names, arrays, max_size=4) | tables, facts)
def test_files_hold_every_bit(arrays: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    artifact = Artifact(arrays, facts)
    again = unpack(pack(artifact))
    assert same(again, artifact)
    assert all(each.flags.writeable for each in again.arrays.values())


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1))
def test_text_is_a_column(texts: list[str]) -> None:
    again = unpack(pack(Artifact({"t": np.array(texts), "i": np.arange(len(texts))})))
    assert again.arrays["t"].tolist() == texts


def test_the_order_in_memory_is_no_matter() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    for variant in (np.asfortranarray(x), x.astype(">f4"), np.repeat(x, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(unpack(pack(Artifact({"x": variant}))).arrays["x"], x)


def test_a_fresh_artifact_equals_the_stored_one() -> None:
    assert Artifact(facts={"a": (1, 2), "b": {"c": ()}}).facts == {"a": [1, 2], "b": {"c": []}}


@pytest.mark.parametrize(
    ("arrays", "facts", "said"),
    [
        ({"x": np.array([object()])}, {}, "array 'x': is object"),
        ({"x": np.array([1j])}, {}, "complex"),
        ({"x": np.array(["a"]), "y": np.zeros(2)}, {}, "array 'x': is text beside"),
        ({}, {"loss": float("nan")}, "facts: .*finite"),
        ({}, {"loss": np.float32(1)}, "facts: .*float32"),
    ],
)
def test_what_no_file_holds_is_refused_at_once(
    arrays: dict[str, Any], facts: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        Artifact(arrays, facts)
