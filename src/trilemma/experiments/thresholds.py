"""What a boundary attack finds by a threshold that no labelled row was needed for. NumPy only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trilemma import metrics
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.evaluation import PRIORS
from trilemma.experiments.graph import Bench, Stage

SAME = ("percentiles", "percentile", "budget")  # with every seed
PERCENTILES = tuple(range(0, 101, 10))  # of the paper's figure 11
NONE = "the label of no random image could be turned"


@dataclass(frozen=True, kw_only=True)
class ByImages(Stage):
    """A threshold on the distance to the boundary, from the distances of random images.

    Args:
        distances: of the rows, as `Distances`.
        images: their distances, as `RandomImages`.
        percentile: from the top.
    """

    REVISION: ClassVar[int] = 1
    distances: Stage
    images: Stage
    percentile: float
    name: str = field(default="judge by random images", metadata={"counts": False})

    def label(self) -> str:
        """For progress and failures."""
        return self.name

    def run(self, bench: Bench) -> Artifact:
        """Facts: as `judged`; `prepared` queries, and the `f1` of each of `percentiles`.

        Nothing but `prepared` and `not_evaluable` where no image tells anything.
        """
        found, images = bench.load(self.distances).arrays, bench.load(self.images)
        about = {"prepared": images.facts["queries"]}
        queue = np.sort(images.arrays["distance"][np.isfinite(images.arrays["distance"])])[::-1]
        if not len(queue):
            return Artifact(facts={**about, "not_evaluable": NONE})
        member, score = found["member"].astype(bool), found["score"]
        each = [judged(score, member, entry(queue, percentile))["f1"] for percentile in PERCENTILES]
        curve = {"percentiles": list(PERCENTILES), "f1_by_percentile": each}
        facts = judged(score, member, entry(queue, self.percentile))
        return Artifact(facts={**facts, **about, "percentile": self.percentile, **curve})


@dataclass(frozen=True, kw_only=True)
class ByDecisions(Stage):
    """What early decisions say of the rows, and what they saved.

    Args:
        decisions: as `Decide`.
    """

    REVISION: ClassVar[int] = 1
    decisions: Stage
    name: str = field(default="judge by early decisions", metadata={"counts": False})

    def label(self) -> str:
        """For progress and failures."""
        return self.name

    def run(self, bench: Bench) -> Artifact:
        """Facts: as `judged`; `prepared` queries, `budget` of a row, mean `queries` of one, share
        `saved` of what whole searches cost, share of rows that are `certain`.
        """
        found = bench.load(self.decisions)
        arrays, member = found.arrays, found.arrays["member"].astype(bool)
        spent, saved = int(arrays["queries"].sum()), int(arrays["saved"].sum())
        facts = {
            **judged(arrays["score"], member, found.facts["bound"]),
            "prepared": found.facts["prepared"],
            "budget": found.facts["budget"],
            "queries": spent / len(member),
            "saved": saved / (spent + saved),
            "certain": float(arrays["certain"].mean()),
        }
        return Artifact(facts=facts)


def entry(queue: NDArray[np.float64], percentile: int | float) -> float:
    """The distance at the top t percent of a queue in descending order.

    As `attacks.membership.top_percentile` has it.

    >>> entry(np.array([4.0, 3.0, 2.0, 1.0]), 50)
    3.0
    """
    return float(queue[max(1, int(np.ceil(percentile * len(queue) / 100))) - 1])


def judged(score: NDArray[np.float64], member: NDArray[np.bool_], bound: float) -> dict[str, Any]:
    """What calling rows members finds whose score is larger than a bound that was fixed before.

    `threshold`; `accuracy` (balanced), `tpr`, `fpr` and `f1`, and the `precision` at priors.
    """
    flagged = metrics.Flagged(
        hits=int((score[member] > bound).sum()),
        members=int(member.sum()),
        alarms=int((score[~member] > bound).sum()),
        nonmembers=int((~member).sum()),
    )
    found = {
        "accuracy": flagged.balanced_accuracy(),
        "tpr": flagged.tpr(),
        "fpr": flagged.fpr(),
        "f1": flagged.f1(),
        **{f"precision_at_prior_{p:g}": metrics.precision_at(flagged, p) for p in PRIORS},
    }
    return {"threshold": bound, **{name: each.to_json() for name, each in found.items()}}


def over_seeds(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The same over seeds: estimates combined, counts and shares averaged."""
    found: dict[str, Any] = {}
    for name, first in facts[0].items():
        each = [seed[name] for seed in facts]
        if isinstance(first, dict):
            found[name] = metrics.combine(each)
        elif name == "f1_by_percentile":
            found[name] = [metrics.combine(column) for column in zip(*each, strict=True)]
        else:
            found[name] = first if name in SAME else sum(each) / len(each)
    return found
