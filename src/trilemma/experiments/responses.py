"""What a model answered about members and non-members, and the scores read off it. NumPy only.

Responses are an `Artifact` with the arrays

- `member` (n,) bool, `label` (n,) int64, and one of
- `log_probabilities` (n, k) float64: natural logarithms, from a model of ours,
- `probabilities` (n, k): as somebody recorded them, in their own precision,
- `confidence` (n,): only the probability of the true label; beside it, where that is a lower bound
  over a ball, `log_odds` (n,) float64: of that bound, which may round to 0 or 1 itself, and
  `proven` (n,) bool: no input of the ball takes the true label away.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Floats: TypeAlias = NDArray[Any]  # of some floating type
LEAST = 1e-9  # of a probability that was told, in its log-odds


def confidence(answers: Arrays) -> Floats:
    """F(x)_y, the probability of the true label (Song et al. 2019, eq. 17), as it was recorded."""
    if "confidence" in answers:
        return answers["confidence"]
    if "probabilities" in answers:
        return _of_label(answers["probabilities"], answers["label"])
    return np.exp(_of_label(answers["log_probabilities"], answers["label"]))


def score(answers: Arrays) -> Floats:
    """What a threshold for members is put on: the confidence, or its log-odds where they are."""
    return answers["log_odds"] if "log_odds" in answers else confidence(answers)


def log_odds(answers: Arrays) -> Floats:
    """log p / (1 - p) of the probability p of the true label, which no rounding to 0 or 1 bounds.

    Of responses with `log_odds` or `log_probabilities`; of `probabilities` it is bounded, since
    some are 0 or 1 as they were told.
    """
    if "log_odds" in answers:
        return answers["log_odds"]
    if "probabilities" in answers:
        p = confidence(answers).astype(np.float64).clip(LEAST, 1 - LEAST)
        return np.asarray(np.log(p) - np.log1p(-p))
    logs, label = answers["log_probabilities"], answers["label"]
    others = logs.copy()
    others[np.arange(len(label)), label] = -np.inf
    found: Floats = _of_label(logs, label) - np.logaddexp.reduce(others, axis=1)
    return found


def statistic(answers: Arrays, name: str) -> Floats | None:
    """A statistic of the answers as `attacks.membership.statistics` has it, by its class's name.

    None where only confidences are there, without the rest of the answers.
    """
    for given in ("log_probabilities", "probabilities"):
        if given in answers:
            with np.errstate(divide="ignore"):
                logs = answers[given] if given[0] == "l" else np.log(answers[given])
            return STATISTICS[name](logs.astype(np.float64), answers["label"])
    return None


def loss(answers: Arrays) -> Floats:
    """Cross-entropy -log F(x)_y in nats; infinite where the probability is 0."""
    if "log_odds" in answers:
        return np.logaddexp(0, -answers["log_odds"])
    if "log_probabilities" in answers:
        return -_of_label(answers["log_probabilities"], answers["label"])
    with np.errstate(divide="ignore"):
        return -np.log(confidence(answers).astype(np.float64)) + 0.0  # no minus zero


def correct(answers: Arrays) -> NDArray[np.bool_] | None:
    """Whether the first of the most probable classes is the label (or it is proven that it is, all
    over a ball); None if only confidences are there.
    """
    if "proven" in answers:
        return np.asarray(answers["proven"].astype(bool))
    for name in ("log_probabilities", "probabilities"):
        if name in answers:
            return np.asarray(answers[name].argmax(1) == answers["label"])
    return None


def _entropy(logs: Floats, label: NDArray[Any]) -> Floats:
    found: Floats = _product(np.exp(logs), logs).sum(1) / np.log(logs.shape[1])
    return found


def _modified_entropy(logs: Floats, label: NDArray[Any]) -> Floats:
    p, own = np.exp(logs), np.arange(logs.shape[1]) == label[:, None]
    with np.errstate(divide="ignore"):
        others = np.log(-np.expm1(logs))  # log(1 - p)
    found: Floats = np.where(own, _product(1 - p, logs), _product(p, others)).sum(1)
    return found


def _product(weight: Floats, logs: Floats) -> Floats:
    """0 where the weight is, even if the logarithm is infinite."""
    with np.errstate(invalid="ignore"):
        return np.where(weight == 0, 0.0, weight * logs)


def _of_label(table: Floats, label: NDArray[Any]) -> Floats:
    picked: Floats = table[np.arange(len(label)), label]
    return picked


STATISTICS: Mapping[str, Callable[[Floats, NDArray[Any]], Floats]] = {
    "Loss": _of_label,
    "MaxConfidence": lambda logs, label: logs.max(1),
    "Entropy": _entropy,
    "ModifiedEntropy": _modified_entropy,
}
