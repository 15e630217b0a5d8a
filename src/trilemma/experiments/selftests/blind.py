"""Does the split leak by itself? A classifier that never asks the model."""

import math
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from trilemma import metrics
from trilemma.core.errors import MissingExtra
from trilemma.experiments.selftests.checks import Check, not_evaluable, passed, warned
from trilemma.experiments.selftests.duplicates import sides_hashes
from trilemma.metrics import Estimate

Array = NDArray[Any]

LEVEL = 0.99  # a clean split warns in one audit of 200
FOLDS = 5
MOST = 4000  # rows of a side that are looked at
FEWEST = 20
# Out-of-fold scores are not independent: the folds' classifiers share their training rows. The
# usual correction multiplies the variance by 1 + FOLDS x (test rows / training rows).
WIDER = math.sqrt(1 + FOLDS / (FOLDS - 1))


def blind(
    members_x: Array, members_y: Array, nonmembers_x: Array, nonmembers_y: Array, *, seed: int
) -> Check:
    """Tell members from non-members by the data alone, out of fold.

    Gradient-boosted trees and logistic regression look at the inputs (pixels, principal
    components, traces of processing) and labels. If they succeed, an attack's success says
    something about how the data were split, not about the model. Equal rows are looked at once a
    side and stay in one fold, so that remembering a row does not help.

    Args:
        members_x: (n, *x) inputs of members.
        members_y: (n,) labels.
        nonmembers_x: (m, *x) inputs of non-members.
        nonmembers_y: (m,) labels.
        seed: of the subsample, folds and classifiers.

    Returns:
        A warning where the 99 % interval of the out-of-fold AUC lies above 0.5.

    Raises:
        MissingExtra: scikit-learn is not installed.

    Source:
        The interval is widened for cross-validation as in Nadeau and Bengio, "Inference for the
        generalization error", Machine Learning 52, 2003, section 4.
    """
    rng = np.random.default_rng(seed)
    sides = [
        _distinct(np.asarray(x), np.asarray(y), hashes, rng)
        for x, y, hashes in zip(
            (members_x, nonmembers_x),
            (members_y, nonmembers_y),
            sides_hashes(members_x, nonmembers_x),
            strict=True,
        )
    ]
    count, others = (len(hashes) for _, _, hashes in sides)
    if min(count, others) < FEWEST:
        return not_evaluable(
            f"{count} different members and {others} different non-members are too few to tell"
            f" whether the split leaks by itself; {FEWEST} of each are needed."
        )
    x, y, hashes = (np.concatenate(parts) for parts in zip(*sides, strict=True))
    member = np.arange(count + others) < count
    scores = _out_of_fold(x, y, member, _folds(hashes, member, rng), seed)
    auc = _widened(metrics.membership(scores[member], scores[~member], level=LEVEL, seed=seed).auc)
    found = f"AUC {auc.value:.3f} ({LEVEL:.0%} interval {auc.low:.3f} to {auc.high:.3f})"
    details = {"auc": auc.to_json(), "rows": {"members": count, "nonmembers": others}}
    if auc.low > 0.5:
        return warned(
            f"The split leaks, not only the model: members can be told from non-members without"
            f" asking it, {found}.",
            **details,
        )
    return passed(f"The data alone do not tell members from non-members: {found}.", **details)


def _widened(auc: Estimate) -> Estimate:
    low = max(0.0, auc.value - WIDER * (auc.value - auc.low))
    high = min(1.0, auc.value + WIDER * (auc.high - auc.value))
    return Estimate(auc.value, low, high, auc.level)


def _distinct(x: Array, y: Array, hashes: Array, rng: Generator) -> tuple[Array, Array, Array]:
    """Different rows of one side, a random sample where there are many, and their hashes."""
    from trilemma.data.duplicates import first_occurrences

    kept = first_occurrences(hashes)
    if len(kept) > MOST:
        kept = np.sort(rng.choice(kept, MOST, replace=False))
    return x[kept], y[kept], hashes[kept]


def _folds(hashes: Array, member: Array, rng: Generator) -> Array:
    """(n,) fold of each row; equal rows share one, and each fold has the same share of members."""
    _, group, sizes = np.unique(hashes, return_inverse=True, return_counts=True)
    share = np.bincount(group, weights=member) / sizes
    order = np.lexsort((rng.random(len(sizes)), share))
    fold = np.empty(len(sizes), dtype=np.int64)
    fold[order] = np.arange(len(sizes)) % FOLDS
    return np.asarray(fold[group])


def _out_of_fold(x: Array, y: Array, member: Array, fold: Array, seed: int) -> Array:
    """Mean rank, within its fold, that the classifiers fitted on the other folds give a row."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ModuleNotFoundError:
        raise MissingExtra("scikit-learn", "torch", "the blind classifier") from None
    from trilemma.experiments.selftests.features import features

    columns = features(x, y, seed)
    scores = np.zeros(len(x))
    for held_out in (fold == number for number in range(FOLDS)):
        classifiers = (
            HistGradientBoostingClassifier(
                max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=seed
            ),
            make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200)),
        )
        for classifier in classifiers:
            classifier.fit(columns[~held_out], member[~held_out])
            scores[held_out] += _ranks(classifier.predict_proba(columns[held_out])[:, 1])
    return scores


def _ranks(values: Array) -> Array:
    """Mid-ranks scaled to (0, 1]: folds differ in their classifier's scale, not in their order."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    upto = np.cumsum(counts)
    return np.asarray(((upto - (counts - 1) / 2) / len(values))[place])
