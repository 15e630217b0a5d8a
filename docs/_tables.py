"""Tables that are made from the code when the site is built: `{generated} name`."""

import dataclasses
import inspect
import json
import types
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from trilemma.attacks.evasion import Evasion, QueryBased
from trilemma.attacks.membership import Calibration, Examples, Membership, Regression
from trilemma.bounds import Domain
from trilemma.core.balls import Ball
from trilemma.data import Files, Scaling
from trilemma.data.known import CATALOGUE
from trilemma.data.presets import PRESETS, Sizes
from trilemma.experiments import claims, numbers
from trilemma.experiments import study as studied
from trilemma.experiments.methods import text
from trilemma.oracles.defences import Defence
from trilemma.training.objectives import Objective
from trilemma.training.recipes import Recipe

MEASURED = Path(__file__).parent.parent / "benchmarks" / "results" / "attacks.json"
ACCURACIES = (
    *("train", "test", "adversarial_train", "adversarial_test"),
    *("verified_train", "verified_test"),
)
NOTHING = "n/a"
ABSENT: Mapping[str, Any] = {"not_evaluable": "not in the record"}
BAR = "\\|"  # inside a cell


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(cell.replace('|', BAR) for cell in line)} |" for line in lines)


def members(union: Any) -> tuple[type, ...]:
    """The kinds of a family, which is a union or, while there is one, a class."""
    return get_args(union) if get_origin(union) in (Union, types.UnionType) else (union,)


def _summary(kind: type) -> str:
    first = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0]
    return " ".join(first.split()).rstrip(".")


def _setting(field: Any) -> str:
    default = field.default
    if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    return (
        f"`{field.name}`" if default is dataclasses.MISSING else f"`{field.name}` = {text(default)}"
    )


def kinds(union: Any) -> str:
    """Each member of a family with its settings and their defaults."""
    return _table(
        ("`kind`", "what it is", "settings"),
        (
            (
                f"`{kind.__name__}`",
                _summary(kind),
                ", ".join(_setting(each) for each in dataclasses.fields(kind)) or "none",
            )
            for kind in members(union)
        ),
    )


def data() -> str:
    """Each data set of the catalogue."""
    return _table(
        ("`kind`", "what it is", "classes", "row", "training + test rows", "licence"),
        (
            (
                f"`{entry.kind}`",
                f"[{entry.title}]({entry.source})" if entry.source else entry.title,
                str(entry.classes),
                "x".join(map(str, entry.shape)),
                " + ".join(f"{rows:,}" for rows in entry.rows if rows),
                entry.licence,
            )
            for entry in CATALOGUE.values()
        ),
    )


def presets() -> str:
    """The published splits."""
    return _table(
        ("`kind`, `preset`", "source", "members", "non-members", "shadow", "auxiliary"),
        (
            (f"`{kind}`, `{name}`", preset.source, *_sizes(preset.sizes, preset.per_class))
            for kind, named in PRESETS.items()
            for name, preset in named.items()
        ),
    )


def _sizes(sizes: Sizes, per_class: int | None) -> tuple[str, ...]:
    first = f"{per_class} a class" if per_class else _count(sizes.members)
    return first, *map(_count, (sizes.nonmembers, sizes.shadow, sizes.auxiliary))


def _count(rows: int | None) -> str:
    return "the rest" if rows is None else f"{rows:,}"


def ledger() -> str:
    """Each claim as it was decided."""
    return _table(
        ("claim", "published", "measured", "status"),
        (
            (
                f"{each.study.paper}, {each.study.where}: {each.claim.statement}",
                each.claim.published,
                "; ".join(part for part in (each.measured, each.scale, each.deviation) if part)
                or "-",
                each.status,
            )
            for each in claims.ledger()
        ),
    )


def declared() -> str:
    """Each study: what it shows and how long it takes."""
    return _table(
        ("study", "of", "shows", "takes on two cores", "at the paper's scale"),
        (
            (f"`{each.name}`", f"{each.paper}, {each.where}", each.shows, *each.takes.values())
            for each in map(studied.study, studied.studies())
        ),
    )


def studies() -> str:
    """What came out of each study that was run: all seeds of all models."""
    parts = []
    for name in studied.studies():
        for scale in studied.SCALES:
            document = studied.record(name, scale)
            if document is not None:
                outcome = [_scale(document), _outcome(document), _figure(name, document)]
                parts += [f"**{name}, {scale}**: {outcome[0]}.", *filter(None, outcome[1:])]
    return "\n\n".join(parts) or "No study's record is at hand."


def _scale(document: Mapping[str, Any]) -> str:
    data = document["provenance"]["data"]
    seeds = ", ".join(map(str, document["provenance"]["seeds"]))
    parts = [
        f"{data['members']:,} members and {data['nonmembers']:,} non-members",
        f"seeds {seeds}",
    ]
    return "; ".join([*parts, *filter(None, [data.get("deviation", "").rstrip(".")])])


def _outcome(document: Mapping[str, Any]) -> str:
    """Accuracies and leakage; a column that no model has a number for is left out."""
    models = document["models"]
    columns: dict[str, list[str]] = {}
    for kind in ACCURACIES:
        columns[kind.replace("_", " ")] = [
            _seeds(model["accuracy"].get(kind, ABSENT)) for model in models.values()
        ]
    for attack, method in document["methods"].items():
        columns[f"{attack}: {method['title']}"] = [
            _seeds(model["membership"].get(attack, {}).get("best_threshold_accuracy", ABSENT))
            for model in models.values()
        ]
    told = {head: cells for head, cells in columns.items() if set(cells) != {NOTHING}}
    return _table(("model", *told), zip(models, *told.values(), strict=True))


def _figure(name: str, document: Mapping[str, Any]) -> str:
    """A figure's lines at each place of its x axis."""
    figure = studied.study(name).figure
    if figure is None:
        return ""
    lines = ((line.name, *(_seeds(numbers.number(document, n) or ABSENT) for n in line.numbers))
             for line in figure.lines)  # fmt: skip
    return _table((figure.x, *(f"{place:g}" for place in figure.places)), lines)


def _seeds(metric: Mapping[str, Any]) -> str:
    """Mean over seeds and the widest of their 95 % intervals, in per cent."""
    if "not_evaluable" in metric:
        return NOTHING
    value, low, high = (100 * metric[part] for part in ("value", "low", "high"))
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def attacks() -> str:
    """What every evasion attack found on the study's two models."""
    rows: dict[str, dict[str, Any]] = {}
    for row in json.loads(MEASURED.read_text())["rows"]:
        rows.setdefault(row["case"], {})[row["model"]] = row
    models = ("natural", "robust")
    return _table(
        ("attack", "images", *models, *(f"asked, {name}" for name in models), "seconds"),
        (
            (
                case,
                " / ".join(sorted({str(row["images"]) for row in by.values()})),
                *(_found(by.get(name, {})) for name in models),
                *(f"{by[name]['asked per image']:,.0f}" if name in by else "-" for name in models),
                " / ".join(f"{by[name]['seconds']:,.0f}" for name in models if name in by),
            )
            for case, by in rows.items()
        ),
    )


def _found(row: Mapping[str, Any]) -> str:
    """The accuracy that is left, or how far the images had to be moved."""
    if "turned" in row:
        return f"{row['median distance']:.3g} ({row['turned']} turned)"
    if "median delta" in row:
        return f"delta {row['median delta']:.3g}"
    return f"{100 * row['robust accuracy']:.1f} %" if row else "-"


TABLES: Mapping[str, Callable[[], str]] = {
    "membership": partial(kinds, Membership),
    "examples": partial(kinds, Examples),
    "calibrations": partial(kinds, Calibration),
    "regressions": partial(kinds, Regression),
    "defences": partial(kinds, Defence),
    "evasion": partial(kinds, Evasion),
    "decisions": partial(kinds, QueryBased),
    "attacks": attacks,
    "objectives": partial(kinds, Objective),
    "recipes": partial(kinds, Recipe),
    "balls": partial(kinds, Ball),
    "domains": partial(kinds, Domain),
    "scalings": partial(kinds, Scaling),
    "files": partial(kinds, Files),
    "data": data,
    "presets": presets,
    "ledger": ledger,
    "declared": declared,
    "studies": studies,
}


class Generated(SphinxDirective):
    """Puts a table in the page's place."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Nodes of the table."""
        return self.parse_text_to_nodes(TABLES[self.arguments[0]]())


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("generated", Generated)
    return {"parallel_read_safe": True}
