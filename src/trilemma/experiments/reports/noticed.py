"""What detectors noticed of thieves, in words, as tables, and what proof of work cost them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.figures import (
    Figure,
    Json,
    Key,
    Table,
    axis,
    colour,
    layout,
    titled,
    titles,
)
from trilemma.experiments.reports.quantities import Quantity, evaluable
from trilemma.experiments.reports.thefts import RATE, entries, printed

COUNT = Quantity(label="", short="", meaning="", factor=1.0, unit="", decimals=0)
TIMES = replace(COUNT, unit=" times", decimals=1)
NUMBERS: Mapping[str, tuple[str, Quantity]] = {  # number -> what tables call it, how it is printed
    "queries": ("Queries that were answered", COUNT),
    "alarm_at": ("First query with an alarm", COUNT),
    "wrong": ("Answers that were wrong on purpose", RATE),
    "pairs": ("Queries like an earlier one of the account", COUNT),
    "banned": ("Accounts that were banned", COUNT),
    "work": ("Work that was asked for, in normal queries", COUNT),
    "hashes": ("Work that was done, in normal queries", COUNT),
    "slow_down": ("An answer takes so much longer", TIMES),
    "refused": ("Accounts that were given up for their price", COUNT),
}
NAMES = {"PRADA": "PRADA", "CalibratedSEAT": "SEAT", "CalibratedWork": "proof of work"}
WHO = {"thief": "the thief", "user": "a normal user"}


def remarks(document: Document) -> list[str]:
    """One for each thief before a detector."""
    return [
        f"“{titles(document)[name]}” behind {_called(guard)}, {thief}: {_said(guard)}."
        for name, thief, guard in _guards(document)
    ]


def tables(document: Document) -> list[Table]:
    """One for each thief before a detector: the thief beside a normal user."""
    return [
        Table(
            caption=f"{titles(document)[name]} behind {_called(guard)}, {thief}",
            columns=("", "The thief", "A normal user"),
            rows=[
                ["Accounts", printed(guard["accounts"], COUNT), "1"],
                *(
                    [said, *(printed(guard[who][number], kind) for who in WHO)]
                    for number, (said, kind) in NUMBERS.items()
                    if number in guard["thief"]
                ),
            ],
        )
        for name, thief, guard in _guards(document)
    ]


def works(document: Document) -> list[Figure]:
    """For each thief who paid by proof of work, what was asked of it and of a normal user."""
    return [
        _figure(f"work-{index}", f"{titles(document)[name]}: work by queries, {thief}", guard)
        for index, (name, thief, guard) in enumerate(_guards(document))
        if guard.get("curve")
    ]


def _guards(document: Document) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Model, thief, and what was noticed."""
    for name, model in document["models"].items():
        for thief, entry in entries(model).items():
            if "guard" in entry:
                yield name, thief, entry["guard"]


def _called(guard: Mapping[str, Any]) -> str:
    kind: str = guard["detector"]
    return NAMES.get(kind, kind)


def _said(guard: Mapping[str, Any]) -> str:
    thief, user = guard["thief"], guard["user"]
    if "wrong" in thief:
        wrong = [RATE.show(each["wrong"]["value"]) for each in (thief, user)]
        first = thief["alarm_at"]
        alarm = f"from query {first['value']:,.0f} on" if evaluable(first) else "not with all seeds"
        return f"alarm {alarm}; {wrong[0]} of its answers, {wrong[1]} of a normal user's, are wrong"
    if "pairs" in thief:
        return (
            f"{thief['queries']['value']:,.0f} of its queries are answered and"
            f" {thief['banned']['value']:g} accounts are banned (mean over seeds), of a normal"
            f" user's {user['banned']['value']:g}"
        )
    slow = [TIMES.show(each["slow_down"]["value"]) for each in (thief, user)]
    given_up = sum(1 for each in guard["stopped"] if each)
    said = f"an answer takes it {slow[0]} as long, a normal user {slow[1]}"
    return said + (
        f"; it gave up with {given_up} of {len(guard['stopped'])} seeds" * bool(given_up)
    )


def _figure(id_: str, heading: str, guard: Mapping[str, Any]) -> Figure:
    data: list[Json] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": said,
            "x": [point["queries"] for point in guard["curve"]],
            "y": [point[who] for point in guard["curve"]],
            "line": {"color": colour(index), "width": 2.5},
            "marker": {"size": 6, "color": colour(index)},
            "hovertemplate": "%{x:,} queries: %{y:,.0f}<extra>%{fullData.name}</extra>",
        }
        for index, (who, said) in enumerate(WHO.items())
    ]
    return Figure(
        id=id_,
        title=heading,
        words="Hashes that were asked for so far, in those of a normal query, with one seed. The"
        " normal user asks as much.",
        data=data,
        layout=layout(
            xaxis=axis(title=titled("Queries"), rangemode="tozero", nticks=6),
            yaxis=axis(title=titled("Work, in normal queries"), type="log", nticks=6),
        ),
        tables=[
            Table(
                caption=heading,
                columns=["Queries", *WHO.values()],
                rows=[
                    [f"{each['queries']:,}", *(f"{each[who]:,.0f}" for who in WHO)]
                    for each in guard["curve"]
                ],
            )
        ],
        legend=[
            Key(name=said, ink=colour(index), traces=[index], dash="solid")
            for index, said in enumerate(WHO.values())
        ],
    )
