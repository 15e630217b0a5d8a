"""From the plain tables of a YAML file to the dataclasses that they name.

The type is the registry: a table's `kind` must be a member of the union that stands in the
field's annotation. What is refused is refused with the key's path, the value and what is allowed.
"""

import dataclasses
import difflib
import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from trilemma.core.errors import BadInput

FRACTION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)\s*")


def decode(value: Any, expected: Any, path: str = "") -> Any:
    """Build what the annotation `expected` asks for from mappings, lists and scalars.

    Args:
        value: what a YAML or JSON parser returned; numbers may be written `8/255`.
        expected: a dataclass, a union of dataclasses (told apart by `kind`, or by their keys
            where only one has them all), or a mapping, tuple or scalar type of such.
        path: the key's path, for messages (`models.robust.recipe.epochs`).

    Raises:
        BadInput: an unknown key or kind, a wrong type, a value out of range, a missing key.
    """
    expected = _bare(expected)
    origin, arguments = get_origin(expected), get_args(expected)
    kinds = _kinds(expected)
    if kinds and not (value is None and _optional(expected)):
        return _build(value, kinds, path)
    if value is not None and _optional(expected) and len(arguments) == 2:
        (given,) = (each for each in arguments if each is not type(None))
        return decode(value, given, path)
    if origin in (dict, Mapping) or (origin and issubclass_safe(origin, Mapping)):
        if not isinstance(value, dict):
            raise BadInput(path, f"must be a mapping of names; got {value!r}")
        return {
            str(k): decode(v, arguments[1], f"{path}.{k}" if path else str(k))
            for k, v in value.items()
        }
    if origin is tuple and isinstance(value, list | tuple) and _kinds(_bare(arguments[0])):
        return tuple(decode(v, arguments[0], f"{path}[{i}]") for i, v in enumerate(value))
    return _scalar(value, expected, path)


def issubclass_safe(kind: Any, of: type) -> bool:
    """`issubclass` that answers no for what is not a class."""
    return isinstance(kind, type) and issubclass(kind, of)


def _bare(expected: Any) -> Any:
    while get_origin(expected) is Annotated and _kinds(get_args(expected)[0]):
        expected = get_args(expected)[0]
    return expected


def _optional(expected: Any) -> bool:
    return type(None) in get_args(expected)


def _kinds(expected: Any) -> dict[str, type]:
    """The dataclasses of a union by their names; empty for any other annotation."""
    if dataclasses.is_dataclass(expected) and isinstance(expected, type):
        return {expected.__name__: expected}
    if get_origin(expected) in (Union, types.UnionType):
        members = [each for each in get_args(expected) if each is not type(None)]
        found = [_kinds(_bare(each)) for each in members]
        if members and all(found):
            return {name: kind for each in found for name, kind in each.items()}
    return {}


def _build(value: Any, kinds: Mapping[str, type], path: str) -> Any:
    if isinstance(value, tuple(kinds.values())):
        return value
    if not isinstance(value, dict):
        allowed = f"a mapping with `kind`: {', '.join(sorted(kinds))}"
        raise BadInput(path or "experiment", f"must be {allowed}; got {value!r}")
    table = dict(value)
    kind = _choose(table, kinds, path)
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in dataclasses.fields(kind) if field.init]
    for key in table:
        if key not in names:
            raise _unknown(key, names, path)
    built = {
        key: decode(v, hints[key], f"{path}.{key}" if path else key) for key, v in table.items()
    }
    for name in names:
        if name in _required(kind) - built.keys():
            raise BadInput(_join(path, name), "is missing", f"{kind.__name__} needs it")
    try:
        return kind(**built)
    except ValidationError as error:
        raise _refused(error, path) from None
    except BadInput as error:
        raise BadInput(_join(path, error.what), error.problem, error.fix) from None


def _required(kind: Any) -> set[str]:
    """The fields without a default."""
    missing = dataclasses.MISSING
    return {
        field.name
        for field in dataclasses.fields(kind)
        if field.init and field.default is missing and field.default_factory is missing
    }


def _choose(table: dict[str, Any], kinds: Mapping[str, type], path: str) -> type:
    """The class that `kind` names, or the only one that has all the table's keys."""
    name = table.pop("kind", None)
    if name is None:
        fits = [
            kind
            for kind in kinds.values()
            if set(table) <= {field.name for field in dataclasses.fields(kind)}
        ]
        if len(kinds) == 1:
            return next(iter(kinds.values()))
        # None has all keys: the one that could be built without some is told which are too many
        fits = fits or [kind for kind in kinds.values() if set(table) >= _required(kind)]
        if len(fits) == 1:
            return fits[0]
    if name not in kinds:
        guess = difflib.get_close_matches(str(name), kinds, 1)
        hint = f". Did you mean {guess[0]}?" if guess else ""
        raise BadInput(
            _join(path, "kind"), f"must be one of {', '.join(sorted(kinds))}; got {name!r}{hint}"
        )
    return kinds[name]


def _scalar(value: Any, expected: Any, path: str) -> Any:
    if isinstance(value, str) and (match := FRACTION.fullmatch(value)) and not _textual(expected):
        top, bottom = (float(part) for part in match.groups())
        if bottom == 0:
            raise BadInput(path, f"divides by zero; got {value!r}")
        value = top / bottom
    try:
        return TypeAdapter(expected, config={"arbitrary_types_allowed": True}).validate_python(
            value
        )
    except ValidationError as error:
        raise _refused(error, path) from None


def _textual(expected: Any) -> bool:
    return expected is str or str in get_args(expected)


def _unknown(key: str, names: list[str], path: str) -> BadInput:
    guess = difflib.get_close_matches(str(key), names, 1)
    hint = f"Did you mean {guess[0]}? " if guess else ""
    allowed = f"Allowed: {', '.join(names)}" if names else f"{path or 'It'} has no settings"
    return BadInput(_join(path, str(key)), "is not known", f"{hint}{allowed}")


def _refused(error: ValidationError, path: str) -> BadInput:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return BadInput(
        _join(path, where), f"{message[0].lower()}{message[1:]}; got {first['input']!r}"
    )


def _join(path: str, key: str) -> str:
    return ".".join(part for part in (path, key) if part) or "experiment"
