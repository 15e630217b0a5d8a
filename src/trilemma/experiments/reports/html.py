"""The report: one page that needs nothing but itself."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from trilemma.core.errors import TrilemmaError
from trilemma.experiments.reports import (
    closer,
    decided,
    exchanged,
    histograms,
    noticed,
    pictures,
    promises,
    security,
    sensitivity,
    tables,
    taken,
    thefts,
)
from trilemma.experiments.reports.budgets import budgets
from trilemma.experiments.reports.certified import certified
from trilemma.experiments.reports.costs import costs
from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.figures import Figure, titles
from trilemma.experiments.reports.glance import glance
from trilemma.experiments.reports.quantities import accuracies, quantity
from trilemma.experiments.reports.roc import roc
from trilemma.experiments.reports.tradeoff import tradeoffs
from trilemma.experiments.reports.verdict import incomplete

STATUS = {
    "pass": ("passed", "✓"),
    "warn": ("warning", "!"),
    "not_evaluable": ("not evaluable", "?"),
}
CHECKS = {
    "blind": "Blind classifier",
    "duplicates": "Duplicate rows",
    "null": "Null run",
    "normalisation": "Input range",
    "determinism": "Determinism",
    "gradient_masking": "Gradient masking",
    "privacy": "Differential privacy",
}
EXPLAINED = {
    "blind": "A classifier that never asks the model: if it beats chance, the split leaks.",
    "duplicates": "Rows that are members and non-members at once, or repeated.",
    "null": "Non-members against non-members: an attack must not find anything here.",
    "normalisation": "Whether the model expects the input range that it was given.",
    "determinism": "Whether identical inputs get identical answers.",
    "privacy": "Whether any attack measured a larger epsilon than the training promises.",
    "gradient_masking": "Whether AutoAttack finds adversarial examples that gradients do not lead"
    " to: more than 5 points of accuracy fewer than PGD leaves, on the same rows.",
}


def render_html(document: Document) -> str:
    """The audit as one self-contained HTML page.

    Everything is inlined and the page's content security policy forbids the network. Names and
    texts from the document are escaped. Without JavaScript all tables are there, the plots not.

    Args:
        document: a valid audit document (see `validate`).
    """
    scripts = [_asset("page.js"), _plotly()]
    figures = _figures(document)
    drawn = [figure for group in figures.values() for figure in group]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            doc=document,
            titles=titles(document),
            created=_date(document["created"]),
            incomplete=incomplete(document) if document["status"] == "incomplete" else "",
            figures=figures,
            secure=security.counts(document),
            unseen=pictures.unseen(document),
            decided=decided.tables(document),
            stolen=taken.tables(document),
            noticed=noticed.tables(document),
            taken=thefts.sentences(document),
            remarked=[
                said for part in (taken, exchanged, noticed) for said in part.remarks(document)
            ],
            unstolen=thefts.failed(document),
            grid=tables.side_by_side(document),
            more_grids=[*tables.each_seed(document), *tables.each_label(document)],
            accuracies=accuracies(document).values(),
            metrics=[
                *([promises.KIND] if promises.promises(document["models"].values()) else []),
                *security.quantities(document, security.ALL).values(),
                *sensitivity.quantities(document, sensitivity.ALL).values(),
                *closer.quantities(document, closer.ALL).values(),
                *(quantity(name) for name in tables.metric_names(document)),
            ],
            costs=costs(document),
            spec=_yaml(document["provenance"]["spec"]),
            checks=CHECKS,
            explained=EXPLAINED,
            statuses=STATUS,
            style=Markup(_asset("page.css")),  # noqa: S704 - our own file
            dark=Markup(_asset("dark.css")),  # noqa: S704
            script=Markup(scripts[0]),  # noqa: S704
            plotly=Markup(scripts[1]),  # noqa: S704
            policy=_policy(scripts),
            specs=script_json([figure.spec() for figure in drawn]),
            document_json=script_json(document),
        )
    )


def script_json(value: object) -> Markup:
    r"""JSON that may stand inside `<script>`: no character of it can end the element.

    >>> print(script_json({"name": "</script>"}))
    {"name":"\u003c/script\u003e"}
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped on the line above


def plain(value: object) -> str:
    """A JSON value as a reader writes it down.

    >>> plain({"kind": "PGD", "ball": {"kind": "Linf", "radius": 0.1}, "steps": 20})
    'PGD(ball=Linf(radius=0.1), steps=20)'
    >>> plain([1, 8, 8]), plain(None), plain("")
    ('1, 8, 8', 'not known', 'none')
    """
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping) and "kind" in value:
        rest = {k: v for k, v in value.items() if k not in ("kind", "REVISION") and v is not None}
        return f"{value['kind']}({', '.join(f'{k}={plain(v)}' for k, v in rest.items())})"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "none"
    return (f"{value:g}" if isinstance(value, float) else str(value)) or "none"


def _figures(document: Document) -> Mapping[str, Sequence[Figure]]:
    curve = roc(document)
    return {
        "glance": [glance(document)] if document["models"] else [],
        "tradeoff": tradeoffs(document),
        "certified": certified(document),
        "roc": [curve] if curve else [],
        "sensitivity": sensitivity.sensitivities(document),
        "percentiles": decided.percentiles(document),
        "budgets": budgets(document),
        "thefts": thefts.curves(document),
        "exchanged": exchanged.matrices(document),
        "works": noticed.works(document),
        "answers": closer.answers(document),
        "losses": closer.losses(document),
        "features": pictures.features(document),
        "paths": pictures.paths(document),
        "loss": histograms.losses(document),
        "confidence": histograms.confidences(document),
        "security": histograms.security(document),
    }


def _policy(scripts: Sequence[str]) -> str:
    """Only these scripts run, and nothing may be fetched from anywhere."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline';"
        " img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


@cache
def _environment() -> Environment:
    names = ("report.html.j2", "macros.html.j2", "evidence.html.j2", "closer.html.j2")
    environment = Environment(
        loader=DictLoader({name: _asset(name) for name in names}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    return environment


@cache
def _asset(name: str) -> str:
    return (files(__package__) / "page" / name).read_text(encoding="utf-8").strip()


def _plotly() -> str:
    """plotly.js out of the installed package, without importing the package."""
    spec = find_spec("plotly")
    folders = (spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path.read_text(encoding="utf-8").replace("</script", "<\\/script").strip()
    raise TrilemmaError(
        "the HTML report needs plotly.min.js of the package plotly, which is not installed"
        " completely; install it again with: pip install --force-reinstall plotly"
    )


def _yaml(spec: Mapping[str, Any]) -> str:
    return yaml.safe_dump(json.loads(json.dumps(spec)), sort_keys=False, allow_unicode=True)


def _date(created: str) -> str:
    moment = datetime.fromisoformat(created)
    zone = "UTC" if not moment.utcoffset() else moment.strftime("UTC%z")
    return f"{moment.day} {moment:%B %Y, %H:%M} {zone}"
