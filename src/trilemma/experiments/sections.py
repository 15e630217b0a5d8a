"""Parts of a model's entry in the document that are put together from several seeds. No torch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from trilemma import metrics
from trilemma.experiments.graph import Stage
from trilemma.experiments.plan import Cell

Facts: TypeAlias = Callable[[Stage | None], Mapping[str, Any] | None]
Json: TypeAlias = dict[str, Any]
SECURITY = ("auc", "best_threshold_accuracy", "auc_among_right")
SENSITIVITY = ("mean", "mean_absolute", "noise", "noise_absolute", "influence")


def trained(cells: Sequence[Cell], of: Facts) -> Json:
    """What is not usual in how a model was trained, in words: devices, and which epoch was kept."""
    every = [(cell, of(cell.source) or {}) for cell in cells]
    devices = dict.fromkeys(found["devices"] for _, found in every if "devices" in found)
    said = []
    for cell, found in every:
        if "kept" not in found:
            continue
        history, epoch = found["history"], found["kept"]["epoch"]
        scores = [e["robust_accuracy"] for e in history if e["robust_accuracy"] is not None]
        measured = f"{len(scores)} measured on {found['kept']['rows']} rows"
        if scores:
            measured += f": {max(scores):.1%} right under attack, {scores[-1]:.1%} after the last"
        seed = f"seed {cell.seed}: " if len(cells) > 1 else ""
        said.append(f"{seed}{epoch} of {len(history)} ({measured})")
    about = {"trained on": ", ".join(devices), "epoch kept": "; ".join(said)}
    return {name: words for name, words in about.items() if words}


def cost(cells: Sequence[Cell], of: Facts) -> Json:
    """Parameters and operations of the model, and of those that attackers trained beside it."""
    stages = {part: stage for cell in reversed(cells) for part, stage in cell.costs.items()}
    found = {part: dict(facts) for part, stage in stages.items() if (facts := of(stage))}
    return {"cost": found} if found else {}


def security(cells: Sequence[Cell], of: Facts, why: str) -> Json:
    """How the losses of secure and of insecure non-members differ.

    Args:
        cells: of one model, one a seed.
        of: what a stage found; None where it failed.
        why: there is nothing to say where there are no answers to attacked rows.
    """
    seeds, rows = [], []
    loss: Json = {}
    for cell in cells:
        found = of(cell.security) or {"not_evaluable": why}
        if "not_evaluable" in found:
            seeds.append({name: {"not_evaluable": found["not_evaluable"]} for name in SECURITY})
            continue
        seeds.append(dict(found["metrics"]))
        rows.append({"seed": cell.seed, **found["rows"]})
        if not loss and "loss" in found:
            loss = {"loss": {"seed": cell.seed, **found["loss"]}}
    numbers = {name: metrics.combine([seed[name] for seed in seeds]) for name in SECURITY}
    return {"security": {**numbers, "rows": rows, **loss}}


def by_side(cells: Sequence[Cell], of: Facts) -> Json:
    """Of each attack, over seeds: how often the answers it reads are right, and its mean scores.

    Not of an attack that failed with a seed.
    """
    found: Json = {"answers": {}, "scores": {}}
    for name in dict.fromkeys(name for cell in cells for name in cell.attacks):
        seeds = [facts for cell in cells if (facts := of(cell.attacks.get(name)))]
        if len(seeds) == len(cells):
            for part, fact in (("answers", "accuracy"), ("scores", "scores")):
                each = [facts[fact] for facts in seeds]
                found[part][name] = {
                    side: metrics.combine([numbers[side] for numbers in each]) for side in each[0]
                }
    return {part: named for part, named in found.items() if named}


def certified(cells: Sequence[Cell], of: Facts) -> Json:
    """Shares of certified rows by radius, over seeds; nothing where a seed failed."""
    found: Json = {}
    for id_ in dict.fromkeys(id_ for cell in cells for id_ in cell.certified):
        seeds = [facts for cell in cells if (facts := of(cell.certified.get(id_)))]
        if len(seeds) == len(cells):
            about = {name: seeds[0][name] for name in ("radii", "ball", "rows")}
            shares = {
                part: [
                    metrics.combine(each) for each in zip(*(s[part] for s in seeds), strict=True)
                ]
                for part in ("train", "test")
            }
            found[id_] = about | shares
    return {"certified": found} if found else {}


def sensitivity(cells: Sequence[Cell], of: Facts) -> Json:
    """What leaving members out of the training changes, and each seed's points."""
    if not any(cell.sensitivity or cell.unretrained for cell in cells):
        return {}
    seeds, values = [], []
    for cell in cells:
        found = of(cell.sensitivity)
        if found is None:
            why = cell.unretrained or f"a retraining failed with seed {cell.seed}; see failures"
            seeds.append({name: {"not_evaluable": why} for name in SENSITIVITY})
            continue
        seeds.append(dict(found["metrics"]))
        about = {name: found[name] for name in ("rounds", "points")}
        values.append({"seed": cell.seed, **about, **found["values"]})
    numbers = {name: metrics.combine([seed[name] for seed in seeds]) for name in SENSITIVITY}
    return {"sensitivity": {**numbers, "values": values}}
