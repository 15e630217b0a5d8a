"""What models cost, as rows of the tables: parameters and operations of one answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from trilemma.experiments.reports.document import Document

PARTS: Mapping[str, str] = {  # by the first word of a part; the rest is a name that it was given
    "target": "",
    "shadow": ", shadow model",
    "copy": ", shadow model with the target's labels",
    "reference": ", reference model",
}
NOTHING = "n/a"


def costs(document: Document) -> list[tuple[str, Sequence[str]]]:
    """Rows of one cell a model; none of a part that no model of the document has.

    A multiplication and an addition are two operations. Documents of older audits tell nothing.
    """
    models = [model.get("cost", {}) for model in document["models"].values()]
    parts = dict.fromkeys(part for model in models for part in model)
    order = list(PARTS)
    rows: list[tuple[str, Sequence[str]]] = []
    for part in sorted(parts, key=lambda part: order.index(part.split()[0])):
        kind, _, name = part.partition(" ")
        said = PARTS[kind] + (f" ({name})" if name else "")
        found = [model.get(part, {}) for model in models]
        rows.append((f"Parameters{said}", [_count(each) for each in found]))
        rows.append((f"FLOPs of one answer{said}", [_flops(each) for each in found]))
    return rows


def _count(found: Mapping[str, Any]) -> str:
    return f"{found['parameters']:,}" if "parameters" in found else NOTHING


def _flops(found: Mapping[str, Any]) -> str:
    """In millions, unless there are few.

    >>> _flops({"flops": 153_780_000}), _flops({"flops": 6400}), _flops({})
    ('153.78 M', '6,400', 'n/a')
    """
    if "flops" not in found:
        return NOTHING
    count = found["flops"]
    return f"{count / 1e6:,.2f} M" if count >= 1e6 else f"{count:,}"
