"""What leaving single members out of the training changed (Song et al. 2019, fig. 2)."""

from collections.abc import Mapping, Sequence
from statistics import quantiles
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
from trilemma.experiments.reports.quantities import Metric, Quantity, in_words

Drawn = tuple[int, str, Json]


def _difference(label_: str, short: str, meaning: str) -> Quantity:
    return Quantity(label=label_, short=short, meaning=meaning, factor=1.0, unit="", decimals=4)


QUANTITIES: Mapping[str, Quantity] = {
    "mean": _difference(
        "Confidence lost when left out (sensitivity)",
        "Sensitivity",
        "Confidence of the model in a member, minus that of a model trained anew without this"
        " member, mean over the members left out. It contains what training again does by itself."
        " The interval is a bootstrap over these members.",
    ),
    "mean_absolute": _difference(
        "Sensitivity, size alone",
        "Sensitivity, size",
        "Mean of these differences' absolute values, which chance alone makes positive.",
    ),
    "noise": _difference(
        "Confidence lost when trained again (noise)",
        "Noise of retraining",
        "The same difference in the same members, where the model trained anew did have them: what"
        " training again, on a few other rows fewer, does by itself.",
    ),
    "noise_absolute": _difference(
        "Noise, size alone",
        "Noise, size",
        "Mean of these differences' absolute values.",
    ),
    "influence": _difference(
        "Influence: sensitivity less noise",
        "Influence",
        "How much surer of a member a model is that was trained anew with it than one that was"
        " trained anew without it; 0 where single members change nothing.",
    ),
}
MAIN = ("mean", "noise", "influence")
ALL = tuple(QUANTITIES)
POINTS = (("left_out", "left out", "solid"), ("stayed", "stayed", "dot"))
FEW = 4  # more models than this are not told one by one
COLUMNS = ("lowest", "lower quartile", "median", "upper quartile", "highest")


def quantities(document: Document, names: Sequence[str] = MAIN) -> dict[str, Quantity]:
    """What these numbers are called, by name; empty where none was asked for."""
    asked = any("sensitivity" in model for model in document["models"].values())
    return {name: QUANTITIES[name] for name in names} if asked else {}


def numbers(model: Mapping[str, Any]) -> dict[str, Metric]:
    """Those of one model, by name; empty where none was asked for."""
    found = model.get("sensitivity", {})
    return {name: found[name] for name in QUANTITIES if name in found}


def sensitivities(document: Document) -> list[Figure]:
    """The points of all seeds by ascending difference: those left out, and those that stayed."""
    drawn: list[Drawn] = [
        (index, name, model["sensitivity"])
        for index, (name, model) in enumerate(document["models"].items())
        if model.get("sensitivity", {}).get("values")
    ]
    if not drawn:
        return []
    names = titles(document)
    data: list[Json] = []
    keys: list[Key] = []
    for index, name, found in drawn:
        for part, said, dash in POINTS:
            title = f"{names[name]}, {said}"
            keys.append(Key(name=title, ink=colour(index), traces=[len(data)], dash=dash))
            data.append(_trace(title, colour(index), dash, _values(found, part)))
    return [
        Figure(
            id="sensitivity",
            title="Sensitivity of each model to single training points, in ascending order",
            words=_words(drawn, names),
            data=data,
            layout=layout(
                xaxis=axis(title=titled("Training points, in ascending order"), rangemode="tozero"),
                yaxis=axis(
                    title=titled("Difference in confidence"),
                    zeroline=True,
                    zerolinecolor="--plot-axis",
                ),
            ),
            tables=[_table(drawn, names)],
            legend=keys,
            height=400,
        )
    ]


def _values(found: Json, part: str) -> list[Number]:
    return sorted(value for seed in found["values"] for value in seed[part])


def _trace(title: str, ink: str, dash: str, values: Sequence[Number]) -> Json:
    """A staircase: from one point to the next there is nothing."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": label(title),
        "x": list(range(len(values) + 1)),
        "y": [*values, values[-1]],
        "line": {"shape": "hv", "color": ink, "dash": dash, "width": 2},
        "hovertemplate": "%{y:.4f}<extra>%{fullData.name}</extra>",
    }


def _words(drawn: Sequence[Drawn], names: Mapping[str, str]) -> str:
    seeds = drawn[0][2]["values"]
    points, rounds = (sum(seed[name] for seed in seeds) for name in ("points", "rounds"))
    of = f" over {len(seeds)} seeds" if len(seeds) > 1 else ""
    words = (
        f"{points} training points of each model, left out in {rounds} retrainings{of}. Solid: the"
        " model's confidence in a point minus that of a model retrained without it. Dotted: minus"
        " that of one retrained with it, which is noise."
    )
    if len(drawn) > FEW:
        return words
    kind = QUANTITIES["influence"]
    said = [f"{names[name]} {in_words(found['influence'], kind)}" for _, name, found in drawn]
    return f"{words} The former less the latter, on average: {'; '.join(said)}."


def _table(drawn: Sequence[Drawn], names: Mapping[str, str]) -> Table:
    lines = []
    for _, name, found in drawn:
        for part, said, _ in POINTS:
            values = _values(found, part)
            cuts = quantiles(values, n=4, method="inclusive")
            ends = [values[0], *cuts, values[-1]]
            lines.append([f"{names[name]}, {said}", *(f"{each:.4f}" for each in ends)])
    return Table(
        caption="Differences in confidence, read off the lines",
        columns=["Model, points", *COLUMNS],
        rows=lines,
    )
