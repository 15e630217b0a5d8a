"""The audit document: what one audit found, as JSON with a published schema."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from trilemma.core.errors import BadInput
from trilemma.experiments.reports.shape import problems

Document: TypeAlias = Mapping[str, Any]
Number: TypeAlias = int | float  # JSON does not tell 1 from 1.0


def schema() -> dict[str, Any]:
    """The document's JSON Schema (draft 2020-12), as published in the package.

    >>> schema()["properties"]["schema_version"]["const"]
    1
    """
    text = (files(__package__) / "schema.json").read_text(encoding="utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def validate(document: object) -> Document:
    """Return `document` if it is an audit document that the reports can be made from.

    Args:
        document: parsed JSON.

    Raises:
        BadInput: it breaks the schema; names the place, the value and what is asked there.
    """
    if isinstance(document, Mapping):
        _check_version(document)
    for where, what in problems(document, _schema(), _schema()):
        place = "audit document" + "".join(f" > {part}" for part in where)
        raise BadInput(place, what, "See the JSON Schema in trilemma.experiments.reports")
    assert isinstance(document, Mapping)  # noqa: S101 - the schema says so
    return document


def _check_version(document: Mapping[str, Any]) -> None:
    version = document.get("schema_version")
    if isinstance(version, int) and version > 1:
        raise BadInput(
            "audit document",
            f"has schema version {version}; this trilemma reads version 1",
            "Install a newer trilemma",
        )


_schema = cache(schema)
