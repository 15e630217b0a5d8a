"""The rows that a thief holds."""

from collections.abc import Sequence

import torch

from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.parts import part
from trilemma.experiments.stages import stream
from trilemma.experiments.theft import Pool


def held(pool: Pool, parts: Artifact, others: Sequence[Artifact], seed: int) -> Dataset:
    """What a thief asks about, in the order of the pool's fields.

    The labels are groups for `Adaptive` to look at, and tell nothing of the victim's classes: the
    split's rows are one group, those of each other data set have its labels.

    Args:
        pool: how many of which.
        parts: the victim's split.
        others: the splits of the other data sets.
        seed: draws which rows of a part, where not all are wanted.

    Raises:
        BadInput: fewer rows than wanted; rows of another shape.
    """
    wanted = {
        "auxiliary": pool.auxiliary,
        "victim_training_rows": pool.victim_training_rows,
    }
    sets = [
        _drawn(parts, name, rows, seed)
        for name, rows in wanted.items()
        if rows or (rows is None and f"{name}_x" in parts.arrays)
    ]
    first, groups = 1, [torch.zeros_like(each.y) for each in sets]
    shape = parts.arrays["members_x"].shape[1:]
    for number, other in enumerate(others):
        rows = part(other, "members")
        if rows.x.shape[1:] != shape:
            found, fit = tuple(rows.x.shape[1:]), tuple(shape)
            problem = f"has rows of shape {found}, where the victim's are {fit}"
            raise BadInput(f"extraction.pool.others[{number}]", problem, "Give rows of that shape")
        sets.append(rows)
        groups.append(rows.y + first)
        first += int(other.facts["classes"])
    if not sets:
        raise BadInput("data.auxiliary", "has no rows", "Let the split have some to ask about")
    return Dataset(torch.cat([each.x for each in sets]), torch.cat(groups))


def _drawn(parts: Artifact, name: str, rows: int | None, seed: int) -> Dataset:
    there = len(parts.arrays.get(f"{name}_y", ()))
    if rows is not None and rows > there:
        problem = f"has {there} rows, and {rows} are wanted"
        raise BadInput(f"data.{name}", problem, "Let the split have more, or the thief less")
    found = part(parts, name)
    order = torch.randperm(there, generator=seeded(stream(f"pool of {name}", seed)))
    return found[order[:rows].sort().values]
