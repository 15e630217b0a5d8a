"""Which rows an attacker is taken to know: some of the members and non-members of each label."""

import numpy as np
from numpy.typing import NDArray

FITTING = 500  # of each side and label, as Song et al. (2019) take in section 5.2.5


def fitting_rows(
    member: NDArray[np.bool_],
    label: NDArray[np.int64],
    count: int,
    seed: int,
) -> NDArray[np.bool_]:
    """As many members as non-members of each label, drawn without a look at any score.

    Args:
        member: (n,) which rows are members.
        label: (n,) their labels.
        count: of each side and label at most; half of a label's rarer side is left to be judged.
        seed: of the draw, >= 0.

    Returns:
        (n,) which rows are known.

    Example:
        >>> member, label = np.arange(8) < 5, np.zeros(8, dtype=int)
        >>> known = fitting_rows(member, label, 2, seed=0)
        >>> int((known & member).sum()), int((known & ~member).sum())
        (1, 1)
    """
    order = np.random.default_rng([seed, 5]).permutation(len(member))
    known = np.zeros(len(member), dtype=bool)
    for each in np.unique(label):
        sides = [order[(label[order] == each) & (member[order] == side)] for side in (True, False)]
        taken = min(count, min(map(len, sides)) // 2)
        for side in sides:
            known[side[:taken]] = True
    return known
