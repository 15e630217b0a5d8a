"""Do rows stand on both sides, or several times on one?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.experiments.selftests.checks import Check, passed, warned

Array = NDArray[Any]


def duplicates(
    members_x: Array, members_y: Array, nonmembers_x: Array, nonmembers_y: Array
) -> Check:
    """Count equal inputs across and within members and non-members, whatever their labels.

    Args:
        members_x: (n, *x) inputs of members.
        members_y: (n,) labels.
        nonmembers_x: (m, *x) inputs of non-members.
        nonmembers_y: (m,) labels.

    Returns:
        A warning where a non-member equals a member: the model was trained on it all the same,
        and no attack can be right about both.
    """
    from trilemma.data.duplicates import count

    hashes = sides_hashes(members_x, nonmembers_x)
    rows = {"members": len(hashes[0]), "nonmembers": len(hashes[1])}
    found = count(
        np.concatenate(hashes),
        {
            "members": np.arange(rows["members"]),
            "nonmembers": np.arange(rows["nonmembers"]) + rows["members"],
        },
    )
    across, within = found.across["members/nonmembers"], found.within
    details = {"across": across, "within": dict(within), "rows": rows}
    repeated = (
        f"{within['members']} members and {within['nonmembers']} non-members repeat an earlier row"
        " of their side"
    )
    if across:
        return warned(
            f"{across} of {rows['nonmembers']} non-members equal a member, so the model was trained"
            f" on them; {repeated}.",
            **details,
        )
    if any(within.values()):
        return passed(
            f"No non-member equals a member; {repeated}, and intervals count each of them.",
            **details,
        )
    return passed("No two rows are equal.", **details)


def sides_hashes(members_x: Array, nonmembers_x: Array) -> tuple[Array, Array]:
    """A hash for each row of either side, comparable across sides of different precision."""
    from trilemma.data.duplicates import row_hashes

    members_x, nonmembers_x = np.asarray(members_x), np.asarray(nonmembers_x)
    kind = np.result_type(members_x, nonmembers_x)
    return row_hashes(members_x.astype(kind)), row_hashes(nonmembers_x.astype(kind))
