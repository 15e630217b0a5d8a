"""The document's schema, and its check without a schema library, which must agree."""

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.experiments.reports import schema, validate
from trilemma.experiments.reports.shape import RULES, problems

Json = dict[str, Any]
CHECKER = jsonschema.Draft202012Validator(schema())


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document; of long lists the first two only."""
    found = [here]
    if isinstance(value, dict):
        found += [path for key, inner in value.items() for path in paths(inner, (*here, key))]
    elif isinstance(value, list):
        found += [path for i, inner in enumerate(value[:2]) for path in paths(inner, (*here, i))]
    return found


def put(document: Json, path: tuple[Any, ...], value: Any) -> Json:
    changed = copy.deepcopy(document)
    inner: Any = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return changed


def accepts(document: object) -> bool:
    try:
        validate(document)
    except BadInput:
        return False
    return True


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_samples_are_valid(any_document: Json) -> None:
    CHECKER.validate(any_document)
    assert validate(any_document) is any_document
    assert json.loads(json.dumps(any_document, allow_nan=False)) == any_document


@given(st.data())
def test_agrees_with_jsonschema(data: st.DataObject) -> None:
    from_fixture = data.draw(st.sampled_from(SMALL_PATHS))
    values = st.one_of(
        st.none(), st.booleans(), st.integers(-2, 2), st.floats(-2, 2), st.text(max_size=3),
        st.just([]), st.just({}), st.just([1.5]), st.just({"not_evaluable": "why"}),
    )  # fmt: skip
    changed = put(SMALL, from_fixture, data.draw(values))
    assert accepts(changed) == CHECKER.is_valid(changed)


@given(st.data())
def test_agrees_with_jsonschema_on_what_is_missing(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([path for path in SMALL_PATHS if isinstance(path[-1], str)]))
    changed = copy.deepcopy(SMALL)
    inner: Any = changed
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    assert accepts(changed) == CHECKER.is_valid(changed)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("name",), 3, "audit document > name: is 3, not a string"),
        (("status",), "done", "'done', not one of 'complete', 'incomplete'"),
        (("created",), "yesterday", "does not match"),
        (("unknown",), 1, "unknown key 'unknown'"),
        (("models", "a", "rows", "members"), -1, "rows > members: is -1, not at least 0"),
        (("models", "a", "accuracy", "test", "value"), "0.9", "test > value: is '0.9', not a num"),
        (("models", "a", "accuracy", "test", "value"), math.nan, "which JSON cannot carry"),
        (("models", "a", "accuracy", "test", "level"), 1, "not below 1"),
        (("models", "a", "accuracy", "test", "vlaue"), 1, "unknown key 'vlaue'"),
        (("self_tests", "blind", "status"), "ok", "self_tests > blind > status"),
        (("schema_version",), 2, "schema version 2; this trilemma reads version 1"),
    ],
)
def test_says_what_is_wrong(path: tuple[str, ...], value: Any, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        validate(put(SMALL, path, value))
    assert said in str(caught.value)


@pytest.mark.parametrize("document", [None, [], "x", 1, {}])
def test_refuses_what_is_no_document(document: object) -> None:
    with pytest.raises(BadInput, match="audit document"):
        validate(document)


def test_every_keyword_of_the_schema_is_known() -> None:
    def walk(part: Any) -> None:
        if isinstance(part, dict):
            list(problems(None, part, schema()))
            for key, inner in part.items():
                if key in ("properties", "$defs"):
                    for each in inner.values():
                        walk(each)
                elif key in ("items", "additionalProperties"):
                    walk(inner)

    walk(schema())
    with pytest.raises(NotImplementedError, match="maxItems"):
        list(problems([], {"maxItems": 1}, {}))
    assert set(RULES) >= {"type", "oneOf", "$ref"}


@pytest.mark.xfail(strict=True, reason="a checker that knows no ranges: the law must notice")
@pytest.mark.usefixtures("_blind_to_ranges")
def test_negative_control() -> None:
    test_agrees_with_jsonschema()


@pytest.fixture
def _blind_to_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    for keyword in ("minimum", "type"):
        monkeypatch.setitem(RULES, keyword, lambda *_: iter(()))  # type: ignore[misc]


def _estimate() -> Json:
    return {"value": 0.6, "low": 0.5, "high": 0.7, "level": 0.95}


def _small() -> Json:
    """The least document: one model, one attack, one bin."""
    membership = {name: _estimate() for name in schema()["$defs"]["membership"]["required"]}
    membership["epsilon_lower_bound"] = {"value": 0, "low": 0, "high": None, "level": 0.95}
    bins = {"edges": [0.0, 1.0], "members": [3], "nonmembers": [2]}
    return {
        "schema": schema()["$id"],
        "schema_version": 1,
        "name": "small",
        "status": "complete",
        "created": "2026-11-22T03:00:00Z",
        "failures": [{"stage": "s", "model": "a", "seed": 1, "error": "e"}],
        "verdict": {"headline": "h", "sentences": ["s"], "warnings": []},
        "provenance": {
            "trilemma": "0.1.0",
            "python": "3.11",
            "packages": {"numpy": "2"},
            "platform": "p",
            "seeds": [0],
            "spec": {},
            "data": {"name": "d", "members": 3, "classes": 2, "shape": [1]},
        },
        "models": {
            "a": {
                "title": "a",
                "description": {},
                "rows": {"members": 3, "nonmembers": 2},
                "accuracy": {
                    name: _estimate() for name in schema()["$defs"]["accuracy"]["required"]
                },
                "membership": {"confidence": membership},
                "curves": {
                    "confidence": {
                        "seed": 0,
                        "roc": {"fpr": [0.0, 1.0], "tpr": [0.0, 1.0]},
                        "histogram": bins,
                        "loss": {**bins, "zero_members": 0.5},
                    }
                },
                "self_tests": {"null": {"status": "pass", "summary": "s"}},
            }
        },
        "self_tests": {"blind": {"status": "warn", "summary": "s", "details": {}}},
        "methods": {"confidence": {"title": "t", "source": "s", "how": "h", "settings": {}}},
    }


SMALL = _small()
SMALL_PATHS = [path for path in paths(SMALL) if path]


def test_the_least_document_is_valid(named_document: Callable[[str], Json]) -> None:
    CHECKER.validate(SMALL)
    validate(SMALL)
    assert set(SMALL) == set(named_document("digits"))
