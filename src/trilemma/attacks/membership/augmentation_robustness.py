"""Membership from how many augmented copies keep the label (Choquette-Choo et al. 2021)."""

import math
from typing import Annotated, ClassVar, TypeAlias

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import functional as F

from trilemma.attacks.evasion.gradients import check_inside, check_labels
from trilemma.attacks.membership.labels import asked, hits_of
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.pace import usual
from trilemma.core.types import Classifier, Labels, PerRow, Rows
from trilemma.oracles import Oracle, ready

Images: TypeAlias = Float[Tensor, "n c h w"]
Copies: TypeAlias = Float[Tensor, "n q c h w"]


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Translations:
    """The 4 d images moved by (i, j) with |i| + |j| = d pixels.

    Args:
        pixels: d, at least 1.
    """

    pixels: Annotated[int, Field(ge=1)] = 1

    def copies(self, x: Images) -> Copies:
        """Each image moved each way; what comes in from outside is 0."""
        d = self.pixels
        h, w = x.shape[2:]
        padded = F.pad(x, [d] * 4)
        moves = [(i, j) for i in range(-d, d + 1) for j in sorted({d - abs(i), abs(i) - d})]
        return torch.stack(
            [padded[:, :, d - i : d - i + h, d - j : d - j + w] for i, j in moves], 1
        )


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Rotations:
    """The 2 images turned by r degrees either way about the middle, interpolated bilinearly.

    Args:
        degrees: r, above 0 and at most 180; the paper tries 1 to 15.
    """

    degrees: Annotated[float, Field(gt=0, le=180)] = 4.0

    def copies(self, x: Images) -> Copies:
        """Each image turned each way; what comes in from outside is 0."""
        n, c, h, w = x.shape
        turned = []
        for degrees in (-self.degrees, self.degrees):
            cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
            # the grid runs from -1 to 1 along each side, however long it is
            theta = x.new_tensor([[[cos, sin * h / w, 0.0], [-sin * w / h, cos, 0.0]]])
            grid = F.affine_grid(theta, [1, c, h, w], align_corners=False).expand(n, -1, -1, -1)
            turned.append(F.grid_sample(x, grid, padding_mode="zeros", align_corners=False))
        return torch.stack(turned, 1)


Augmentation: TypeAlias = Translations | Rotations


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class AugmentationRobustness:
    """How many translated or rotated copies keep the label, from labels alone.

    A record is called a member when at least so many of it and its copies are given its true
    label.

    Source: Choquette-Choo, Tramer, Carlini & Papernot, "Label-only membership inference attacks",
    ICML 2021, section 3.

    Args:
        augmentations: how copies are made, at least one way.
    """

    REVISION: ClassVar[int] = 1

    augmentations: tuple[Augmentation, ...] = (Translations(), Rotations())

    def __post_init__(self) -> None:
        if not self.augmentations:
            raise ValueError("augmentations: give at least one way")


def augmentation_robustness(
    target: Classifier | Oracle,
    x: Rows,
    y: Labels,
    config: AugmentationRobustness,
    *,
    box: Box = UNIT,
) -> PerRow:
    """How many of each image and its augmented copies are given its true label.

    The sum of `augmentation_hits`. The authors give the hits to a network that learns on a model
    of the attacker's own; the sum needs none.

    Args:
        target: an oracle or a model; only the first of its most probable classes is looked at.
        x: (n, c, h, w) images inside `box`.
        y: (n,) true labels.
        config: the augmentations.
        box: the valid inputs.

    Returns:
        (n,) float64, a whole number; larger means more likely a member.

    Raises:
        BadInput: inputs that are no images, or outside the box.
        BudgetExceeded: of the oracle's.

    Source:
        Choquette-Choo et al., ICML 2021, section 3.
    """
    return augmentation_hits(target, x, y, config, box=box).sum(1).double()


def augmentation_hits(
    target: Classifier | Oracle,
    x: Rows,
    y: Labels,
    config: AugmentationRobustness,
    *,
    box: Box = UNIT,
) -> Bool[Tensor, "n q"]:
    """Whether each image, and then each of its copies, is given the true label; q queries a row.

    Translations by d are 4 d copies, rotations 2. What comes in from outside an image has the
    smallest valid value, 0 where there is none.

    Args:
        target: as of `augmentation_robustness`.
        x: as there.
        y: as there.
        config: as there.
        box: as there.
    """
    if x.dim() != 4:
        raise BadInput(
            "AugmentationRobustness",
            f"inputs have shape {tuple(x.shape)}",
            "Give images (n, c, h, w); for other inputs take NoiseRobustness",
        )
    check_inside("AugmentationRobustness", x, box)
    y, oracle = check_labels(x, y), asked(target, x)
    low = torch.as_tensor(box.low).to(x)
    dark = low.where(low.isfinite(), 0.0)
    pace = usual(x)
    rows = max(1, pace.rows // _copies(x[:1], dark, config, box).shape[1])
    with ready(oracle, x, questions=0, batch=pace.rows):
        hits = [
            hits_of(oracle, _copies(images, dark, config, box), labels, pace)
            for images, labels in zip(x.split(rows), y.split(rows), strict=True)
        ]
    return torch.cat(hits)


def _copies(x: Images, dark: Tensor, config: AugmentationRobustness, box: Box) -> Copies:
    """Each image as it is, and with each change."""
    bright = x - dark
    changed = [each.copies(bright) for each in config.augmentations]
    return torch.cat([x.unsqueeze(1), box.clip(torch.cat(changed, 1) + dark)], 1)
