"""A finished audit asked for again is answered from the store, without importing a model.

Its key covers what could change the answer: the declaration, every file that it names, the data
sets' files that were found, and the package's own source.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import trilemma
from trilemma.core.errors import TrilemmaError
from trilemma.experiments.keys import digest
from trilemma.experiments.store import Store
from trilemma.experiments.user_code import user_model_fingerprint


def find(table: Mapping[str, Any], store: Store) -> dict[str, Any] | None:
    """The document of this audit, if it was finished before; a damaged one counts as none."""
    try:
        path = _path(table, store)
        text = path.read_bytes()
        document = json.loads(text)
        seal = document.pop("seal")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, TrilemmaError):
        return None
    return document if seal == digest(document) else None


def remember(table: Mapping[str, Any], store: Store, document: Mapping[str, Any]) -> None:
    """Keep a complete document. A store that cannot take it only costs the next run some time."""
    try:
        path = _path(table, store)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{hashlib.sha256(repr(id(path)).encode()).hexdigest()[:8]}.new")
        new.write_text(json.dumps({**document, "seal": digest(document)}), encoding="utf-8")
        new.replace(path)
    except (OSError, TrilemmaError):
        return


def _path(table: Mapping[str, Any], store: Store) -> Path:
    facts = [
        dict(table),
        [_identity(leaf) for leaf in _leaves(table)],
        _source(),
        trilemma.__version__,
    ]
    return store.root / "audits" / f"{digest(facts)}.json"


def _leaves(value: Any, key: str = "") -> list[tuple[str, str]]:
    """Every text in the table with its key."""
    if isinstance(value, Mapping):
        return [leaf for k, v in value.items() for leaf in _leaves(v, str(k))]
    if isinstance(value, list | tuple):
        return [leaf for v in value for leaf in _leaves(v, key)]
    return [(key, value)] if isinstance(value, str) else []


def _identity(leaf: tuple[str, str]) -> str:
    """What stands behind a text: a file's content, a factory's source."""
    key, text = leaf
    if key == "factory":
        return user_model_fingerprint(text, None)
    path = Path(text)
    if path.is_file():
        return _hash([path])
    if path.is_dir():
        return _hash(sorted(each for each in path.rglob("*") if each.is_file()))
    return ""


def _hash(paths: list[Path]) -> str:
    """Of names and contents."""
    whole = hashlib.blake2b(digest_size=16)
    for path in paths:
        whole.update(path.name.encode())
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


@cache
def _source() -> str:
    return _hash(sorted(Path(trilemma.__file__).parent.rglob("*.py")))
