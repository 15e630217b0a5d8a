"""A model seen closer up: answers to single rows, losses (Li & Zhang 2021, figs. 4, 6)."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trilemma.experiments.reports import histograms
from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.figures import (
    Figure,
    Json,
    Key,
    Table,
    axis,
    drawn_seed,
    label,
    layout,
    titled,
    titles,
)
from trilemma.experiments.reports.quantities import Metric, Quantity, in_words

MEMBERS = ("--series-1", "--series-7", "--series-3", "--series-4")
NONMEMBERS = ("--series-2", "--series-6", "--series-5", "--series-8")
WHOSE = {"target": "the model", "copy": "its copy", "shadow": "its shadow model"}
EXPLAINED = {
    "target": "",
    "copy": " The copy learnt from the model's labels of shadow rows; it was trained on none of"
    " these rows.",
    "shadow": " The shadow model was trained alike on other rows; these are members and"
    " non-members of its own.",
}
MAIN = ("target",)
ALL = tuple(WHOSE)
LOOKS = {"ace": "ACE", "distance": "Margin"}
PARTS = {"train": "members", "test": "non-members"}


@dataclass(frozen=True, kw_only=True)
class Side:
    """A model, or one that stands in for it.

    Args:
        index: of the model among all models.
        title: of the model.
        which: `target`, `copy` or `shadow`.
        entry: what the document says of it.
        document: the whole.
    """

    index: int
    title: str
    which: str
    entry: Json
    document: Document

    @property
    def name(self) -> str:
        """In a title: `natural`, `natural, its copy`."""
        return self.title if self.which == "target" else f"{self.title}, {WHOSE[self.which]}"

    @property
    def id(self) -> str:
        """Unique among sides."""
        return f"{self.index}-{self.which}"

    def of_seed(self, look: str) -> str:
        """Whose rows are drawn."""
        seed = drawn_seed(self.document, self.entry[look])
        return "" if seed is None else f" of seed {seed}"


def sides(document: Document) -> Iterator[Side]:
    """All that was looked at, by model."""
    for index, (name, model) in enumerate(document["models"].items()):
        for which, entry in model.get("analysis", {}).get("sides", {}).items():
            title = titles(document)[name]
            yield Side(index=index, title=title, which=which, entry=entry, document=document)


def quantities(document: Document, of: Collection[str] = MAIN) -> dict[str, Quantity]:
    """What the numbers of the analysis are called, by name; empty where none was asked for.

    Args:
        of: whose numbers.
    """
    asked = {name: None for model in document["models"].values() for name in numbers(model)}
    every = {name: quantity_of(*name.split("_")) for name in asked}
    return {name: kind for name, kind in every.items() if name.split("_")[0] in of}


def numbers(model: Mapping[str, Any]) -> dict[str, Metric]:
    """Those of one model, by name."""
    found = model.get("analysis", {})
    measured = {
        f"{which}_{look}_{part}": entry[look][part]
        for which, entry in found.get("sides", {}).items()
        for look in LOOKS
        if look in entry
        for part in PARTS
    }
    why = found.get("not_evaluable")
    return {"target_ace_train": {"not_evaluable": why}} if why else measured


def quantity_of(which: str, look: str, part: str) -> Quantity:
    """What a mean is called.

    Args:
        which: `target`, `copy` or `shadow`.
        look: `ace` or `distance`.
        part: `train` or `test`.
    """
    of = "" if which == "target" else f", {which}"
    if look == "ace":
        long = "Cross-entropy with the other labels (ACE)"
        meaning = (
            "Mean over labels that are not predicted of -log of their probability, in nats, mean"
            f" over {PARTS[part]}: how hard it is to bring a row to another label."
        )
    else:
        long = "Feature margin: distance to another label"
        meaning = (
            "How far the inputs of the last layer lie from the nearest ones that it gives another"
            f" label, in L2 and in the layer's own unit, mean over {PARTS[part]}."
        )
    return Quantity(
        label=f"{long}, {PARTS[part]}{of}",
        short=f"{LOOKS[look]}, {part}{of}",
        meaning=meaning + EXPLAINED[which],
        factor=1.0,
        unit="",
        decimals=3,
    )


def answers(document: Document) -> list[Figure]:
    """Two plots a side: the confidence on every label, and the cross-entropy to the others."""
    return [
        figure
        for side in sides(document)
        if "answers" in side.entry
        for figure in (_bars(side), _entropies(side))
    ]


def losses(document: Document) -> list[Figure]:
    """The loss distributions of members and non-members, one plot a side."""
    drawn = [
        histograms.Panel(
            id=f"closer-loss-{side.id}",
            group=side.title,
            title=f"{side.name}: loss",
            caption=side.name,
            histogram=side.entry["answers"]["loss"],
            seed=drawn_seed(document, side.entry["answers"]),
        )
        for side in sides(document)
        if "answers" in side.entry
    ]
    unit = "Cross-entropy loss (nats)"
    figures = histograms.panels(drawn, "loss", unit, histograms.MEMBERSHIP)
    said = [EXPLAINED[side.which] for side in sides(document) if "answers" in side.entry]
    return [replace(f, words=f.words + more) for f, more in zip(figures, said, strict=True)]


def _rows(side: Side) -> Iterator[tuple[str, str, Json]]:
    """(name, ink, row) of the rows that are shown."""
    seen = [0, 0]
    for row in side.entry["answers"]["shown"]:
        inks = MEMBERS if row["member"] else NONMEMBERS
        turn = seen[row["member"]]
        seen[row["member"]] += 1
        kind = "Member" if row["member"] else "Non-member"
        wrong = "" if row["label"] == row["predicted"] else f", taken for {row['predicted']}"
        yield f"{kind} of label {row['label']}{wrong}", inks[turn % len(inks)], row


def _bars(side: Side) -> Figure:
    data: list[Json] = []
    keys = []
    for name, ink, row in _rows(side):
        keys.append(Key(name=name, ink=ink, traces=[len(data)]))
        confidence = [0.0 if loss is None else 100 * math.exp(-loss) for loss in row["losses"]]
        data.append(
            {
                "type": "bar",
                "name": label(name),
                "x": list(range(len(confidence))),
                "y": confidence,
                "marker": {"color": ink, "line": {"width": 0}},
                "hovertemplate": "label %{x}: %{y:.3g} %<extra>%{fullData.name}</extra>",
            }
        )
    title = f"{side.name}: confidence on every label"
    shown = [row for _, _, row in _rows(side)]
    surest = {
        kind: [100 * math.exp(-min(e for e in row["losses"] if e is not None)) for row in of]
        for kind in ("members", "non-members")
        if (of := [row for row in shown if row["member"] == (kind == "members")])
    }
    said = "; ".join(
        f"{kind} {' and '.join(f'{each:.2f} %' for each in found)}"
        for kind, found in surest.items()
    )
    return Figure(
        id=f"answers-{side.id}",
        title=title,
        words=f"The answers to {len(shown)} rows{side.of_seed('answers')}, drawn before anything"
        f" was asked. Largest confidence: {said}.{EXPLAINED[side.which]}",
        data=data,
        layout=layout(
            barmode="group",
            bargap=0.15,
            xaxis=axis(title=titled("Label"), showgrid=False, **_label_ticks(shown)),
            yaxis=axis(title=titled("Confidence"), ticksuffix=" %", range=[0, 103], nticks=6),
        ),
        tables=[_confidences(title, side)],
        legend=keys,
        height=300,
    )


def _entropies(side: Side) -> Figure:
    data: list[Json] = []
    keys = []
    for name, ink, row in _rows(side):
        keys.append(Key(name=name, ink=ink, traces=[len(data)]))
        others = {
            place: loss
            for place, loss in enumerate(row["losses"])
            if place != row["predicted"] and loss is not None
        }
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": label(name),
                "x": list(others),
                "y": list(others.values()),
                "marker": {
                    "size": 9,
                    "color": ink,
                    "symbol": "circle" if row["member"] else "diamond-open",
                    "line": {"width": 2, "color": ink},
                },
                "hovertemplate": "label %{x}: %{y:.3f} nats<extra>%{fullData.name}</extra>",
            }
        )
    title = f"{side.name}: cross-entropy to every other label"
    mean = side.entry["ace"]
    kinds = {part: quantity_of(side.which, "ace", part) for part in PARTS}
    said = "; ".join(f"{PARTS[part]} {in_words(mean[part], kinds[part])}" for part in PARTS)
    shown = [row for _, _, row in _rows(side)]
    return Figure(
        id=f"entropies-{side.id}",
        title=title,
        words="How far each of these answers is from every label that it does not give: circles are"
        f" members, diamonds non-members. The mean over labels (ACE), of all rows: {said}.",
        data=data,
        layout=layout(
            xaxis=axis(title=titled("Label"), showgrid=False, **_label_ticks(shown)),
            yaxis=axis(title=titled("Cross-entropy (nats)"), rangemode="tozero", nticks=6),
        ),
        tables=[_table(title, side)],
        legend=keys,
        height=300,
    )


def _label_ticks(shown: Sequence[Json]) -> Json:
    count = len(shown[0]["losses"])
    ticks = {"tickmode": "linear", "dtick": 1} if count <= 20 else {"nticks": 10}
    return {"range": [-0.6, count - 0.4], **ticks}


def _confidences(caption: str, side: Side) -> Table:
    shown = list(_rows(side))
    return Table(
        caption=caption,
        columns=["Row", *(f"label {place}" for place in range(len(shown[0][2]["losses"])))],
        rows=[
            [name, *("0 %" if e is None else f"{100 * math.exp(-e):.3g} %" for e in row["losses"])]
            for name, _, row in shown
        ],
    )


def _table(caption: str, side: Side) -> Table:
    """The paper's table 2."""
    shown = list(_rows(side))
    labels = range(len(shown[0][2]["losses"]))
    return Table(
        caption=caption,
        columns=["Row", "label", "predicted", *map(str, labels), "ACE"],
        rows=[
            [
                name,
                str(row["label"]),
                str(row["predicted"]),
                *("-" if e == row["predicted"] else _nats(row["losses"][e]) for e in labels),
                _nats(row["ace"]),
            ]
            for name, _, row in shown
        ],
    )


def _nats(value: float | None) -> str:
    return "∞" if value is None else f"{value:.4f}"
