"""The papers' studies as they are declared: an experiment at two scales, and what it should show.

A study is a file of `studies/`, the data set and schedules it has in common with others a file of
`studies/settings/`. In a study, `$name` stands for the setting's value of that name at the chosen
scale, and `{like: $name, epochs: 9}` for that table with other values. Studies that declare the
same model so share its training through the store. No torch.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from trilemma.core.errors import BadInput
from trilemma.experiments.declared import read
from trilemma.experiments.decode import decode

Document: TypeAlias = Mapping[str, Any]
Scale: TypeAlias = Literal["cpu", "paper"]
SCALES: tuple[Scale, ...] = get_args(Scale)
STUDIES = Path(__file__).with_name("studies")
SETTINGS = STUDIES / "settings"
RECORDS = STUDIES / "records"
_KINDS = ("table", "figure", "section", "appendix")  # in which order studies are listed
_NAME = re.compile(r"([a-z]+)(\d*)(.*)")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One finding: what a study's numbers should look like. One of these says how.

    A number is named `model`, which is the accuracy of its strongest membership attack at the best
    threshold; `model:attack`, that of one attack; or `model:part.metric`, where part is an attack,
    `accuracy`, `sensitivity`, `security` or `shadow`. How often the answers about members that an
    attack reads are right is `model:answers.attack.train`, and the mean of its scores of members
    `model:scores.attack.train`. Of a boundary attack, `model:norms.attack.L1` and
    `model:queries.attack.2500` are its AUC in a norm and after so many queries, and
    `model:f1.attack.30` its F1 by a threshold at the top 30 per cent of random images;
    `model:ace.target.train` is the average cross-entropy of members to other labels,
    `model:distance.copy.test` the mean distance of others' features from other labels' regions by
    the model's copy. What a thief's student got stands below `model:stolen.thief`, as the
    document has it: `model:stolen.best.adversarial.final.accuracy`,
    `model:stolen.best.under.pgd100.best.accuracy`, `model:stolen.best.benign.overfitting`; the
    accuracy of one model on another's adversarial examples is `model:exchange.maker.tried`. A limit
    is a number by itself: `0.5`.

    Args:
        statement: in our words, with its scope.
        published: the paper's numbers.
        exceeds: the first number is larger than the second.
        rises: the numbers grow from the first to the last.
        falls: the numbers shrink from the first to the last.
        peaks: a number in between is larger than the first and than the last.
        within: of numbers with a peak, those that it must be one of; none for any.
        alike: numbers of which none is larger than another, by more than 5 points or clearly.
        reaches: two numbers, of which the second is not so much larger: the first is on par.
        tolerance: of `alike`, where the paper says by how much numbers differ: by at most so much.
    """

    statement: str
    published: str
    exceeds: tuple[str, ...] = ()
    rises: tuple[str, ...] = ()
    falls: tuple[str, ...] = ()
    peaks: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()
    reaches: tuple[str, ...] = ()
    tolerance: float | None = None

    def __post_init__(self) -> None:
        ways = (self.exceeds, self.rises, self.falls, self.peaks, self.alike, self.reaches)
        given = [way for way in ways if way]
        if len(given) != 1:
            raise BadInput("claim", f"has {len(given)} ways to be decided", "Give one")
        for name in ("exceeds", "reaches"):
            two = getattr(self, name)
            if two and len(two) != 2:
                raise BadInput(f"claim.{name}", f"names {len(two)} numbers", "Name two")
        if len(given[0]) < (3 if self.peaks else 2):
            raise BadInput("claim", f"names {len(given[0])} numbers", "Name more")
        if self.tolerance is not None and not (self.alike and self.tolerance >= 0):
            raise BadInput("claim.tolerance", "is of numbers said to be alike", "At least 0")
        beyond = sorted(set(self.within) - set(self.peaks[1:-1]))
        if beyond:
            raise BadInput("claim.within", f"{beyond[0]} is no peak's", "Name some of `peaks`")

    def numbers(self) -> tuple[str, ...]:
        """Those that are compared."""
        both = self.exceeds or self.alike or self.reaches
        return both or self.rises or self.falls or self.peaks


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a figure: a number at each place of the x axis."""

    name: str
    numbers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure's picture.

    Args:
        x: what the x axis says.
        places: on it.
        lines: each with a number for each place.
    """

    x: str
    places: tuple[float, ...]
    lines: tuple[Line, ...]

    def __post_init__(self) -> None:
        for line in self.lines:
            if len(line.numbers) != len(self.places):
                problem = f"{line.name} has {len(line.numbers)} numbers"
                raise BadInput("figure.lines", problem, f"Give one for each of {self.places}")


@dataclass(frozen=True, kw_only=True)
class Study:
    """One table or figure of a paper.

    Args:
        where: in the paper, such as `table 2`.
        shows: in one sentence.
        takes: how long, by scale, in words.
        setting: a file of `studies/settings/`.
        experiment: what is declared, with `$name` for what the setting says.
        scales: what is different at a scale from what the setting says.
        claims: by id.
        figure: None where the paper has a table.
    """

    name: str
    paper: str
    where: str
    shows: str
    takes: Mapping[str, str]
    setting: str
    experiment: Mapping[str, Any]
    scales: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    claims: Mapping[str, Claim] = field(default_factory=dict)
    figure: Figure | None = None

    def __post_init__(self) -> None:
        for key in (*self.takes, *self.scales):
            _known(key)

    def table(self, scale: str) -> dict[str, Any]:
        """The experiment at a scale, as a file would declare it.

        Raises:
            BadInput: an unknown scale; a `$name` that neither the setting nor the study has.
        """
        found: dict[str, Any] = resolved(dict(self.experiment), self._values(scale))
        return {"name": f"{self.name}-{scale}", **found}

    def deviation(self, scale: str) -> str:
        """In what the networks and numbers of rows at a scale differ from the paper's."""
        return str(self._values(scale).get("deviation", ""))

    def _values(self, scale: str) -> dict[str, Any]:
        """What each name stands for at a scale."""
        settings = read(SETTINGS / f"{self.setting}.yaml")
        both, own = settings.get("both", {}), settings[_known(scale)]
        return {**both, **own, **self.scales.get(scale, {})}


def studies() -> list[str]:
    """The names of the declared studies: by paper, tables before figures, each by its number."""
    return sorted((path.stem for path in STUDIES.glob("*.yaml")), key=_order)


def study(name: str) -> Study:
    """A declared study.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in studies():
        raise BadInput("study", f"{name!r} is not known", f"Known: {', '.join(studies())}")
    built: Study = decode(read(STUDIES / f"{name}.yaml"), Study, name)
    return built


def record(name: str, scale: str = "cpu") -> Document | None:
    """The record that ships with the package, of the study as it was run at a scale."""
    path = RECORDS / f"{name}-{_known(scale)}.json"
    if not path.is_file():
        return None
    document: Document = json.loads(path.read_text(encoding="utf-8"))
    return document


def resolved(value: Any, values: Mapping[str, Any], within: Sequence[str] = ()) -> Any:
    """A declared value with what `$name` stands for in its place; `{like: $name}` for that table.

    Args:
        values: what each name stands for; may name others.
        within: names that are being replaced, against circles.

    Raises:
        BadInput: an unknown name, a circle, or `like` of something that is no table.

    Example:
        >>> resolved({"like": "$net", "epochs": 9}, {"net": {"kind": "MLP", "epochs": 3}})
        {'kind': 'MLP', 'epochs': 9}
    """
    if isinstance(value, str) and value.startswith("$"):
        name = value[1:]
        if name not in values or name in within:
            problem = "stands for itself" if name in within else "is not known"
            raise BadInput(value, problem, f"Known: {', '.join(sorted(values))}")
        return resolved(values[name], values, (*within, name))
    if isinstance(value, Mapping):
        table = {key: resolved(each, values, within) for key, each in value.items()}
        named = isinstance(value.get("like"), str)  # else it is an experiment's own `like`
        like = table.pop("like") if named else {}
        if not isinstance(like, Mapping):
            raise BadInput("like", f"{like!r} is no table", "Name one")
        return {**like, **table}
    if isinstance(value, list | tuple):
        return [resolved(each, values, within) for each in value]
    return value


def _known(scale: str) -> str:
    if scale not in SCALES:
        raise BadInput("scale", f"{scale!r} is not known", f"Known: {', '.join(SCALES)}")
    return scale


def _order(name: str) -> tuple[str, str, int, int, str]:
    """`song2019-table10` after `song2019-table9b`; figures after tables, then the rest."""
    paper, _, part = name.partition("-")
    found = _NAME.match(part)
    kind, number, letter = found.groups() if found else (part, "", "")
    rank = _KINDS.index(kind) if kind in _KINDS else len(_KINDS)
    return paper[-4:], paper, rank, int(number or 0), letter  # the oldest paper first
