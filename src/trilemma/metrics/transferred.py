"""A threshold, and an attack, chosen on a shadow model and judged on the target."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from trilemma.core.errors import BadInput
from trilemma.metrics.estimate import Estimate, NotEvaluable
from trilemma.metrics.operating import too_fine
from trilemma.metrics.rates import Flagged
from trilemma.metrics.roc import roc
from trilemma.metrics.scores import pair


@dataclass(frozen=True, kw_only=True, eq=False)
class Transferred:
    """What a threshold finds that was chosen on another model.

    Args:
        threshold: rows with score >= threshold are called members; one of the shadow scores.
        shadow_accuracy: balanced accuracy on the shadow rows, which it is best for.
        flagged: counts over the target's rows.
    """

    threshold: Any
    shadow_accuracy: float
    flagged: Flagged

    def accuracy(self, level: float = 0.95) -> Estimate:
        """Balanced accuracy on the target's rows, with its exact interval."""
        return self.flagged.balanced_accuracy(level)


def transferred_threshold(
    shadow_members: ArrayLike,
    shadow_nonmembers: ArrayLike,
    members: ArrayLike,
    nonmembers: ArrayLike,
) -> Transferred:
    """Choose the threshold that is best for a shadow model's rows and apply it to the target's.

    No row of the target is looked at to choose it, so the interval of its accuracy is exact.

    Args:
        shadow_members: (a,) scores, by the shadow model, of rows it was trained on.
        shadow_nonmembers: (b,) of rows it was not trained on.
        members: (n,) scores, by the target, of its members; larger = more likely a member.
        nonmembers: (m,) of its non-members.

    Returns:
        The threshold (of several equally good ones the highest) and what it flags.

    Raises:
        BadInput: a side that is empty, not one-dimensional, not numbers, or that holds a NaN.

    Example:
        >>> found = transferred_threshold([0.9, 0.8], [0.5], [0.95, 0.7], [0.85, 0.1])
        >>> float(found.threshold), found.shadow_accuracy, found.accuracy().value
        (0.8, 1.0, 0.5)

    Source:
        Song, Shokri and Mittal, "Privacy risks of securing machine learning models against
        adversarial examples", CCS 2019, sections 3.2 and 7.1, after Shokri et al., S&P 2017.
    """
    curve = roc(shadow_members, shadow_nonmembers)
    target, others = pair(members, nonmembers)
    threshold = curve.scores[curve.best]
    best = curve.flagged(curve.best)
    gap = best.hits * best.nonmembers - best.alarms * best.members
    return Transferred(
        threshold=threshold,
        shadow_accuracy=0.5 + gap / (2 * best.members * best.nonmembers),
        flagged=Flagged(
            hits=int((target >= threshold).sum()),
            members=len(target),
            alarms=int((others >= threshold).sum()),
            nonmembers=len(others),
        ),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Operating:
    """What a threshold finds that was fixed, at a false positive rate, on shadow models.

    Args:
        fpr: allowed for a further non-member like the shadow models'.
        bound: rows with score > bound are called members; one of the shadow scores.
        flagged: counts over the target's rows.
    """

    fpr: float
    bound: Any
    flagged: Flagged


def transferred_rate(
    shadow_nonmembers: ArrayLike, members: ArrayLike, nonmembers: ArrayLike, fpr: float
) -> Operating | NotEvaluable:
    r"""The threshold that flags a further non-member of shadow models at a rate of at most `fpr`.

    .. math:: t = s_{(k)}, \quad k = \lceil (b + 1) (1 - \mathrm{fpr}) \rceil,

    the k-th smallest of the b scores, the lowest threshold for which that is so: of b + 1 rows in
    random order the last is one of the b + 1 - k highest with probability (b + 1 - k) / (b + 1),
    and with less where scores tie. To let the b rows themselves keep the rate, floor(b fpr) of them
    above it, would let a further one pass more often: 1.65 % of the time for 120 rows at 1 %.

    No row of the target is looked at to choose it, so that the exact intervals of both its rates
    hold, and the false positive rate that it has on the target, whose rows may differ from the
    shadow models', is a finding of its own.

    Args:
        shadow_nonmembers: (b,) scores, by shadow models, of rows they were not trained on.
        members: (n,) scores, by the target, of its members; larger = more likely a member.
        nonmembers: (m,) of its non-members.
        fpr: in [0, 1).

    Returns:
        What it flags; not evaluable where `fpr` < 1 / (b + 1), which b rows do not resolve.

    Raises:
        BadInput: fpr outside [0, 1); a side that is empty, not one-dimensional, not numbers, or
            that holds a NaN.

    Example:
        >>> found = transferred_rate([0.1, 0.2, 0.3, 0.9], [0.95, 0.5], [0.4, 0.2], fpr=0.4)
        >>> float(found.bound), found.flagged.tpr().value, found.flagged.fpr().value
        (0.3, 1.0, 0.5)

    Source:
        Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005 (the quantile
        of conformal prediction).
    """
    if not 0 <= fpr < 1:
        raise BadInput("fpr", f"is {fpr!r}", "Give a false positive rate in [0, 1)")
    target, others = pair(members, nonmembers)
    known, _ = pair(shadow_nonmembers, nonmembers)
    # Each share rounded as `fpr` itself is: 29 / 100 is 0.29, where 100 * 0.29 is below 29
    shares = np.arange(1, len(known) + 1) / (len(known) + 1)
    above = int(np.searchsorted(shares, fpr, side="right"))  # b + 1 - k
    if above == 0:
        return NotEvaluable(too_fine(fpr, len(known), "of shadow models", beside=1))
    bound = np.sort(known)[-above]
    return Operating(
        fpr=fpr,
        bound=bound,
        flagged=Flagged(
            hits=int((target > bound).sum()),
            members=len(target),
            alarms=int((others > bound).sum()),
            nonmembers=len(others),
        ),
    )


def chosen_on_shadow(accuracies: Mapping[str, float]) -> str:
    """The attack, or the budget of one, with the best accuracy on the shadow model.

    Args:
        accuracies: attack -> its `Transferred.shadow_accuracy`; of equals the first is taken.

    Raises:
        BadInput: there is none.

    Example:
        >>> chosen_on_shadow({"eps 8/255": 0.66, "eps 9/255": 0.69, "eps 10/255": 0.69})
        'eps 9/255'
    """
    if not accuracies:
        raise BadInput("attacks", "there is none to choose from", "Give one at least")
    return max(accuracies, key=lambda name: accuracies[name])
