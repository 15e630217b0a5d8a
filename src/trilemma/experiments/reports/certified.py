"""How far the labels of members and non-members are proven: shares by radius."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trilemma.experiments.reports.document import Document, Number
from trilemma.experiments.reports.figures import (
    Figure,
    Json,
    Key,
    Table,
    axis,
    colour,
    label,
    layout,
    titled,
    titles,
)
from trilemma.experiments.reports.quantities import (
    VERIFIED,
    Metric,
    accuracies,
    evaluable,
    in_words,
    shown,
)

FEW = 3  # more models than this are drawn without intervals, and told by the table alone
NOISE = "noise"
SIDES = {"test": ("non-members", "solid", "diamond"), "train": ("members", "dash", "diamond-open")}
BRIEF = (0.0, 0.5, 1.0)  # radii of a short table, in declared ones; and the last
ABSENT: Metric = {"not_evaluable": "not part of this audit"}
KIND = VERIFIED["test"]  # how a share is printed


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What certifies, and the models that it was asked about.

    Args:
        id: as under `certified` and `certificates` in the document.
        models: (index among all models, title, its entry, the model).
    """

    id: str
    models: Sequence[tuple[int, str, Json, Mapping[str, Any]]]

    @property
    def ball(self) -> Mapping[str, Any]:
        """The declared one."""
        found: Mapping[str, Any] = self.models[0][2]["ball"]
        return found


def certified(document: Document) -> list[Figure]:
    """One plot for each way of certifying, with a pair of curves for each model."""
    return [_figure(document, each) for each in _curves(document)]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Shares of certified non-members by radius, for tables with one column a model.

    Args:
        title: over all of them.
        rows: (radius, one share a model).
        brief: those at 0, at half of the declared radius, at the whole and at the end.
    """

    title: str
    rows: Sequence[tuple[Number, Sequence[Metric]]]
    brief: Sequence[tuple[Number, Sequence[Metric]]]


def by_radius(document: Document) -> Iterator[Rows]:
    """The curves of non-members as rows of a table."""
    for each in _curves(document):
        entries = [model.get("certified", {}).get(each.id) for model in document["models"].values()]
        radii = each.models[0][2]["radii"]
        rows = [
            (radius, [entry["test"][place] if entry else ABSENT for entry in entries])
            for place, radius in enumerate(radii)
        ]
        few = [*(multiple * each.ball["radius"] for multiple in BRIEF), radii[-1]]
        yield Rows(
            title=f"Test rows certified by {_by(document, each.id)}, by {_norm(each)} radius",
            rows=rows,
            brief=[row for row in rows if any(abs(row[0] - radius) < 1e-9 for radius in few)],
        )


def _curves(document: Document) -> list[Curves]:
    found: dict[str, list[tuple[int, str, Json, Mapping[str, Any]]]] = {}
    for index, (name, model) in enumerate(document["models"].items()):
        for id_, entry in model.get("certified", {}).items():
            found.setdefault(id_, []).append((index, titles(document)[name], entry, model))
    return [Curves(id=id_, models=models) for id_, models in found.items()]


def _by(document: Document, id_: str) -> str:
    return str(document.get("certificates", {}).get(id_, {}).get("name", id_))


def _norm(curves: Curves) -> str:
    return {"Linf": "L∞", "L2": "L2"}.get(
        str(curves.ball.get("kind")), str(curves.ball.get("kind"))
    )


def _figure(document: Document, curves: Curves) -> Figure:
    traces: list[Json] = []
    keys = []
    few = len(curves.models) <= FEW
    for index, name, entry, model in curves.models:
        mine = [_curve(index, name, entry, part, few) for part in ("train", "test")]
        mine += _attacked(document, curves, index, name, model)
        keys.append(
            Key(
                name=name,
                ink=colour(index),
                traces=list(range(len(traces), len(traces) + len(mine))),
            )
        )
        traces += mine
    by = _by(document, curves.id)
    end = max(entry["radii"][-1] for _, _, entry, _ in curves.models)
    return Figure(
        id=f"certified-{curves.id}",
        title=f"Certified by {by}: shares of rows by radius",
        words=_words(document, curves),
        data=traces,
        layout=layout(
            xaxis=axis(
                title=titled(f"{label(_norm(curves))} radius, in the unit of the inputs"),
                range=[-0.02 * end, 1.03 * end],
                nticks=6,
            ),
            yaxis=axis(title=titled("Certified rows"), ticksuffix=" %", range=[-3, 103], nticks=6),
        ),
        tables=[_table(curves, by)],
        legend=keys,
        height=360,
    )


def _curve(index: int, name: str, entry: Json, part: str, few: bool) -> Json:
    """A staircase: between two radii only what was found at the larger one is sure."""
    side, dash, _ = SIDES[part]
    able = [(r, m) for r, m in zip(entry["radii"], entry[part], strict=True) if evaluable(m)]
    shares = [100 * float(metric["value"]) for _, metric in able]
    trace: Json = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": f"{label(name)}, {side}",
        "x": [radius for radius, _ in able],
        "y": shares,
        "line": {"shape": "vh", "color": colour(index), "dash": dash, "width": 2},
        "marker": {"size": 6, "color": colour(index)},
        "customdata": [in_words(metric, KIND) for _, metric in able],
        "hovertemplate": "radius %{x:.4g}: %{customdata}<extra>%{fullData.name}</extra>",
    }
    if few and part == "test":
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [
                100 * _high(metric) - share for (_, metric), share in zip(able, shares, strict=True)
            ],
            "arrayminus": [
                share - 100 * metric["low"] for (_, metric), share in zip(able, shares, strict=True)
            ],
            "color": colour(index),
            "thickness": 1.2,
            "width": 4,
        }
    return trace


def _high(metric: Metric) -> Number:
    high: Number | None = metric["high"]
    return metric["value"] if high is None else high


def _attacked(
    document: Document, curves: Curves, index: int, name: str, model: Mapping[str, Any]
) -> Iterator[Json]:
    """What an attack leaves, at its radius: no certificate can say more."""
    ball = _measured(document, curves)
    kinds = accuracies(document)
    for part, (side, _, symbol) in SIDES.items() if ball else ():
        metric = model["accuracy"].get(f"adversarial_{part}")
        if evaluable(metric):
            yield {
                "type": "scatter",
                "mode": "markers",
                "name": f"{label(name)}, {side}, attacked",
                "x": [ball["radius"]],
                "y": [100 * metric["value"]],
                "marker": {
                    "symbol": symbol,
                    "size": 11,
                    "color": colour(index),
                    "line": {"width": 1.8, "color": colour(index)},
                },
                "customdata": [
                    f"{label(kinds[f'adversarial_{part}'].label)}: {in_words(metric, KIND)}"
                ],
                "hovertemplate": "%{customdata}<extra>%{fullData.name}</extra>",
            }


def _measured(document: Document, curves: Curves) -> Mapping[str, Any]:
    """The ball in which accuracy was measured, where its norm is that of the curves; or nothing."""
    about = document.get("robustness", {}).get("adversarial", {})
    ball = about.get("settings", {}).get("ball")
    alike = isinstance(ball, Mapping) and ball.get("kind") == curves.ball.get("kind")
    return ball if alike and isinstance(ball.get("radius"), int | float) else {}


def _words(document: Document, curves: Curves) -> str:
    said = "Solid lines are non-members, dashed lines members; the staircases join computed points."
    if curves.id == NOISE:
        said += (
            " What is sure, up to chance, is that the label of the expected scores stays; the model"
            " itself averages fewer draws of noise."
        )
    if _measured(document, curves):
        name = document["robustness"]["adversarial"].get("name", "the attack")
        said += f" Diamonds are the accuracy under {name} at its radius, hollow those of members"
        said += "." if curves.id == NOISE else ": no bounds can prove more."
    if len(curves.models) <= FEW:
        at = curves.ball["radius"]
        numbers = (
            f"{name} {shown(metric, KIND).value}"
            for _, name, entry, _ in curves.models
            for radius, metric in zip(entry["radii"], entry["test"], strict=True)
            if radius == at
        )
        said += f" Non-members at {at:.4g}: {'; '.join(numbers)}."
    return said + _sampled(curves)


def _sampled(curves: Curves) -> str:
    for _, _, entry, model in curves.models:
        asked, all_ = (
            [rows[side] for side in ("members", "nonmembers")]
            for rows in (entry["rows"], model["rows"])
        )
        if asked != all_:
            return f" Drawn at random for this: {asked[0]} members and {asked[1]} non-members."
    return ""


def _table(curves: Curves, by: str) -> Table:
    radii = curves.models[0][2]["radii"]
    return Table(
        caption=f"Rows certified by {by}, by {_norm(curves)} radius, with intervals",
        columns=["Model, rows", *(f"{radius:.4g}" for radius in radii)],
        rows=[
            [f"{name}, {SIDES[part][0]}", *(_cell(metric) for metric in entry[part])]
            for _, name, entry, _ in curves.models
            for part in ("test", "train")
        ],
    )


def _cell(metric: Metric) -> str:
    print_ = shown(metric, KIND)
    return f"{print_.value} ({print_.interval or print_.reason})"
