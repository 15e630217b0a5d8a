"""What thieves got, as part of a model's entry in the document. No torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from trilemma import metrics
from trilemma.experiments.closer import Facts, Json
from trilemma.experiments.plan import Cell

STEAL, CRAFT = "steal", "craft"
BENIGN, ADVERSARIAL, UNDER = "benign", "adversarial", "under"
STUDENTS = ("final", "best")
PLAIN = ("accuracy", "fidelity", "of_accuracy")
ATTACKED = (*PLAIN, "steady", "agreement", "to_victim", "from_victim")
BESIDE = "random"  # what a thief of random queries is called


def extraction(cells: Sequence[Cell], of: Facts) -> Json:
    """Each thief's students over seeds, beside those of random queries."""
    why = next((cell.unstolen for cell in cells if cell.unstolen), "")
    if why:
        return {"extraction": {"thieves": {}, "not_evaluable": why}}
    names = dict.fromkeys(name for cell in cells for name in cell.thefts)
    if not names:
        return {}
    price = next((cell.price for cell in cells if cell.price is not None), None)
    told = {"price": price} if price is not None else {}
    thieves = {name: _thief(name, cells, of) for name in names}
    return {"extraction": {**told, "thieves": thieves, **_exchanged(cells, of)}}


def _thief(name: str, cells: Sequence[Cell], of: Facts) -> Json:
    own, other = _student(name, "", cells, of), _student(name, f"{BESIDE}_", cells, of)
    timed = of(cells[0].thefts[name].get(CRAFT))
    return {**own, **({"crafting": dict(timed)} if timed else {}), BESIDE: other}


def _student(name: str, start: str, cells: Sequence[Cell], of: Facts) -> Json:
    """One thief's students, or why there are none."""
    every = [cell.thefts[name] for cell in cells]
    seeds: list[dict[str, Mapping[str, Any]]] = []
    for cell, stages in zip(cells, every, strict=True):
        told = {part: of(stages[f"{start}{part}"]) for part in _parts(stages)}
        seeds.append({part: facts for part, facts in told.items() if facts})
        if len(seeds[-1]) < len(told):
            return {"not_evaluable": f"the theft failed with seed {cell.seed}; see failures"}
    thefts = [seed.pop(STEAL) for seed in seeds]
    found = _asked(thefts, cells[0].seed)
    for part in seeds[0]:
        compared = _compared([seed[part] for seed in seeds], PLAIN if part == BENIGN else ATTACKED)
        if part.startswith(UNDER):
            found.setdefault(UNDER, {})[part.removeprefix(f"{UNDER}.")] = compared
        else:
            found[part] = compared
    return found


def _asked(thefts: Sequence[Mapping[str, Any]], seed: int) -> Json:
    """What was asked, and what was seen on the way: that of the first seed."""
    first = thefts[0]
    return {
        "pool": first["pool"],
        "queries": sum(theft["spent"] for theft in thefts) / len(thefts),
        "limit": first["limit"],
        "looks": {
            "seed": seed,
            "best": first["best"],
            "published": first["published"],
            "passes": first["looks"],
        },
        "published": _published(thefts),
        **({"guard": _guarded(thefts)} if "guard" in first else {}),
    }


def _guarded(thefts: Sequence[Mapping[str, Any]]) -> Json:
    """What a detector noticed of the thief, and of a normal user; curves are the first seed's."""
    guards = [theft["guard"] for theft in thefts]
    found: Json = {
        "detector": guards[0]["detector"],
        "accounts": _counted([guard["accounts"] for guard in guards]),
        "stopped": [theft["stopped"] for theft in thefts],
    }
    for who in ("thief", "user"):
        found[who] = {
            number: _counted([guard[who][number] for guard in guards]) for number in guards[0][who]
        }
    further = {"detector", "accounts", "thief", "user"}
    return found | {name: each for name, each in guards[0].items() if name not in further}


def _counted(seeds: Sequence[float | int | None]) -> Json:
    """A number that no choice of rows makes uncertain; between seeds it may differ."""
    numbers = [each for each in seeds if each is not None]
    if len(numbers) < len(seeds):
        none = f"it did not happen with {len(seeds) - len(numbers)} of {len(seeds)} seeds"
        return {"not_evaluable": none}
    level = metrics.rate(0, 1).level
    each = [{"value": n, "low": n, "high": n, "level": level} for n in map(float, numbers)]
    return metrics.combine(each)


def _published(thefts: Sequence[Mapping[str, Any]]) -> Json:
    """The student that is best on the rows it is judged on, as the paper reports it."""
    chosen = [theft["looks"][theft["published"]]["test"] for theft in thefts]
    rows = [theft["judged"] for theft in thefts]
    return {
        number: metrics.combine(
            [
                metrics.rate(round(each[number] * n), n).to_json()
                for each, n in zip(chosen, rows, strict=True)
            ]
        )
        for number in chosen[0]
    }


def _parts(stages: Mapping[str, Any]) -> list[str]:
    return [part for part in stages if part != CRAFT and not part.startswith(f"{BESIDE}_")]


def _compared(seeds: Sequence[Mapping[str, Any]], numbers: Sequence[str]) -> Json:
    found: Json = {"rows": seeds[0]["rows"]}
    for whole in ("victim", "overfitting"):
        found[whole] = metrics.combine([seed[whole] for seed in seeds])
    for which in STUDENTS:
        found[which] = {
            number: metrics.combine([seed[which][number] for seed in seeds]) for number in numbers
        }
    return found


def _exchanged(cells: Sequence[Cell], of: Facts) -> Json:
    """Accuracy of each model on each one's adversarial examples; nothing where a seed failed."""
    seeds = [found["accuracy"] for cell in cells if (found := of(cell.exchange))]
    if not seeds or len(seeds) < len(cells):
        return {}
    return {
        "transfer": {
            maker: {tried: metrics.combine([seed[maker][tried] for seed in seeds]) for tried in row}
            for maker, row in seeds[0].items()
        }
    }
