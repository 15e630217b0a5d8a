"""The stages that look closer at a model (Li & Zhang 2021, sections 3.4, 4.1 and 5.2)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trilemma.attacks.evasion import QEBA, HopSkipJump
from trilemma.attacks.membership import BoundaryDistance
from trilemma.experiments.analysis import Analysis
from trilemma.experiments.answering import Answered, Shown
from trilemma.experiments.asking import Asking
from trilemma.experiments.budgets import Budgets
from trilemma.experiments.distances import Distances
from trilemma.experiments.embedding import Embed
from trilemma.experiments.graph import Stage
from trilemma.experiments.specs import Experiment
from trilemma.experiments.stages import Parts, stream
from trilemma.experiments.tracing import Trace, Walker

TARGET, COPY, SHADOW, PATHS = "target", "copy", "shadow", "paths"


def budgeted(declared: Experiment, target: Asking) -> Mapping[str, Budgets]:
    """What the boundary attacks find by budget and norm, by id."""
    found = {}
    for id_, attack in declared.attacks_on(target.name).items():
        distances = target.asked(attack).scores if isinstance(attack, BoundaryDistance) else None
        if isinstance(distances, Distances):
            name = f"count queries of {target.name}, {id_}, seed {target.seed}"
            found[id_] = Budgets(distances=distances, seed=target.seed, name=name)
    return found


def looking(declared: Experiment, target: Asking) -> dict[str, Any]:
    """The field `looks` of a cell.

    Defences do not count: it is the model itself that is looked at. Its (first) copy is asked about
    the same rows, of which it was trained on none; a shadow model about members and non-members
    of its own.
    """
    asked = declared.analysis
    if asked is None:
        return {}
    bare = replace(target, defences=())
    copy, shadow = next(iter(bare.copies.values()), None), bare.shadow
    models = {TARGET: bare}
    if copy is not None:
        models[COPY] = replace(bare, source=copy, name=copy.name)
    if shadow is not None:
        models[SHADOW] = replace(shadow, defences=())
    looks = {which: _answers_and_features(each, asked) for which, each in models.items()}
    if asked.paths:
        trace = Trace(
            split=target.split,
            source=target.source,
            searches=_searches(declared, target.name),
            rows=asked.paths,
            box=target.box,
            seed=target.seed,
            name=target.name,
        )
        looks[TARGET][PATHS] = trace
    return {"looks": looks}


def shown(asked: Analysis, split: Parts, seed: int) -> Shown:
    """The rows whose answers are shown."""
    return Shown(split=split, classes=asked.classes, seed=stream("shown", seed))


def known_classes(declared: Experiment, split: Parts, seed: int) -> tuple[Shown, ...]:
    """The stage that refuses labels that no row has, to be run before all training."""
    return () if declared.analysis is None else (shown(declared.analysis, split, seed),)


def _answers_and_features(model: Asking, asked: Analysis) -> dict[str, Stage]:
    found: dict[str, Stage] = {
        "answers": Answered(
            answers=model.responses(None),
            shown=shown(asked, model.split, model.seed),
            name=f"{model.name}, seed {model.seed}",
        )
    }
    if asked.rows:
        found["features"] = Embed(
            split=model.split,
            source=model.source,
            rows=asked.rows,
            seed=model.seed,
            name=model.name,
        )
    return found


def _searches(declared: Experiment, name: str) -> tuple[Walker, ...]:
    """HopSkipJump and QEBA, as the first attack that names each has it."""
    attacks = declared.attacks_on(name).values()
    named = [attack.search for attack in attacks if isinstance(attack, BoundaryDistance)]
    defaults: tuple[Walker, ...] = (HopSkipJump(), QEBA())
    return tuple(
        next((search for search in named if type(search) is type(default)), default)
        for default in defaults
    )
