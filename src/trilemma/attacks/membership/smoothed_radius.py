"""Membership from the radius that randomized smoothing certifies (Li & Zhang 2021, section 5.1)."""

from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import Generator

from trilemma.bounds import (
    Smoothing,
    certified_radius,
    certified_radius_lower,
    noisy_counts,
    own_and_rival,
)
from trilemma.core.box import Box
from trilemma.core.types import Classifier, Labels, PerRow, Rows
from trilemma.oracles import Oracle


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class SmoothedRadius:
    r"""Certified radius under Gaussian noise.

    A record is called a member when the L2 radius within which the most frequent label under noise
    stays its true label is at least a threshold: members lie farther from the decision boundary.
    The means over members and over others are the average certified radii (ACR).

    .. math:: CR = \frac{\sigma}{2} \left( \Phi^{-1}(p_y) - \Phi^{-1}(\max_{j \ne y} p_j) \right)

    Source: Li & Zhang 2021, section 5.1 and eq. 6.

    Args:
        smoothing: how much noise, and how many draws: as many queries a row.
        lower: take the Clopper-Pearson lower bound of Cohen et al., which holds with probability
            1 - `smoothing.alpha` for each row, instead of the paper's two-sided estimate.
    """

    REVISION: ClassVar[int] = 1

    smoothing: Smoothing = Smoothing()
    lower: bool = False


def smoothed_radius(
    target: Classifier | Oracle,
    x: Rows,
    y: Labels,
    config: SmoothedRadius,
    *,
    box: Box,
    rng: Generator,
) -> PerRow:
    """How far from each row the smoothed target keeps the row's true label.

    Args:
        target: a model (logits out) or an oracle, of whose answers the first most probable class
            counts.
        x: (n, *x) inputs.
        y: (n,) true labels.
        config: noise and draws.
        box: of the valid inputs; noisy ones may leave it, as in the paper.
        rng: draws the noise, which all rows share.

    Returns:
        (n,) L2 radii, 0 where the true label does not win; larger means likelier a member.

    Raises:
        BadInput: no rows; an answer is not finite.

    Source:
        Li & Zhang, CCS 2021, section 5.1; Cohen, Rosenfeld & Kolter, ICML 2019.
    """
    smoothing = config.smoothing
    votes = noisy_counts(target, x, smoothing, rng=rng)
    own, rival = own_and_rival(votes, y)
    if config.lower:
        return certified_radius_lower(own, smoothing.samples, smoothing.sigma, smoothing.alpha)
    return certified_radius(own, rival, smoothing.samples, smoothing.sigma)
