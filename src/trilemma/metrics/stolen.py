"""How much of a victim a student has: of its accuracy, its robustness, its answers."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from trilemma.core.errors import BadInput
from trilemma.metrics.estimate import Estimate, Metric, NotEvaluable, check_level
from trilemma.metrics.rates import accuracy

DRAWS = 4000  # of the posterior of a ratio


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """A student beside its victim on rows that neither has seen.

    Args:
        accuracy: of the student, against the labels (CA).
        fidelity: share of rows on which both give the same label (rCA, Li et al. 2023, eq. 3).
        of_accuracy: the student's accuracy over the victim's.
    """

    accuracy: Estimate
    fidelity: Estimate
    of_accuracy: Metric


def likeness(
    student: ArrayLike,
    victim: ArrayLike,
    label: ArrayLike,
    *,
    rng: Generator,
    level: float = 0.95,
) -> Likeness:
    """Compare what two models answer about the same rows, be they benign or attacked.

    Args:
        student: (n,) labels that the student gives.
        victim: (n,) labels that the victim gives.
        label: (n,) true labels.
        rng: of the interval of the ratio.
        level: of the intervals.

    Raises:
        BadInput: no rows, or other shapes.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = likeness([0, 1, 1, 2], [0, 1, 2, 2], [0, 1, 2, 0], rng=rng)
        >>> found.accuracy.value, found.fidelity.value, round(found.of_accuracy.value, 3)
        (0.5, 0.75, 0.667)

    Source:
        Li et al., "Extracting robust models with uncertain examples", ICLR 2023, section 5.1 and
        appendix B.4.
    """
    s, v, y = (np.asarray(each) for each in (student, victim, label))
    if not (s.shape == v.shape == y.shape) or s.ndim != 1 or not len(s):
        raise BadInput(
            "labels", f"have shapes {s.shape}, {v.shape} and {y.shape}", "Give (n,) each"
        )
    return Likeness(
        accuracy=accuracy(s == y, level),
        fidelity=accuracy(s == v, level),
        of_accuracy=share(s == y, v == y, rng=rng, level=level),
    )


def share(
    part: NDArray[np.bool_], whole: NDArray[np.bool_], *, rng: Generator, level: float = 0.95
) -> Metric:
    r"""The ratio of two rates that are measured on the same rows.

    The interval holds the middle of the posterior of the ratio, where the four kinds of rows (both,
    one, the other, neither) are multinomial and their rates have Jeffreys' prior.

    Args:
        part: (n,) hits of the numerator.
        whole: (n,) hits of the denominator.
        rng: of the draws from the posterior.
        level: of the interval, in (0, 1).

    Returns:
        The ratio, which may exceed 1; not evaluable where the denominator has no hit.
    """
    check_level(level)
    if not whole.any():
        return NotEvaluable("the victim is right about no row")
    both, one, other = _posterior(part, whole, rng)
    value = float(part.sum() / whole.sum())
    return _middle(value, (both + one) / (both + other), level)


def gap(
    larger: NDArray[np.bool_],
    smaller: NDArray[np.bool_],
    *,
    rng: Generator,
    level: float = 0.95,
) -> Estimate:
    """The difference of two rates that are measured on the same rows, as `share` is their ratio.

    Args:
        larger: (n,) hits of the rate that the other is taken from; may be the smaller one.
        smaller: (n,) hits of the other.
        rng: of the draws from the posterior.
        level: of the interval, in (0, 1).

    Returns:
        The difference, in [-1, 1].

    Example:
        >>> one, two = np.arange(8) < 6, np.arange(8) < 4
        >>> gap(one, two, rng=np.random.default_rng(0)).value
        0.25
    """
    check_level(level)
    _, one, other = _posterior(larger, smaller, rng)
    return _middle(float(larger.mean() - smaller.mean()), one - other, level)


def _posterior(
    first: NDArray[np.bool_], second: NDArray[np.bool_], rng: Generator
) -> tuple[NDArray[np.float64], ...]:
    """Draws of how often both hit, the first alone, the second alone."""
    cells = [first & second, first & ~second, ~first & second, ~first & ~second]
    counts = np.array([int(cell.sum()) for cell in cells])
    both, one, other, _ = rng.dirichlet(counts + 0.5, size=DRAWS).T
    return both, one, other


def _middle(value: float, draws: NDArray[np.float64], level: float) -> Estimate:
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Estimate(value, min(float(low), value), max(float(high), value), level)
