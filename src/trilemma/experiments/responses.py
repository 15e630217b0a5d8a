"""What a model answered about members and non-members, and the scores read off it. NumPy only.

Responses are an `Artifact` with the arrays

- `member` (n,) bool, `label` (n,) int64, and one of
- `log_probabilities` (n, k) float64: natural logarithms, from a model of ours,
- `probabilities` (n, k): as somebody recorded them, in their own precision,
- `confidence` (n,): only the probability of the true label; beside it, where that is a lower bound
  over a ball, `log_odds` (n,) float64: of that bound, which may round to 0 or 1 itself, and
  `proven` (n,) bool: no input of the ball takes the true label away.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Floats: TypeAlias = NDArray[Any]  # of some floating type


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


def _of_label(table: Floats, label: NDArray[Any]) -> Floats:
    picked: Floats = table[np.arange(len(label)), label]
    return picked
