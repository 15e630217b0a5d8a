"""Whether a document has the shape a JSON Schema asks for.

A reader for the part of JSON Schema (draft 2020-12) that `schema.json` uses, so that the published
schema is the only place where the document's shape is written down.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]
Problem: TypeAlias = tuple[tuple[str, ...], str]  # where, what

ANNOTATIONS = frozenset({"$schema", "$id", "$defs", "title", "description", "format"})


def problems(value: object, schema: Schema, root: Schema) -> Iterator[Problem]:
    """Each place where `value` breaks `schema`; nothing when it is valid.

    Args:
        value: parsed JSON.
        schema: the (sub)schema it is held against.
        root: the whole schema, in which `$ref` is looked up.

    Raises:
        NotImplementedError: the schema uses a keyword that this reader does not know.
    """
    for keyword, asked in schema.items():
        if keyword in ANNOTATIONS:
            continue
        if keyword not in RULES:
            raise NotImplementedError(f"JSON Schema keyword {keyword!r}")
        yield from RULES[keyword](value, asked, schema, root)


def _is(value: object, kind: str) -> bool:
    if kind == "integer":
        return _is(value, "number") and float(value).is_integer()  # type: ignore[arg-type]
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, KINDS[kind])


def _type(value: object, asked: Any, schema: Schema, root: Schema) -> Iterator[Problem]:
    kinds = [asked] if isinstance(asked, str) else asked
    if not any(_is(value, kind) for kind in kinds):
        yield (), f"is {_brief(value)}, not {_article(' or '.join(kinds))}"
    elif isinstance(value, float) and not math.isfinite(value):
        yield (), f"is {value}, which JSON cannot carry"


def _const(value: object, asked: Any, schema: Schema, root: Schema) -> Iterator[Problem]:
    if value != asked or isinstance(value, bool) != isinstance(asked, bool):
        yield (), f"is {_brief(value)}, not {asked!r}"


def _enum(value: object, asked: Any, schema: Schema, root: Schema) -> Iterator[Problem]:
    if value not in asked:
        yield (), f"is {_brief(value)}, not one of {', '.join(map(repr, asked))}"


def _required(value: object, asked: Any, schema: Schema, root: Schema) -> Iterator[Problem]:
    if isinstance(value, Mapping):
        for key in asked:
            if key not in value:
                yield (), f"has no {key!r}"


def _properties(value: object, asked: Any, schema: Schema, root: Schema) -> Iterator[Problem]:
    if isinstance(value, Mapping):
        for key, inner in asked.items():
            if key in value:
                yield from _within(key, problems(value[key], inner, root))


def _additional(value: object, asked: Any, schema: Schema, root: Schema) -> Iterator[Problem]:
    if isinstance(value, Mapping):
        for key in value:
            if key in schema.get("properties", {}):
                continue
            if asked is False:
                yield (), f"has an unknown key {key!r}"
            elif asked is not True:
                yield from _within(key, problems(value[key], asked, root))


def _items(value: object, asked: Any, schema: Schema, root: Schema) -> Iterator[Problem]:
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _within(str(index), problems(item, asked, root))


def _min_items(value: object, asked: Any, schema: Schema, root: Schema) -> Iterator[Problem]:
    if isinstance(value, list | tuple) and len(value) < asked:
        yield (), f"has {len(value)} items, fewer than {asked}"


def _bound(words: str, holds: Callable[[float, float], bool]) -> Callable[..., Iterator[Problem]]:
    def rule(value: object, asked: Any, schema: Schema, root: Schema) -> Iterator[Problem]:
        if _is(value, "number") and not holds(value, asked):  # type: ignore[arg-type]
            yield (), f"is {_brief(value)}, not {words} {asked}"

    return rule


def _pattern(value: object, asked: Any, schema: Schema, root: Schema) -> Iterator[Problem]:
    if isinstance(value, str) and re.search(asked, value) is None:
        yield (), f"is {_brief(value)}, which does not match {asked}"


def _one_of(value: object, asked: Any, schema: Schema, root: Schema) -> Iterator[Problem]:
    found = [list(problems(value, inner, root)) for inner in asked]
    valid = sum(not problem for problem in found)
    if valid == 1:
        return
    if valid > 1:
        yield (), f"fits {valid} of the shapes allowed here, of which it may have one"
        return
    yield from max(found, key=lambda list_: max(len(where) for where, _ in list_))


def _ref(value: object, asked: str, schema: Schema, root: Schema) -> Iterator[Problem]:
    target: Any = root
    for part in asked.removeprefix("#/").split("/"):
        target = target[part]
    yield from problems(value, target, root)


def _within(key: str, inner: Iterator[Problem]) -> Iterator[Problem]:
    for where, what in inner:
        yield (key, *where), what


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _article(kinds: str) -> str:
    return f"an {kinds}" if kinds[0] in "aeio" else f"a {kinds}"


KINDS: Mapping[str, Any] = {
    "object": Mapping,
    "array": (list, tuple),
    "string": str,
    "boolean": bool,
    "null": type(None),
}
RULES: Mapping[str, Callable[..., Iterator[Problem]]] = {
    "type": _type,
    "const": _const,
    "enum": _enum,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "minItems": _min_items,
    "minimum": _bound("at least", lambda value, asked: value >= asked),
    "maximum": _bound("at most", lambda value, asked: value <= asked),
    "exclusiveMinimum": _bound("above", lambda value, asked: value > asked),
    "exclusiveMaximum": _bound("below", lambda value, asked: value < asked),
    "pattern": _pattern,
    "oneOf": _one_of,
    "$ref": _ref,
}
