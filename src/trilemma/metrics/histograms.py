"""Two samples counted in the same bins."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from trilemma.core.errors import BadInput
from trilemma.metrics.scores import Scores, checked

ROUNDING = 1e-4  # a softmax in float32 may leave [0, 1] by less
NOTHING = 1e-12  # nats; a scale below it tells no two losses apart


def confidence_histogram(
    member_confidence: ArrayLike, nonmember_confidence: ArrayLike, *, bins: int = 50
) -> dict[str, Any]:
    """Confidences in equal bins over [0, 1]; the last bin holds 1 as well.

    Args:
        member_confidence: (n,) probabilities of the true label.
        nonmember_confidence: (m,) likewise.
        bins: how many, >= 1.

    Returns:
        `edges` (bins + 1), `members` and `nonmembers` (bins counts each), as in the document.

    Raises:
        BadInput: confidences outside [0, 1], NaN or none; bins < 1.

    Example:
        >>> confidence_histogram([0.9, 1.0], [0.1], bins=2)
        {'edges': [0.0, 0.5, 1.0], 'members': [0, 2], 'nonmembers': [1, 0]}
    """
    edges = np.linspace(0.0, 1.0, _at_least_one(bins) + 1)
    counts = {}
    for side, values in (("members", member_confidence), ("nonmembers", nonmember_confidence)):
        confidence = checked(values, f"confidences of {side}")
        outside = (confidence < -ROUNDING) | (confidence > 1 + ROUNDING)
        _refuse(confidence, outside, f"confidences of {side}", "a probability in [0, 1]")
        counts[side] = np.histogram(np.clip(confidence, 0.0, 1.0), edges)[0].tolist()
    return {"edges": edges.tolist(), **counts}


def loss_histogram(
    member_loss: ArrayLike, nonmember_loss: ArrayLike, *, bins: int = 50
) -> dict[str, Any]:
    """Losses in equal bins from 0; the last bin is open and also holds the infinite ones.

    The last edge is the 99th percentile of the finite losses of both samples together, so that a
    few extreme rows do not press all others into the first bin.

    Args:
        member_loss: (n,) cross-entropy in nats, >= 0, inf allowed.
        nonmember_loss: (m,) likewise.
        bins: how many, >= 1.

    Returns:
        `edges` (bins + 1, all finite), `members` and `nonmembers` (bins counts each), `open_ended`
        (whether the last bin holds losses above its last edge), `zero_members` and
        `zero_nonmembers` (share of losses that are exactly 0), as in the document.

    Raises:
        BadInput: a negative or NaN loss, or none; bins < 1.

    Example:
        >>> loss_histogram([0.0, 1.0], [2.0, float("inf")], bins=2)["nonmembers"]
        [0, 2]

    Source:
        Song, Shokri and Mittal, CCS 2019, figure 1.
    """
    _at_least_one(bins)
    sides = {"members": member_loss, "nonmembers": nonmember_loss}
    losses = {name: _losses(values, f"losses of {name}") for name, values in sides.items()}
    pooled = np.concatenate(list(losses.values()))
    finite = pooled[np.isfinite(pooled)]
    top = next(edge for edge in _upper_edges(finite) if edge > NOTHING)
    edges = np.linspace(0.0, top, bins + 1)
    return {
        "edges": edges.tolist(),
        **{name: np.histogram(np.minimum(v, top), edges)[0].tolist() for name, v in losses.items()},
        "open_ended": bool((pooled > top).any()),
        **{f"zero_{name}": float((values == 0).mean()) for name, values in losses.items()},
    }


def _upper_edges(losses: Scores) -> Iterator[float]:
    if len(losses):
        yield float(np.quantile(losses, 0.99))
        yield float(losses.max())
    yield 1.0


def _losses(values: ArrayLike, side: str) -> Scores:
    # -log of a probability that rounding put above 1 is a 0, as in `confidence_histogram`
    losses = checked(values, side).astype(np.float64)
    _refuse(losses, losses < -ROUNDING, side, "a loss >= 0 in nats")
    return np.maximum(losses, 0.0)


def _refuse(values: Scores, wrong: Scores, side: str, allowed: str) -> None:
    if wrong.any():
        row = int(wrong.argmax())
        raise BadInput(side, f"row {row} is {values[row]}", f"Give {allowed} for each row")


def _at_least_one(bins: int) -> int:
    if bins < 1:
        raise BadInput("bins", f"is {bins}", "Give 1 bin or more")
    return bins
