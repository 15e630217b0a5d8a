"""The report's plots as plain Plotly specifications, each with its words and its table.

Colours are the names of CSS variables (`--series-1`, or `--series-1/0.2` for a faint one): the
page fills them in for its theme.
"""

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trilemma.experiments.reports.document import Document

Json = dict[str, Any]

SERIES = 8  # colours that the style sheet has
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


@dataclass(frozen=True, kw_only=True)
class Table:
    """What a plot shows, as rows of text; the first column heads its row."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Key:
    """An entry of a plot's legend, which switches traces on and off.

    Args:
        name: what it stands for.
        ink: name of the CSS variable with its colour.
        dash: one of `DASHES` for lines; empty for bars.
        traces: indices of the traces that it switches.
    """

    name: str
    ink: str
    traces: Sequence[int]
    dash: str = ""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One plot.

    Args:
        id: unique in the page.
        title: the accessible name.
        words: what it shows, for who cannot see it; also its caption.
        data: Plotly traces.
        layout: Plotly layout.
        tables: the plotted numbers.
        legend: entries; none where one legend serves several plots.
        height: in CSS pixels.
        log_range: exponents of ten between which the y axis lies when it is made logarithmic.
    """

    id: str
    title: str
    words: str
    data: Sequence[Json]
    layout: Json
    tables: Sequence[Table] = field(default=())
    legend: Sequence[Key] = field(default=())
    height: int = 360
    log_range: tuple[float, float] | None = None

    def spec(self) -> Json:
        """What the page's script draws."""
        layout = {**self.layout, "height": self.height}
        log = {"log_range": self.log_range} if self.log_range else {}
        return {"id": self.id, "data": list(self.data), "layout": layout, **log}


def colour(index: int) -> str:
    """The colour of the model at `index`, the same in every plot."""
    return f"--series-{index % SERIES + 1}"


def label(text: object) -> str:
    """A name from outside as Plotly may print it: its little HTML is taken literally."""
    return html.escape(str(text), quote=False)


def titles(document: Document) -> Mapping[str, str]:
    """Model id -> the name it is shown by."""
    return {name: str(model.get("title", name)) for name, model in document["models"].items()}


def attacks(document: Document) -> list[str]:
    """The attacks of all models, in order of appearance."""
    found = (attack for model in document["models"].values() for attack in model["membership"])
    return list(dict.fromkeys(found))


def method_title(document: Document, attack: str) -> str:
    """The attack's name as its method states it, with its id where another has the same."""
    titles_ = {name: method.get("title") for name, method in document["methods"].items()}
    title = str(titles_.get(attack) or attack)
    shared = list(titles_.values()).count(titles_.get(attack)) > 1
    return f"{title}: {attack}" if shared and attack in titles_ else title


def curves(document: Document, part: str) -> Iterator[tuple[int, str, str, Json]]:
    """(model's index, model, attack, curve) for each attack that has the curve `part`."""
    for index, (name, model) in enumerate(document["models"].items()):
        for attack, curve in model["curves"].items():
            if curve.get(part):
                yield index, name, attack, curve


def drawn_seed(document: Document, curve: Json) -> int | None:
    """The seed whose rows a curve shows; None for recorded predictions, which have none."""
    seed: int | None = curve.get("seed")
    return seed if document["provenance"]["seeds"] else None


def axis(**extra: Any) -> Json:
    """An axis in the page's colours."""
    return {
        "gridcolor": "--plot-grid",
        "ticks": "outside",
        "ticklabeloverflow": "allow",
        "linecolor": "--plot-axis",
        "tickcolor": "--plot-axis",
        "zeroline": False,
        "automargin": True,
        "fixedrange": True,
        **extra,
    }


def titled(text: str) -> Json:
    """An axis title."""
    return {"text": text, "font": {"size": 13}}


def layout(**extra: Any) -> Json:
    """A layout that leaves background and theme to the page."""
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "--ink", "size": 13},
        "margin": {"l": 16, "r": 24, "t": 12, "b": 8},
        "dragmode": False,
        "hoverlabel": {
            "bgcolor": "--surface",
            "bordercolor": "--plot-axis",
            "font": {"color": "--ink"},
            "namelength": -1,
        },
        "showlegend": False,
        **extra,
    }
