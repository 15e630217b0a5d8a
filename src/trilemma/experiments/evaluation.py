"""From responses to numbers: metrics with their intervals, accuracies, curves. NumPy only."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from trilemma import metrics
from trilemma.experiments import responses
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.selftests import null_run

FPRS = (0.1, 0.01, 0.001)
PRIORS = (0.5, 0.1, 0.01)
BINS = 50


@dataclass(frozen=True, kw_only=True)
class Evaluate(Stage):
    """Membership inference by a threshold: on an attack's scores, or on the confidence.

    Facts: `metrics` (ids as in the audit document), `accuracy` of members and non-members,
    `curves`, and the null run's check.
    """

    REVISION: ClassVar[int] = 1
    responses: Stage
    scores: Stage | None = None
    seed: int = 0
    name: str = field(default="evaluate", metadata={"counts": False})

    def label(self) -> str:
        """For progress and failures."""
        return self.name

    def run(self, bench: Bench) -> Artifact:
        """Measure, with curves of the responses' confidences and losses."""
        answers = bench.load(self.responses).arrays
        scores = bench.load(self.scores).arrays["score"] if self.scores else None
        return Artifact(arrays={}, facts=evaluate(answers, scores, self.seed))


def evaluate(
    answers: responses.Arrays, scores: responses.Floats | None, seed: int
) -> dict[str, Any]:
    """Everything the report says about one attack on one model with one seed.

    Args:
        answers: see `responses`.
        scores: the attack's, one a row; None takes the confidence of the true label.
    """
    member = answers["member"].astype(bool)
    sure = responses.confidence(answers)
    scores = sure if scores is None else scores
    leak = metrics.membership(scores[member], scores[~member], seed=seed)
    loss = responses.loss(answers)
    return {
        "metrics": metrics.to_json(leak, fprs=FPRS, priors=PRIORS),
        "accuracy": accuracy(answers),
        "rows": {"members": int(member.sum()), "nonmembers": int((~member).sum())},
        "curves": {
            "roc": metrics.thin(leak.curve).to_json(),
            "histogram": metrics.confidence_histogram(sure[member], sure[~member], bins=BINS),
            "loss": metrics.loss_histogram(loss[member], loss[~member], bins=BINS),
        },
        "null": null_run(scores[~member], seed),
    }


def accuracy(answers: responses.Arrays) -> dict[str, Any]:
    """Share of correct answers among members (`train`) and non-members (`test`)."""
    right = responses.correct(answers)
    if right is None:
        why = metrics.NotEvaluable("only confidences were recorded, not whole predictions")
        return {"train": why.to_json(), "test": why.to_json()}
    member = answers["member"].astype(bool)
    return {
        "train": metrics.accuracy(np.asarray(right[member])).to_json(),
        "test": metrics.accuracy(np.asarray(right[~member])).to_json(),
    }
