"""Parts of made-up audit documents."""

from typing import Any

import numpy as np

Json = dict[str, Any]


def estimate(value: float, half: float, low: float = 0.0, high: float = 1.0) -> Json:
    return {
        "value": value,
        "low": max(low, value - half),
        "high": min(high, value + half),
        "level": 0.95,
    }


def combined(seeds: list[Json]) -> Json:
    """The mean, the widest interval, and each seed."""
    if any("not_evaluable" in seed for seed in seeds):
        return next(seed for seed in seeds if "not_evaluable" in seed)
    ends = [seed["high"] for seed in seeds]
    return {
        "value": sum(seed["value"] for seed in seeds) / len(seeds),
        "low": min(seed["low"] for seed in seeds),
        "high": None if None in ends else max(ends),
        "level": 0.95,
        **({"seeds": seeds} if len(seeds) > 1 else {}),
    }


def certified(value: float, radius: float, norm: str) -> Json:
    """Shares that reach `value` at the declared radius, of fewer rows than there are."""
    multiples = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0]
    shares = [max(0.0, 0.95 - (0.95 - value) * multiple) for multiple in multiples]
    return {
        "radii": [radius * multiple for multiple in multiples],
        "ball": {"kind": norm, "radius": radius},
        "rows": {"members": 256, "nonmembers": 300},
        "train": [combined([estimate(share + 0.04, 0.03)] * 3) for share in shares],
        "test": [combined([estimate(share, 0.04)] * 3) for share in shares],
    }


def security(value: float) -> Json:
    """Secure rows at small losses, insecure ones spread out."""
    edges = np.linspace(0, 3, 13).tolist()
    secure, insecure = [150, 40, 10, *[0] * 9], [8, 9, 10, 9, 8, *[8] * 7]
    return {
        "auc": combined([estimate(value, 0.04)] * 3),
        "best_threshold_accuracy": combined([estimate(value - 0.05, 0.04)] * 3),
        "auc_among_right": {"not_evaluable": "0 secure and 9 insecure rows"},
        "rows": [{"seed": seed, "secure": 200, "insecure": 100, "wrong": 22} for seed in range(3)],
        "loss": {
            **{"seed": 0, "edges": edges, "secure": secure, "insecure": insecure},
            **{"open_ended": True, "zero_secure": 0.1, "zero_insecure": 0.0},
        },
    }


def budgets(value: float) -> Json:
    """AUC that rises with the queries, L0 below the other norms."""
    asked = [1, 3, 10, 30, 100, 300, 1000, 2500]
    rise = [value * place / (len(asked) - 1) for place in range(len(asked))]
    return {
        "norm": "L2",
        "queries": 2400.5,
        "budgets": asked,
        "auc": [combined([estimate(0.5 + each, 0.03)] * 3) for each in rise],
        "norms": {
            norm: combined([estimate(0.5 + part * value, 0.03)] * 3)
            for norm, part in (("L0", 0.4), ("L1", 0.95), ("L2", 1.0), ("Linf", 0.98))
        },
    }


def regions(ends: list[float], split: int = 7) -> Json:
    """A lower and an upper half, the latter cut in two."""
    rows = [[0, 10] for _ in range(5)] + [[1, split, 2, 10 - split] for _ in range(5)]
    low, high = ends
    names = [[(low + high) / 2, low + 0.25 * (high - low), 0], [low, high, 1], [high, high, 2]]
    return {"x": ends, "y": ends, "rows": rows, "names": names}


def look(value: float, seed: int) -> Json:
    """Members surer than non-members."""
    rng = np.random.default_rng(seed)
    shown = []
    for member, sure, label, predicted in ((1, 6, 0, 0), (0, 2, 0, 0), (1, 5, 2, 2), (0, 1, 2, 1)):
        losses = (sure * value + rng.random(3)).round(4)
        losses[predicted] = 0.01
        others = [each for place, each in enumerate(losses.tolist()) if place != predicted]
        row = {"member": bool(member), "label": label, "predicted": predicted}
        shown.append({**row, "losses": losses.tolist(), "ace": sum(others) / 2})
    shown[0]["losses"][1] = shown[0]["ace"] = None
    edges = np.linspace(0, 2, 5).tolist()
    count = 30
    return {
        "ace": {
            "train": combined([estimate(6 * value, 0.5, high=99)] * 3),
            "test": combined([estimate(2 * value, 0.5, high=99)] * 3),
        },
        "distance": {
            "train": combined([estimate(3 * value, 0.5, high=99)] * 3),
            "test": combined([estimate(2 * value, 0.5, high=99)] * 3),
        },
        "answers": {
            "seed": 0,
            "loss": {"edges": edges, "members": [28, 2, 0, 0], "nonmembers": [12, 6, 6, 6]},
            "shown": shown,
        },
        "features": {
            "seed": 0,
            "features": 100,
            "random": 1000,
            "regions": regions([0, 1000]),
            "x": rng.integers(1000, size=count).tolist(),
            "y": rng.integers(1000, size=count).tolist(),
            "member": [1] * 15 + [0] * 15,
            "label": (np.arange(count) % 3).tolist(),
            "predicted": [(n + (n % 7 == 6)) % 3 for n in range(count)],
        },
    }


def path(search: str) -> Json:
    """A search that comes down along one axis."""
    steps = [4.0, 2.0, 1.5, 1.0]
    return {
        **{"seed": 0, "row": 12, "label": 0, "search": search, "norm": "L2", "spent": 600},
        "queries": [2, 30, 200, 555],
        "distance": steps,
        "along": [1.0, 1.0, 1.0, 1.0],
        "across": [3.0, 1.5, 0.5, 0.0],
        "aside": [1.5, 0.6, 0.2, 0.0],
        "plane": regions([-2.0, 4.0]),
    }


def looks() -> list[Json]:
    """Of one model all that can be seen, of the next less, of the last nothing."""
    sides = {which: look(value, 3) for which, value in (("target", 2), ("copy", 1), ("shadow", 3))}
    missing = {**path("QEBA"), "not_evaluable": "no point with another label was found"}
    natural = {"sides": sides, "paths": [path("HopSkipJump"), missing]}
    why = {"not_evaluable": "model has no last linear layer that decides the label"}
    side = look(1.5, 4)
    side |= {"features": {"seed": 0, **why}, "distance": dict.fromkeys(side["ace"], why)}
    robust = {"sides": {"target": side}, "paths": []}
    own = {"sides": {}, "paths": [], "not_evaluable": "it takes the model and its inputs"}
    return [
        {"analysis": natural, "budgets": {"confidence": budgets(0.1)}},
        {"analysis": robust, "budgets": {"confidence": budgets(0.3)}},
        {"analysis": own},
    ]
