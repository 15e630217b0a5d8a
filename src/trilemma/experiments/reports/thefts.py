"""What thieves get of each model, and for how many queries (Li et al. 2023, figure 1, table 1)."""

from collections.abc import Mapping
from typing import Any

from trilemma.experiments.reports.document import Document
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
from trilemma.experiments.reports.quantities import Metric, Quantity, evaluable, shown

BESIDE = "random"
RATE = Quantity(label="", short="", meaning="", decimals=1)
LINES = {"accuracy": "Accuracy", "robust_accuracy": "Accuracy under attack"}


def title(document: Document, thief: str) -> str:
    """What a thief is called: its id and its method."""
    method = document.get("thieves", {}).get(thief, {}).get("title")
    return f"{thief} ({method})" if method else thief


def entries(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """What each thief of a model got, by the thief's id."""
    thieves: Mapping[str, Any] = model.get("extraction", {}).get("thieves", {})
    return thieves


def most(model: Mapping[str, Any]) -> str | None:
    """The thief who got most of a model; None where nobody got anything.

    Most is the largest share of the accuracy under attack, or without an attack of the accuracy.
    """
    found = {thief: entry for thief, entry in entries(model).items() if "benign" in entry}
    return max(found, key=lambda thief: _value(_most(found[thief])), default=None)


def sentences(document: Document) -> list[str]:
    """In words, one for each model that was stolen: what the thief who got most of it got."""
    found = []
    for name, model in document["models"].items():
        thief = most(model)
        if thief is None:
            continue
        entry, price = entries(model)[thief], model["extraction"].get("price")
        said = (
            f"With {entry['queries']:,.0f} queries a thief, {title(document, thief)}, gets"
            f" {_shares(entry)} of “{titles(document)[name]}”"
        )
        if "benign" in (beside := entry.get(BESIDE, {})):
            as_much = round(beside["queries"]) == round(entry["queries"])
            queries = "as much" if as_much else f"{beside['queries']:,.0f} times"
            said += f"; one that asks {queries} about random rows gets {_shares(beside)}"
        if price is not None:
            said += (
                f". At {price:g} for 1,000 queries it pays {entry['queries'] * price / 1000:,.2f}"
            )
        found.append(f"{said}.")
    return found


def failed(document: Document) -> list[str]:
    """Why there is nothing to tell, where there is not."""
    found = []
    for name, model in document["models"].items():
        about = titles(document)[name]
        if why := model.get("extraction", {}).get("not_evaluable"):
            found.append(f"{about}: {why}")
        for thief, entry in entries(model).items():
            if "not_evaluable" in entry:
                found.append(f"{about}, {title(document, thief)}: {entry['not_evaluable']}")
    return found


def curves(document: Document) -> list[Figure]:
    """For each model, accuracy and accuracy under attack of the students on their way."""
    found = []
    for index, (name, model) in enumerate(document["models"].items()):
        lines = {
            thief: entry["looks"]["passes"]
            for thief, entry in entries(model).items()
            if "looks" in entry
        }
        able = [each for each in entries(model).values() if "looks" in each.get(BESIDE, {})]
        if able:  # one that nobody watched, where there is one
            first = min(able, key=lambda each: "guard" in each)
            lines[f"{BESIDE} rows"] = first[BESIDE]["looks"]["passes"]
        for number, called in LINES.items():
            seen = {n: each for n, each in lines.items() if each and number in each[0]}
            if seen:
                heading = f"{titles(document)[name]}: {called.lower()} of students by queries"
                found.append(_figure(f"theft-{index}-{number}", heading, called, number, seen))
    return found


def printed(metric: Metric, kind: Quantity | None = None) -> str:
    """A share, or what its kind says, with its interval, or why there is none."""
    print_ = shown(metric, kind or RATE)
    return f"{print_.value} ({print_.interval or print_.reason})"


def _most(entry: Mapping[str, Any]) -> Metric:
    part = entry["adversarial" if "adversarial" in entry else "benign"]
    metric: Metric = part["final"]["of_accuracy"]
    return metric


def _value(metric: Metric) -> float:
    return float(metric["value"]) if evaluable(metric) else -1.0


def _shares(entry: Mapping[str, Any]) -> str:
    both = {"benign": "accuracy", "adversarial": "robustness"}
    said = [
        f"{printed(entry[part]['final']['of_accuracy'])} of the {called}"
        for part, called in both.items()
        if part in entry
    ]
    return " and ".join(said)


def _figure(id_: str, heading: str, called: str, number: str, lines: Mapping[str, Any]) -> Figure:
    data: list[Json] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": label(name),
            "x": [look["queries"] for look in looks],
            "y": [100 * look[number] for look in looks],
            "line": {"color": colour(index), "width": 2.5},
            "marker": {"size": 6, "color": colour(index)},
            "hovertemplate": "%{x:,} queries: %{y:.1f} %<extra>%{fullData.name}</extra>",
        }
        for index, (name, looks) in enumerate(lines.items())
    ]
    return Figure(
        id=id_,
        title=heading,
        words="Measured on validation rows while the thief goes on, with one seed. A thief that"
        " searches a pool learns after its queries: its line then goes up at one place.",
        data=data,
        layout=layout(
            xaxis=axis(title=titled("Queries"), rangemode="tozero", nticks=6),
            yaxis=axis(title=titled(f"{called}, %"), range=[0, 103], nticks=6),
        ),
        tables=[
            Table(
                caption=f"{heading}, {name}",
                columns=["Queries", called],
                rows=[[f"{look['queries']:,}", f"{100 * look[number]:.1f} %"] for look in looks],
            )
            for name, looks in lines.items()
        ],
        legend=[
            Key(name=name, ink=colour(index), traces=[index], dash="solid")
            for index, name in enumerate(lines)
        ],
    )
