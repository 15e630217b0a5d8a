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
