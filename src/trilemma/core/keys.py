"""Names for computations: equal descriptions get equal keys, in any process, on any machine.

What counts is everything in a description, but for what a field's metadata say:

- `{"counts": False}`: it never counts. How fast or where something is computed (batch size,
  device, workers, progress) must not change what comes out.
- `{"counts": "unless default"}`: it counts where it is set. An option that a later release adds
  says so: what was computed before there was this option is what its default computes, and is
  found again. Such a default must never change.
"""

import dataclasses
import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput

Json: TypeAlias = Any  # None, bool, int, float, str, and lists and string-keyed tables of these
StandIn: TypeAlias = Callable[[object], Json]  # a nested value -> its encoding, None to go inside

UNLESS_DEFAULT = "unless default"
_RESERVED = frozenset({"kind", "array", "float", "mapping", "stage"})


def _nothing(value: object) -> Json:
    return None


def encode(value: object, *, stand_in: StandIn = _nothing) -> Json:
    """A description as plain JSON values.

    Dataclasses become tables: `kind` (the class name), `REVISION` where the class has one, and the
    fields that count (as this module's first lines say). Tuples become lists, arrays and tensors
    `{"array": checksum}`. Numbers that compare equal encode equally (1.0 as 1), since dataclasses
    that hold them compare equal; True is not 1.

    Args:
        value: scalars, tuples, lists, string-keyed mappings, arrays, dataclasses, nested.
        stand_in: asked for each nested value (not for `value` itself); what it returns is used
            instead of going inside, None means to go inside.

    Raises:
        BadInput: something whose meaning is not in its value (a path, a function, a set, NaN) or
            whose type is ambiguous (a NumPy scalar); says where it stands.

    >>> from trilemma.core.keys import encode
    >>> encode((0.1, 2.0, None, {"b": True}))
    [0.1, 2, None, {'b': True}]
    """
    return _encode(value, "", stand_in)


def digest(value: object, *, stand_in: StandIn = _nothing) -> str:
    """128-bit BLAKE2b of the canonical JSON of `encode(value)`, as 32 hexadecimal digits."""
    return checksum(canonical(encode(value, stand_in=stand_in)))


def canonical(encoded: Json) -> bytes:
    """The one spelling of JSON values: sorted keys, no blanks, ASCII."""
    return json.dumps(
        encoded, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def checksum(content: bytes | bytearray | memoryview) -> str:
    """128-bit BLAKE2b, as 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _encode(value: object, where: str, stand_in: StandIn) -> Json:
    def inner(part: object, name: object) -> Json:
        replaced = stand_in(part)
        return _encode(part, f"{where}.{name}", stand_in) if replaced is None else replaced

    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return _number(value, where)
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [inner(part, index) for index, part in enumerate(value)]
    if isinstance(value, Mapping):
        return _table(value, where, inner)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _record(value, where, inner)
    if (array := _as_array(value, where)) is not None:
        return {"array": _fingerprint(array, where)}
    raise BadInput(
        where.lstrip(".") or "value",
        f"{type(value).__name__} {value!r} cannot be part of a key",
        "Give plain values: numbers, text, tuples, string-keyed tables, arrays, dataclasses",
    )


def _number(value: float, where: str) -> Json:
    if math.isnan(value):
        raise BadInput(where.lstrip(".") or "value", "NaN cannot be part of a key", "Give a number")
    if math.isinf(value):
        return {"float": repr(value)}
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _table(
    value: Mapping[Any, object], where: str, inner: Callable[[object, object], Json]
) -> Json:
    for name in value:
        if type(name) is not str:
            raise BadInput(where.lstrip(".") or "value", f"has the key {name!r}", "Use text")
    table = {name: inner(part, name) for name, part in value.items()}
    return {"mapping": table} if _RESERVED & table.keys() else table


def _record(value: Any, where: str, inner: Callable[[object, object], Json]) -> Json:
    kind = type(value)
    record: dict[str, Json] = {"kind": kind.__name__}
    revision = getattr(kind, "REVISION", None)
    if revision is not None:
        record["REVISION"] = revision
    for field in dataclasses.fields(value):
        if field.name in record:
            raise BadInput(f"{kind.__name__}.{field.name}", "is a reserved name", "Rename it")
        counts = _counts(field)
        if not counts:
            continue
        encoded = inner(getattr(value, field.name), field.name)
        if counts == UNLESS_DEFAULT:
            default = inner(_default(field), field.name)
            if canonical(encoded) == canonical(default):
                continue
        record[field.name] = encoded
    return record


def _counts(field: "dataclasses.Field[Any]") -> bool | str:
    counts: object = field.metadata.get("counts", True)
    if isinstance(counts, bool):
        return counts
    if counts == UNLESS_DEFAULT:
        return UNLESS_DEFAULT
    raise TypeError(f"{field.name}: counts is {counts!r}; give True, False or {UNLESS_DEFAULT!r}")


def _default(field: "dataclasses.Field[Any]") -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if field.default is dataclasses.MISSING:
        raise TypeError(f"{field.name}: counts {UNLESS_DEFAULT}, and has no default")
    return field.default


def _as_array(value: object, where: str) -> NDArray[Any] | None:
    if isinstance(value, np.ndarray):
        return value
    torch = sys.modules.get("torch")  # a tensor exists only where torch is already imported
    if torch is None or not isinstance(value, torch.Tensor):
        return None
    try:
        return np.asarray(value.detach().cpu().numpy())
    except TypeError:
        name = where.lstrip(".") or "value"
        raise BadInput(name, f"{value.dtype} has no NumPy type", "Give float32") from None


def _fingerprint(array: NDArray[Any], where: str) -> str:
    if array.dtype.kind not in "biufcU":
        raise BadInput(where.lstrip(".") or "value", f"an array of {array.dtype}", "Give numbers")
    little = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    header = canonical([little.dtype.str, list(little.shape)])
    return checksum(header + little.tobytes())
