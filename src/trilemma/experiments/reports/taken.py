"""What each thief's students are like, as tables and in words: under each attack, and by pass."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from trilemma.experiments.reports.document import Document
from trilemma.experiments.reports.figures import Table, titles
from trilemma.experiments.reports.quantities import Metric
from trilemma.experiments.reports.thefts import BESIDE, RATE, entries, most, printed, title

NONE = "-"
POINTS = replace(RATE, unit=" points")
PUBLISHED = "Best on the rows it is measured on, as papers report it"
COLUMNS = ("", "Last student", "Best student", PUBLISHED, "Random rows, last student", "The model")
LEAD = "Lead of the best student over the last"
BENIGN: Mapping[str, str] = {  # number -> what tables call it
    "accuracy": "Accuracy",
    "fidelity": "Same label as the model (fidelity)",
    "of_accuracy": "of the model's accuracy",
}
FURTHER: Mapping[str, str] = {
    "accuracy": "Accuracy under {}",
    "of_accuracy": "of the model's accuracy under {}",
}
ATTACKED: Mapping[str, str] = {
    **FURTHER,
    "steady": "Keeps its own label under {}",
    "agreement": "Same label on its adversarial examples",
    "to_victim": "The model's accuracy on the student's adversarial examples",
    "from_victim": "The student's accuracy on the model's adversarial examples",
}


def tables(document: Document) -> list[Table]:
    """One a model and thief: its last and its best student, beside that of random queries."""
    return [
        Table(
            caption=f"{titles(document)[name]}, stolen by {title(document, thief)}",
            columns=COLUMNS,
            rows=[*_asked(entry), *_rows(entry)],
        )
        for name, model in document["models"].items()
        for thief, entry in entries(model).items()
        if "benign" in entry
    ]


def remarks(document: Document) -> list[str]:
    """In words, for each model, of the thief who got most of it: further attacks, overfitting."""
    found = []
    for name, model in document["models"].items():
        if (thief := most(model)) is None:
            continue
        entry, about = entries(model)[thief], f"“{titles(document)[name]}”"
        if under := entry.get("under"):
            said = ", ".join(
                f"{printed(each['final']['of_accuracy'])} under {attack}"
                for attack, each in under.items()
            )
            found.append(f"Of the accuracy of {about} under further attacks {thief} gets {said}.")
        found.append(_chosen(entry, thief, about))
    return found


def _chosen(entry: Mapping[str, Any], thief: str, about: str) -> str:
    """What the choice of a pass does."""
    attacked = "adversarial" in entry
    part, number = ("adversarial", "robust_accuracy") if attacked else ("benign", "accuracy")
    called = "accuracy under attack" if attacked else "accuracy"
    best, published = entry[part]["best"]["accuracy"], entry["published"][number]
    return (
        f"The best student of {about} by {thief}, chosen on validation rows, leads the last by"
        f" {printed(entry[part]['overfitting'], POINTS)} in {called} and has {printed(best)};"
        f" chosen on the very rows it is measured on, as papers report it, {printed(published)}."
    )


def _asked(entry: Mapping[str, Any]) -> Iterator[list[str]]:
    beside = entry.get(BESIDE, {})
    for said, number in (("Rows that the thief holds", "pool"), ("Queries", "queries")):
        own, other = (_count(each, number) for each in (entry, beside))
        yield [said, own, own, own, other, NONE]
    if made := entry.get("crafting"):
        own = f"{made['seconds']:.2g} s"
        yield [f"To make {made['rows']} queries", own, own, own, NONE, NONE]


def _count(entry: Mapping[str, Any], number: str) -> str:
    return f"{entry[number]:,.0f}" if number in entry else str(entry.get("not_evaluable", NONE))


def _rows(entry: Mapping[str, Any]) -> Iterator[list[str]]:
    beside, seen = entry.get(BESIDE, {}), entry["published"]
    yield from _compared(entry["benign"], beside.get("benign"), BENIGN, seen)
    if "adversarial" in entry:
        names = {number: said.format("attack") for number, said in ATTACKED.items()}
        chosen = {"accuracy": seen["robust_accuracy"]}
        yield from _compared(entry["adversarial"], beside.get("adversarial"), names, chosen)
    for attack, found in entry.get("under", {}).items():
        few = "" if found["rows"] == entry["benign"]["rows"] else f" on {found['rows']:,} rows"
        names = {number: said.format(attack) + few for number, said in FURTHER.items()}
        yield from _compared(found, beside.get("under", {}).get(attack), names, {})


def _compared(
    own: Mapping[str, Any],
    other: Mapping[str, Any] | None,
    names: Mapping[str, str],
    published: Mapping[str, Metric],
) -> Iterator[list[str]]:
    """A row a number, then how far the best student leads the last.

    Args:
        own: of the thief, on benign rows or under one attack.
        other: of the thief of random queries; None where that failed.
        names: of the numbers.
        published: of the student that is best on these very rows.
    """
    for number, said in names.items():
        found = [
            own["final"][number],
            own["best"][number],
            published.get(number),
            other and other["final"][number],
            own["victim"] if number == "accuracy" else None,
        ]
        yield [said, *(printed(each) if each else NONE for each in found)]
    leads = [None, own["overfitting"], None, other and other["overfitting"], None]
    where = names["accuracy"].removeprefix("Accuracy")
    yield [
        f"{LEAD},{where}" if where else LEAD,
        *(printed(each, POINTS) if each else NONE for each in leads),
    ]
