"""Random changes of images that keep their class, drawn anew each time a batch is made."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor
from torch.nn import functional as F

from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput

Images: TypeAlias = Float[Tensor, "n c h w"]


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Crop:
    """A window of the image's own size, anywhere in the image with a border of zeros around it.

    Args:
        padding: width of the border, in pixels.
    """

    REVISION: ClassVar[int] = 1

    padding: Annotated[int, Field(ge=1)] = 4

    def __call__(self, x: Images, rng: Generator) -> Images:
        """Each image moved by up to `padding` along each axis."""
        n, c, h, w = x.shape
        ends = 2 * self.padding + 1
        corner = torch.randint(ends, (2, n, 1), generator=rng, device=rng.device).to(x.device)
        padded = F.pad(x, [self.padding] * 4)
        down = corner[0] + torch.arange(h, device=x.device)
        across = corner[1] + torch.arange(w, device=x.device)
        image = torch.arange(n, device=x.device).view(n, 1, 1, 1)
        channel = torch.arange(c, device=x.device).view(1, c, 1, 1)
        return padded[image, channel, down.view(n, 1, h, 1), across.view(n, 1, 1, w)]


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Flip:
    """Left and right exchanged in every second image, on average."""

    REVISION: ClassVar[int] = 1

    def __call__(self, x: Images, rng: Generator) -> Images:
        """Each image, or its mirror image."""
        turned = torch.randint(2, (len(x), 1, 1, 1), generator=rng, device=rng.device)
        return torch.where(turned.to(x.device) == 1, x.flip(3), x)


Augmentation: TypeAlias = Crop | Flip


def augmented(x: Tensor, steps: Sequence[Augmentation], rng: Generator, box: Box = UNIT) -> Tensor:
    """A batch changed by each of `steps` in turn, one draw a row.

    Args:
        x: (n, *x) inputs; images, unless there are no steps.
        steps: what is done; nothing is drawn where there is none.
        rng: every draw; on it, the row's place and the batch's size depends what becomes of a row.
        box: the valid inputs; a border of zeros that lies outside is taken to its edge.

    Example:
        >>> from trilemma.core.generators import seeded
        >>> x = torch.tensor([[[[1.0, 0.0]]]]).expand(4, 1, 1, 2)
        >>> augmented(x, [Flip()], seeded(0))[:, 0, 0, 0]
        tensor([1., 0., 0., 1.])
    """
    for step in steps:
        x = step(x, rng)
    return box.clip(x) if steps else x


def check_augmentation(steps: Sequence[Augmentation], shape: Sequence[int]) -> None:
    """Refuse augmentation of anything but images.

    Args:
        steps: what is done.
        shape: of one input, without the row axis.

    Raises:
        BadInput: there are steps, and one input is no image.
    """
    if steps and len(shape) != 3:
        names = ", ".join(type(step).__name__ for step in steps)
        raise BadInput(
            "augmentation",
            f"{names} change images; one input has shape {tuple(shape)}",
            "It takes images (channels, height, width); for table rows leave it out",
        )
