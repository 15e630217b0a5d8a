"""From responses to numbers: metrics with their intervals, accuracies, curves. NumPy only."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trilemma import metrics
from trilemma.core.errors import BadInput
from trilemma.experiments import responses
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.fitting import FITTING, fitting_rows
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.selftests import null_run

Scores: TypeAlias = responses.Floats
MASKED = 5  # points by which accuracy under a gradient attack may exceed that under AutoAttack
FPRS = (0.1, 0.01, 0.001)
PRIORS = (0.5, 0.1, 0.01)
WHOLE = "Record whole answers, (n, classes) probabilities"
PRECISE = 0.01  # the false positive rate at which a shadow's threshold is asked for its precision
BINS = 50


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What an attack's scores are read from.

    Args:
        responses: a model's answers.
        scores: the attack's own scores of these rows, or of some of them (`row`); None where they
            are those of the responses (`responses.score`).
    """

    responses: Stage
    scores: Stage | None = None

    def read(self, bench: Bench) -> tuple[dict[str, Any], Scores, dict[str, Any]]:
        """The answers about the judged rows, their scores, and what the attack says of itself."""
        answers = dict(bench.load(self.responses).arrays)
        if self.scores is None:
            return answers, responses.score(answers), {}
        found = bench.load(self.scores)
        if "row" in found.arrays:
            answers = {name: array[found.arrays["row"]] for name, array in answers.items()}
        return answers, found.arrays["score"], dict(found.facts)


@dataclass(frozen=True, kw_only=True)
class ReadStatistic(Stage):
    """Scores that are a statistic of a model's answers.

    Args:
        statistic: as `responses.statistic` knows it.
    """

    REVISION: ClassVar[int] = 1
    responses: Stage
    statistic: str
    name: str = field(default="model", metadata={"counts": False})

    def label(self) -> str:
        """For progress and failures."""
        return f"read {self.statistic} off {self.name}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays `member` and `score` (n,).

        Raises:
            BadInput: only confidences were recorded.
        """
        answers = bench.load(self.responses).arrays
        scores = responses.statistic(answers, self.statistic)
        if scores is None:
            raise BadInput(
                self.name, f"has no {self.statistic}: only confidences were recorded", WHOLE
            )
        return Artifact(arrays={"member": answers["member"], "score": scores}, facts={})


@dataclass(frozen=True, kw_only=True)
class Evaluate(Stage):
    """Membership inference by a threshold: on an attack's scores, or on the confidence.

    Facts: `metrics` (ids as in the audit document), `labels` (the accuracy on each label's rows),
    `accuracy` of members and non-members, the mean `scores` of both, `curves`, the null run's
    check, and, of an attack that learns from some rows, `fitted`: from how many of each label.
    """

    REVISION: ClassVar[int] = 3
    responses: Stage
    scores: Stage | None = None
    seed: int = 0
    name: str = field(default="evaluate", metadata={"counts": False})

    def label(self) -> str:
        """For progress and failures."""
        return self.name

    def run(self, bench: Bench) -> Artifact:
        """Measure, with curves of the responses' confidences and losses."""
        asked = Asked(responses=self.responses, scores=self.scores)
        answers, scores, about = asked.read(bench)
        found = evaluate(answers, scores, self.seed, threshold=about.get("threshold"))
        fitted = {"fitted": about["fitted"]} if "fitted" in about else {}
        return Artifact(arrays={}, facts=found | fitted)


def evaluate(
    answers: responses.Arrays,
    scores: responses.Floats | None,
    seed: int,
    *,
    threshold: float | None = None,
) -> dict[str, Any]:
    """Everything the report says about one attack on one model with one seed.

    Args:
        answers: see `responses`.
        scores: the attack's, one a row; None takes those of the answers (`responses.score`).
        threshold: from which on an attack that learnt its own rules calls rows members.
    """
    member = answers["member"].astype(bool)
    sure = responses.confidence(answers)
    scores = responses.score(answers) if scores is None else scores
    by_label = _by_label(answers, scores, seed, threshold)
    leak = metrics.membership(scores[member], scores[~member], seed=seed)
    loss = responses.loss(answers)
    return {
        "metrics": {
            **metrics.to_json(leak, fprs=FPRS, priors=PRIORS),
            "class_threshold_accuracy": by_label["overall"],
        },
        "labels": by_label["labels"],
        "accuracy": accuracy(answers),
        "scores": {
            "train": metrics.mean(scores[member]).to_json(),
            "test": metrics.mean(scores[~member]).to_json(),
        },
        "rows": {"members": int(member.sum()), "nonmembers": int((~member).sum())},
        "curves": {
            "roc": metrics.thin(leak.curve).to_json(),
            "histogram": metrics.confidence_histogram(sure[member], sure[~member], bins=BINS),
            "loss": metrics.loss_histogram(loss[member], loss[~member], bins=BINS),
        },
        "null": null_run(scores[~member], seed),
    }


def _by_label(
    answers: responses.Arrays, scores: responses.Floats, seed: int, threshold: float | None
) -> dict[str, Any]:
    """Accuracies of a rule for each label: the attack's own, or a threshold fitted on some rows."""
    if "label" not in answers:
        why = metrics.NotEvaluable("only confidences were recorded, without labels")
        return {"overall": why.to_json(), "labels": {}}
    member, label = answers["member"].astype(bool), answers["label"]
    if threshold is not None:
        return metrics.class_decisions(scores, label, member, threshold=threshold).to_json()
    known = fitting_rows(member, label, FITTING, seed)
    return metrics.class_thresholds(scores, label, member, known).to_json()


@dataclass(frozen=True, kw_only=True)
class Transfer(Stage):
    """A threshold chosen on a shadow model's rows, judged on the target's.

    Facts: `accuracy` (a metric), `shadow_accuracy` of the threshold where it was chosen,
    `threshold`, and `operating`: metrics of the thresholds that have a low false positive rate
    among rows like the shadow model's, by the ids of `methods.OPERATING`.
    """

    REVISION: ClassVar[int] = 3
    target: Asked
    shadow: Asked
    name: str = field(default="transfer", metadata={"counts": False})

    def label(self) -> str:
        """For progress and failures."""
        return self.name

    def run(self, bench: Bench) -> Artifact:
        """Choose and judge."""
        sides = []
        for asked in (self.shadow, self.target):
            answers, scores, _ = asked.read(bench)
            member = answers["member"].astype(bool)
            sides.append((scores[member], scores[~member]))
        (known, others), target = sides
        found = metrics.transferred_threshold(known, others, *target)
        facts = {
            "accuracy": found.accuracy().to_json(),
            "shadow_accuracy": found.shadow_accuracy,
            "threshold": float(found.threshold),
            "operating": _operating(others, *target),
        }
        return Artifact(arrays={}, facts=facts)


def _operating(
    shadow: responses.Floats, members: responses.Floats, nonmembers: responses.Floats
) -> dict[str, Any]:
    """What is found at false positive rates that are fixed on a shadow model's non-members."""

    def at(fpr: float) -> metrics.Flagged | metrics.NotEvaluable:
        fixed = metrics.transferred_rate(shadow, members, nonmembers, fpr)
        return fixed if isinstance(fixed, metrics.NotEvaluable) else fixed.flagged

    return operating(at)


def operating(at: Callable[[float], metrics.Flagged | metrics.NotEvaluable]) -> dict[str, Any]:
    """What thresholds find that were fixed at false positive rates: `methods.OPERATING`.

    Args:
        at: what the threshold for a rate flags among the target's rows.
    """
    found: dict[str, metrics.Metric] = {}
    for fpr in FPRS:
        flagged = at(fpr)
        if isinstance(flagged, metrics.NotEvaluable):
            found |= dict.fromkeys(_fixed_at(fpr), flagged)
            continue
        numbers: list[metrics.Metric] = [flagged.tpr(), flagged.fpr()]
        numbers += [metrics.precision_at(flagged, prior) for prior in PRIORS]
        found |= dict(zip(_fixed_at(fpr), numbers, strict=False))
    return {name: metric.to_json() for name, metric in found.items()}


def _fixed_at(fpr: float) -> list[str]:
    """Ids of what is found at a rate; the precision is asked for at one of them."""
    ids = [f"shadow_{rate}_at_fpr_{fpr:g}" for rate in ("tpr", "fpr")]
    return ids + [f"shadow_precision_at_prior_{p:g}" for p in PRIORS if fpr == PRECISE]


@dataclass(frozen=True, kw_only=True)
class Compare(Stage):
    """Accuracy under a costly attack, beside that under a gradient attack on the same rows.

    Args:
        gradient: responses of all rows under the gradient attack.
        thorough: responses of some of them under the costly one, with `row`.
        names: of the two attacks, for people.
    """

    REVISION: ClassVar[int] = 1
    gradient: Stage
    thorough: Stage
    names: tuple[str, str]
    name: str = field(default="compare", metadata={"counts": False})

    def label(self) -> str:
        """For progress and failures."""
        return self.name

    def run(self, bench: Bench) -> Artifact:
        """Facts: `accuracy` and `rows` under the costly attack, `masking` (a check)."""
        gradient, thorough = (bench.load(each).arrays for each in (self.gradient, self.thorough))
        return Artifact(arrays={}, facts=compare(gradient, thorough, self.names))


def compare(
    gradient: responses.Arrays, thorough: responses.Arrays, names: tuple[str, str]
) -> dict[str, Any]:
    """Whether the gradient attack misses adversarial examples that the costly one finds.

    Args:
        gradient: answers about all rows, see `responses`.
        thorough: answers about the rows `row` of those.
        names: of the attacks.
    """
    member, row = thorough["member"].astype(bool), thorough["row"]
    same = {name: array[row] for name, array in gradient.items()}
    sides = {"train": member, "test": ~member}
    rows = {part: int(side.sum()) for part, side in sides.items()}
    more = _right(same).astype(int) - _right(thorough)
    points = {part: 100 * int(more[side].sum()) / rows[part] for part, side in sides.items()}
    masked = any(100 * int(more[side].sum()) > MASKED * rows[part] for part, side in sides.items())
    found = {names[0]: accuracy(same), names[1]: accuracy(thorough)}
    shares = {part: [100 * found[attack][part]["value"] for attack in names] for part in sides}
    said = (
        "accuracy on {} training rows is {:.2f} % under {} and {:.2f} % under {};"
        " on {} test rows {:.2f} % and {:.2f} %."
    ).format(
        *(rows["train"], shares["train"][0], names[0], shares["train"][1], names[1]),
        *(rows["test"], *shares["test"]),
    )
    return {
        "accuracy": found[names[1]],
        "rows": {"autoattack_members": rows["train"], "autoattack_nonmembers": rows["test"]},
        "masking": {
            "status": "warn" if masked else "pass",
            "summary": said,
            "details": {
                "rows": rows,
                "accuracy": {
                    attack: {part: found[attack][part]["value"] for part in sides}
                    for attack in names
                },
                "points": points,
                "limit": MASKED,
            },
        },
    }


def _right(answers: responses.Arrays) -> NDArray[np.bool_]:
    """Which answers are right; of a model that was asked they are whole."""
    right = responses.correct(answers)
    assert right is not None  # noqa: S101  # as the docstring says
    return right


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
