"""What single points of the training data change: confidences before and after leaving them out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from trilemma.core.errors import BadInput
from trilemma.metrics.bootstrap import percentile
from trilemma.metrics.estimate import Estimate, check_level
from trilemma.metrics.histograms import ROUNDING
from trilemma.metrics.scores import checked

REPLICATES = 1000
WEIGHTS = 4_000_000  # held in memory at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Sensitivity:
    """Differences of confidences, in [-1, 1]: by the original model, minus by one trained anew.

    Args:
        mean: over points of the sensitivity, where the new training left the point out.
        mean_absolute: likewise of its size; chance alone makes it positive.
        noise: the mean difference where the new training had the point: what training again does.
        noise_absolute: likewise of its size.
        influence: the mean of sensitivity minus noise: how much surer of a point models are that
            were trained on it. The original model drops out.
        left_out: (n,) the sensitivities, ascending.
        stayed: (n,) the differences behind `noise`, ascending.
    """

    mean: Estimate
    mean_absolute: Estimate
    noise: Estimate
    noise_absolute: Estimate
    influence: Estimate
    left_out: NDArray[np.float64]
    stayed: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        """The estimates, by name."""
        return {
            name: value.to_json()
            for name, value in vars(self).items()
            if isinstance(value, Estimate)
        }


def sensitivity(
    original: ArrayLike,
    without: ArrayLike,
    within: ArrayLike,
    *,
    seed: int = 0,
    level: float = 0.95,
) -> Sensitivity:
    """Compare confidences in points before and after these were left out of the training.

        sensitivity(x) = F(x)_y - F'(x)_y,  F' trained without x
        noise(x)       = F(x)_y - F"(x)_y,  F" trained anew with x

    Args:
        original: (n,) confidence of the original model F in each point's label, in [0, 1].
        without: (n,) that of a model trained without the point, otherwise alike.
        within: (n,) that of a model trained anew with the point, otherwise alike.
        seed: of the bootstrap, >= 0.
        level: confidence of the intervals, in (0, 1).

    Returns:
        Means over the points, with bootstrap intervals over the points (the same resampled points
        for all means), and the sorted differences. The order of the points does not matter.
        Points that were left out together share a model; the intervals do not know that.

    Raises:
        BadInput: no points, sides of different length, not numbers in [0, 1]; a level or seed out
            of range.

    Example:
        >>> found = sensitivity([1.0, 0.9], [0.25, 0.4], [1.0, 0.9])
        >>> found.mean.value, found.noise.value, found.left_out.tolist()
        (0.625, 0.0, [0.5, 0.75])

    Source:
        Song, Shokri and Mittal, "Privacy risks of securing machine learning models against
        adversarial examples", CCS 2019, section 5.2.1 and figure 2; the noise is not in it. Efron
        and Tibshirani, "An introduction to the bootstrap", 1993, section 13.3 (percentiles).
    """
    check_level(level)
    if seed < 0:
        raise BadInput("seed", f"is {seed}", "Give a whole number >= 0")
    before, out, stayed_in = _sides(original=original, without=without, within=within)
    changes = np.stack([before - out, before - stayed_in])
    changes = changes[:, np.lexsort(changes)]
    left_out, stayed = changes
    columns = np.stack([left_out, abs(left_out), stayed, abs(stayed), left_out - stayed], axis=1)
    means = _means(columns, np.random.default_rng(seed))
    mean, mean_absolute, noise, noise_absolute, influence = (
        _estimate(column.mean(), drawn, level)
        for column, drawn in zip(columns.T, means.T, strict=True)
    )
    return Sensitivity(
        mean=mean,
        mean_absolute=mean_absolute,
        noise=noise,
        noise_absolute=noise_absolute,
        influence=influence,
        left_out=np.sort(left_out),
        stayed=np.sort(stayed),
    )


def _sides(**confidences: ArrayLike) -> list[NDArray[np.float64]]:
    """Probabilities of the same points; a softmax may leave [0, 1] by its rounding."""
    sides = []
    for name, values in confidences.items():
        found = checked(values, f"confidences {name}").astype(np.float64)
        wrong = (found < -ROUNDING) | (found > 1 + ROUNDING)
        if wrong.any():
            first = int(wrong.argmax())
            raise BadInput(
                f"confidences {name}",
                f"hold {found[first]:g} at row {first}",
                "Give probabilities in [0, 1]",
            )
        sides.append(found.clip(0.0, 1.0))
    lengths = [len(side) for side in sides]
    if len(set(lengths)) > 1:
        raise BadInput("confidences", f"are of {lengths} points", "Give each model's of all points")
    return sides


def _means(columns: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    """(REPLICATES, c) means of the columns over points drawn with replacement."""
    n = len(columns)
    size = max(1, WEIGHTS // n)
    parts = [
        rng.multinomial(n, np.full(n, 1 / n), size=min(size, REPLICATES - start)) @ columns
        for start in range(0, REPLICATES, size)
    ]
    means: NDArray[np.float64] = np.concatenate(parts) / n
    return means


def _estimate(value: np.float64, means: NDArray[np.float64], level: float) -> Estimate:
    """Rounding must not leave the interval."""
    low, high = percentile(means, level)
    found = float(value)
    return Estimate(found, min(low, found), max(high, found), level)
