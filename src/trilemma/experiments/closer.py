"""Parts of a model's entry in the document that say more than its numbers do. No torch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from trilemma import metrics
from trilemma.experiments.graph import Stage
from trilemma.experiments.plan import Cell
from trilemma.experiments.thresholds import over_seeds

Facts: TypeAlias = Callable[[Stage | None], Mapping[str, Any] | None]
Json: TypeAlias = dict[str, Any]
SIDES = ("train", "test")
MEASURED = {"ace": "answers", "distance": "features"}  # a number, and what is looked at for it


def thresholds(cells: Sequence[Cell], of: Facts) -> Json:
    """What each boundary attack finds by a threshold from random images, over seeds."""
    found: Json = {}
    for id_ in dict.fromkeys(id_ for cell in cells for id_ in cell.thresholds):
        seeds = [dict(facts) for cell in cells if (facts := of(cell.thresholds.get(id_)))]
        if len(seeds) == len(cells) and not any("not_evaluable" in seed for seed in seeds):
            found[id_] = over_seeds(seeds)
    return {"thresholds": found} if found else {}


def budgets(cells: Sequence[Cell], of: Facts) -> Json:
    """AUC of each boundary attack by budget and by norm; nothing where a seed failed."""
    found: Json = {}
    for id_ in dict.fromkeys(id_ for cell in cells for id_ in cell.budgets):
        seeds = [facts for cell in cells if (facts := of(cell.budgets.get(id_)))]
        if len(seeds) < len(cells):
            continue
        curves = zip(*(seed["auc"] for seed in seeds), strict=True)
        found[id_] = {
            "norm": seeds[0]["norm"],
            "queries": sum(seed["queries"] for seed in seeds) / len(seeds),
            "budgets": seeds[0]["budgets"],
            "auc": [metrics.combine(each) for each in curves],
            "norms": {
                norm: metrics.combine([seed["norms"][norm] for seed in seeds])
                for norm in seeds[0]["norms"]
            },
        }
    return {"budgets": found} if found else {}


def analysis(cells: Sequence[Cell], of: Facts) -> Json:
    """What was seen of a model and of those that stand in for it; pictures are of one seed."""
    why = next((cell.unlooked for cell in cells if cell.unlooked), "")
    if why:
        return {"analysis": {"sides": {}, "paths": [], "not_evaluable": why}}
    if not any(cell.looks for cell in cells):
        return {}
    sides = dict.fromkeys(which for cell in cells for which in cell.looks)
    found = {which: _side(which, cells, of) for which in sides}
    return {"analysis": {"sides": found, **_paths(cells, of)}}


def _side(which: str, cells: Sequence[Cell], of: Facts) -> Json:
    looks = [cell.looks[which] for cell in cells]
    side: Json = {}
    for number, look in MEASURED.items():
        if any(look in each for each in looks):
            side[number] = _number(number, look, cells, looks, of)
    for cell, each in zip(cells, looks, strict=True):
        for look in ("answers", "features"):
            facts = of(each.get(look))
            if facts and look not in side:
                rest = {name: value for name, value in facts.items() if name not in MEASURED}
                side[look] = {"seed": cell.seed, **rest}
    return side


def _number(
    number: str, look: str, cells: Sequence[Cell], looks: Sequence[Mapping[str, Stage]], of: Facts
) -> Json:
    """A mean of members and of non-members, over seeds."""
    seeds = []
    for cell, each in zip(cells, looks, strict=True):
        facts = of(each.get(look)) or {
            "not_evaluable": f"it failed with seed {cell.seed}; see failures"
        }
        missing = {"not_evaluable": facts.get("not_evaluable", "")}
        seeds.append(facts.get(number, dict.fromkeys(SIDES, missing)))
    return {side: metrics.combine([seed[side] for seed in seeds]) for side in SIDES}


def _paths(cells: Sequence[Cell], of: Facts) -> Json:
    """Of the first seed that finished, or why there are none."""
    for cell in cells:
        found = of(cell.looks.get("target", {}).get("paths"))
        if found:
            why = {"pathless": found["not_evaluable"]} if "not_evaluable" in found else {}
            return {"paths": [{"seed": cell.seed, **path} for path in found["paths"]], **why}
    return {"paths": []}
