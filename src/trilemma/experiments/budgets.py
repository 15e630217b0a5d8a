"""What the boundary attack finds with fewer queries, and in other norms. NumPy only."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trilemma import metrics
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage

NORMS: Mapping[float, str] = {0: "L0", 1: "L1", 2: "L2", math.inf: "Linf"}
POINTS = 32  # budgets of a curve


@dataclass(frozen=True, kw_only=True)
class Budgets(Stage):
    """AUC of the boundary attack by query budget and by norm, from one run (Li & Zhang 2021).

    Args:
        distances: a stage as `Distances`.
        seed: of the bootstrap.
    """

    REVISION: ClassVar[int] = 1
    distances: Stage
    seed: int = 0
    name: str = field(default="budgets", metadata={"counts": False})

    def label(self) -> str:
        """For progress and failures."""
        return self.name

    def run(self, bench: Bench) -> Artifact:
        """Facts: `budgets` and, for each, an `auc` in the `norm` of the search (figure 9); one in
        each of the `norms` with the whole budget (figure 8); mean `queries` of a row.
        """
        found = bench.load(self.distances)
        arrays, member = found.arrays, found.arrays["member"].astype(bool)

        def auc(distance: NDArray[Any]) -> dict[str, Any]:
            return metrics.auc(distance[member], distance[~member], seed=self.seed).to_json()

        budgets = found.facts["budgets"]
        columns = thinned(len(budgets), POINTS)
        facts = {
            "norm": found.facts["norm"],
            "budgets": [budgets[column] for column in columns],
            "auc": [auc(arrays["trace"][:, column]) for column in columns],
            "norms": {name: auc(arrays[name.lower()]) for name in NORMS.values()},
            "queries": float(arrays["queries"].mean()),
        }
        return Artifact(arrays={}, facts=facts)


def thinned(count: int, most: int) -> list[int]:
    """At most so many of the indices below `count`, evenly, the first and the last among them.

    >>> thinned(7, 4)
    [0, 2, 4, 6]
    """
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})
