"""`--fail-if`: conditions on an audit's numbers, for a build that must stop on a leak."""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trilemma.core.errors import BadInput
from trilemma.experiments.loot import PLACES, STOLEN, TRANSFER, Names

COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
SHAPE = re.compile(r"\s*(?P<path>[^<>=]+?)\s*(?P<op>>=|<=|>|<)\s*(?P<number>[^<>=]+?)\s*")
PARTS = ("value", "low", "high")
ACCURACY = "accuracy"  # stands in an attack's place for what the model itself gets right
MEASURED_ON_REQUEST = {
    "autoattack": "Ask by --thorough",
    "verified": "Declare an attack of kind VerifiedConfidence",
}
FORM = "Write '[model:]attack.metric[.value|.low|.high] op number', e.g. 'confidence.auc.low > 0.6'"
FIRST = {STOLEN: "thief", TRANSFER: "model"}  # what stands next to the word
UNDECLARED = "Declare `extraction`, which lets thieves steal the models, and its `transfer`"
MISSING = {"not_evaluable": "not part of this model's audit"}


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One `--fail-if`.

    Args:
        text: as its user wrote it.
        model: the model's name; None for any model.
        attack: an attack's id, or what stands in its place: `accuracy`, `stolen`, `transfer`.
        metric: the names that follow, with dots between.
        where: the number's place in a model's entry of the document.
        part: which number of the estimate: `value`, `low` or `high`.
    """

    text: str
    model: str | None
    attack: str
    metric: str
    where: tuple[str, ...]
    part: str
    compare: str
    number: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a condition holds; None: the sample cannot say, and `reason` tells why."""

    condition: Condition
    model: str | None
    holds: bool | None
    observed: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the JUnit and Markdown reports take it."""
        c = self.condition
        return {
            "text": c.text,
            "model": self.model,
            "metric": f"{c.attack}.{c.metric}.{c.part}",
            "holds": self.holds,
            "observed": self.observed,
            "reason": self.reason,
        }


def check_form(text: str) -> None:
    """Refuse what is no condition in any audit.

    Raises:
        BadInput: not of the form; says which form.
    """
    _split(text)


def parse(
    text: str,
    *,
    models: Sequence[str],
    attacks: Sequence[str],
    metrics: Sequence[str],
    accuracies: Sequence[str] = (),
    loot: Names | None = None,
) -> Condition:
    """Read one condition; names are matched longest first, since some contain dots.

    Args:
        text: as its user wrote it.
        models, attacks: the audit's names.
        metrics: of every attack.
        accuracies: the metrics of the word `accuracy`, which stands in an attack's place.
        loot: the names below the words `stolen` and `transfer`, which do so where models are stolen
            (`loot.loot`).

    Raises:
        BadInput: not of the form, or a model, attack or metric that this audit does not have.
    """
    path, compare, number = _split(text)
    model = next((m for m in _longest(models) if path.startswith(f"{m}:")), None)
    if model is not None:
        path = path[len(model) + 1 :].lstrip()
    further = {word: names for word, names in (loot or {}).items() if word not in attacks}
    attack = _prefix(path, [*attacks, ACCURACY, *further], text, "attack", models)
    rest = path[len(attack) + 1 :]
    if attack in further:
        names, rest = _walked(rest, attack, further[attack], text)
        where = (*PLACES[attack], *names)
    else:
        metric = _metric(rest, attack, accuracies if attack == ACCURACY else metrics, text)
        names, rest = (metric,), rest[len(metric) + 1 :]
        where = (ACCURACY, metric) if attack == ACCURACY else ("membership", attack, metric)
    part = rest or "value"
    if part not in PARTS:
        raise BadInput(
            "--fail-if", f"{part!r} in {text!r} is not known", f"Allowed: {', '.join(PARTS)}"
        )
    return Condition(
        text=text,
        model=model,
        attack=attack,
        metric=".".join(names),
        where=where,
        part=part,
        compare=compare,
        number=number,
    )


def judge(condition: Condition, document: Mapping[str, Any]) -> Verdict:
    """Whether the condition holds in a finished audit.

    Without a model any model counts: it holds where it holds for one of them, and cannot be
    evaluated where it holds for none and some model's number is missing.
    """
    models = document["models"]
    names = [condition.model] if condition.model is not None else list(models)
    verdicts = [_judge_model(condition, name, models.get(name, {})) for name in names]
    order = {True: 0, None: 1, False: 2}
    return min(verdicts, key=lambda verdict: order[verdict.holds])


def exit_status(document: Mapping[str, Any], verdicts: Iterable[Verdict]) -> int:
    """3 where a condition holds; else 1 where an attack failed; else 4 where a condition cannot be
    evaluated; else 0.
    """
    found = {verdict.holds for verdict in verdicts}
    if True in found:
        return 3
    if document["failures"]:
        return 1
    return 4 if None in found else 0


def _judge_model(condition: Condition, name: str, model: Mapping[str, Any]) -> Verdict:
    found = model
    for below in condition.where:
        found = found.get(below, MISSING)
        if "not_evaluable" in found:
            break
    if "not_evaluable" in found:
        return Verdict(condition=condition, model=name, holds=None, reason=found["not_evaluable"])
    number = found[condition.part]
    observed = math.inf if number is None else float(number)
    return Verdict(
        condition=condition,
        model=name,
        holds=COMPARE[condition.compare](observed, condition.number),
        observed=observed,
    )


def _split(text: str) -> tuple[str, str, float]:
    """Names, comparison and number of a condition."""
    match = SHAPE.fullmatch(text)
    if match is None:
        raise BadInput("--fail-if", f"cannot read {text!r}", FORM)
    return match["path"], match["op"], _number(match["number"], text)


def _longest(names: Iterable[str]) -> list[str]:
    return sorted(names, key=len, reverse=True)


def _walked(path: str, word: str, names: Names, text: str) -> tuple[tuple[str, ...], str]:
    """The names of a number below a word, level by level, and what follows them."""
    found: tuple[str, ...] = ()
    while names:
        name = _first(path, names)
        if name is None:
            what, below = (FIRST[word] if not found else "number"), ".".join((word, *found))
            missing = f"no {what} {path!r} below {below}" if path else f"nothing below {below}"
            raise BadInput("--fail-if", f"{missing} in {text!r}", f"There is: {', '.join(names)}")
        found, names, path = (*found, name), names[name], path[len(name) + 1 :]
    return found, path


def _metric(path: str, attack: str, allowed: Sequence[str], text: str) -> str:
    for prefix, fix in MEASURED_ON_REQUEST.items() if attack == ACCURACY else ():
        if path.startswith(f"{prefix}_") and path.split(".")[0] not in allowed:
            raise BadInput("--fail-if", f"{attack}.{path} in {text!r} was not measured", fix)
    return _prefix(path, allowed, text, "metric", ())


def _prefix(path: str, names: Sequence[str], text: str, what: str, models: Sequence[str]) -> str:
    if (name := _first(path, names)) is not None:
        return name
    head = path.split(":", 1)[0] if ":" in path else ""
    if head and models:
        raise BadInput(
            "--fail-if", f"no model {head!r} in {text!r}", f"This audit has: {', '.join(models)}"
        )
    if not path:
        raise BadInput("--fail-if", f"no {what} in {text!r}", FORM)
    if what == "attack" and path.split(".")[0] in PLACES:
        raise BadInput("--fail-if", f"{path!r} in {text!r} was not asked for", UNDECLARED)
    raise BadInput(
        "--fail-if", f"no {what} {path!r} in {text!r}", f"This audit has: {', '.join(names)}"
    )


def _first(path: str, names: Iterable[str]) -> str | None:
    """The longest of the names that a path begins with."""
    return next((n for n in _longest(names) if path == n or path.startswith(f"{n}.")), None)


def _number(text: str, whole: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise BadInput("--fail-if", f"{text!r} in {whole!r} is not a number", FORM) from None
    if math.isnan(number):
        raise BadInput("--fail-if", f"{text!r} in {whole!r} compares with nothing", FORM)
    return number
