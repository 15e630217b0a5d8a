"""A finished audit asked for again is answered from the store, without importing a model.

Its key covers what could change the answer: the declaration, the files that its data and models
are read from, and the package's own source. Where that cannot be known without loading (data that
must be downloaded first, a factory that brings its own weights), there is no such short cut, and
the stages' own keys decide.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import trilemma
from trilemma.core.errors import TrilemmaError
from trilemma.core.keys import digest
from trilemma.data import Data, Files, locate, source_digest
from trilemma.data.catalogue import known
from trilemma.experiments.decode import decode
from trilemma.experiments.store import Store
from trilemma.experiments.user_code import user_model_fingerprint


class _Unknowable(Exception):
    """What the audit rests on cannot be named without loading it."""


def find(table: Mapping[str, Any], store: Store) -> dict[str, Any] | None:
    """The document of this audit, if it was finished before; a damaged one counts as none."""
    try:
        document: dict[str, Any] = json.loads(_path(table, store).read_bytes())
        seal = document.pop("seal")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, TrilemmaError, _Unknowable):
        return None
    return document if seal == digest(document) else None


def remember(table: Mapping[str, Any], store: Store, document: Mapping[str, Any]) -> None:
    """Keep a complete document. A store that cannot take it only costs the next run some time."""
    try:
        path = _path(table, store)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}.new")
        new.write_text(json.dumps({**document, "seal": digest(document)}), encoding="utf-8")
        new.replace(path)
    except (OSError, TrilemmaError, _Unknowable):
        return


def _path(table: Mapping[str, Any], store: Store) -> Path:
    models = {
        str(name): [_model(model), _data(model.get("data"))]
        for name, model in table["models"].items()
    }
    facts = [dict(table), _data(table.get("data")), models, _source(), trilemma.__version__]
    return store.root / "audits" / f"{digest(facts)}.json"


def _data(declared: Any) -> str:
    """What stands for the files of the declared data set."""
    if declared is None:
        return ""
    config = decode(declared, Data, "data")
    if not isinstance(config, Files) and locate(known(config.ENTRY)) is None:
        raise _Unknowable
    return source_digest(config)


def _model(declared: Mapping[str, Any]) -> str:
    """What stands for a recorded or supplied model's files; a trained one has none."""
    if "predictions" in declared:
        return _hash(Path(declared["predictions"]).expanduser())
    if "factory" in declared:
        if declared.get("weights") is None:
            raise _Unknowable
        return user_model_fingerprint(declared["factory"], Path(declared["weights"]))
    return ""


def _hash(*paths: Path) -> str:
    """Of contents, in order."""
    whole = hashlib.blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


@cache
def _source() -> str:
    return _hash(*sorted(Path(trilemma.__file__).parent.rglob("*.py")))
