"""The rows of a split's parts, as tensors, and what they are for."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trilemma.core.dataset import Dataset
from trilemma.core.generators import seeded
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.specs import BestEpoch
from trilemma.training.objectives import Objective
from trilemma.training.playing import played
from trilemma.training.validation import Validation

PARTS = (
    "members",
    "nonmembers",
    "shadow",
    "auxiliary",
    "partial_seed",  # some of the members, declared as known to an attacker
    "victim_training_rows",
    "validation",
)


def part(parts: Artifact, name: str) -> Dataset:
    """One part of a split."""
    x, y = (torch.from_numpy(np.array(parts.arrays[f"{name}_{of}"])) for of in "xy")
    return Dataset(x, y)


def candidates(parts: Artifact) -> tuple[Tensor, Tensor, NDArray[np.bool_]]:
    """Members, then non-members: inputs, labels, and which they are."""
    members, nonmembers = part(parts, "members"), part(parts, "nonmembers")
    x, y = torch.cat([members.x, nonmembers.x]), torch.cat([members.y, nonmembers.y])
    return x, y, np.arange(len(x)) < len(members)


def held_out(parts: Artifact, best: BestEpoch | None) -> Validation | None:
    """The rows on which the best epoch is found; None where none is wanted."""
    if best is None:
        return None
    return Validation(data=part(parts, "validation"), attack=best.attack, patience=best.patience)


def reference(parts: Artifact, objective: Objective) -> Dataset | None:
    """Rows that are no members, for an objective that plays with such; None for others."""
    given = "validation_x" in parts.arrays and played(objective) is not None
    return part(parts, "validation") if given else None


def attacked(parts: Artifact) -> Tensor:
    """All inputs that an attack may perturb: members, non-members, validation rows."""
    x, _, _ = candidates(parts)
    return torch.cat([x, part(parts, "validation").x]) if "validation_x" in parts.arrays else x


def chosen(member: NDArray[np.bool_], rows: int, seed: int) -> NDArray[np.int64]:
    """At most `rows` of the members and of the non-members, drawn without a look at them.

    Args:
        member: (n,) which rows are members.
        seed: of the draw.

    Returns:
        Indices, ascending: members and non-members keep their order.

    Example:
        >>> chosen(np.arange(6) < 4, 2, seed=0).tolist()
        [2, 3, 4, 5]
    """
    order = torch.randperm(len(member), generator=seeded(seed)).numpy()
    picked = [order[member[order] == side][:rows] for side in (True, False)]
    return np.sort(np.concatenate(picked))
