"""What is asked for when a model is looked at closer."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from trilemma.core.errors import BadInput

MOST = 4  # labels in one picture of answers
FEWEST = 4  # rows of a picture of features


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Look closer at how each model treats members and non-members (Li & Zhang 2021).

    Answers to single rows, label by label, with their cross-entropy to every other label; the loss
    distributions; the features before the last layer in a t-SNE picture with regions of labels; the
    paths on which HopSkipJump and QEBA reach the boundary. Of the model itself, and of the models
    that an attacker trains in its place: a shadow model, a copy that learnt from its labels.

    Args:
        rows: at most so many members, and as many non-members, in the picture of features; 0
            draws none.
        classes: labels, 4 at most, of each of which the answers to one member and one non-member
            are shown; None draws two.
        paths: members whose search paths are drawn; 0 draws none.
    """

    rows: Annotated[int, Ge(0)] = 500
    classes: tuple[Annotated[int, Ge(0)], ...] | None = None
    paths: Annotated[int, Ge(0)] = 1

    def __post_init__(self) -> None:
        classes = self.classes
        if classes is not None and not 1 <= len(set(classes)) == len(classes) <= MOST:
            raise BadInput(
                "classes", f"got {list(classes)}", f"Give 1 to {MOST} different labels, or none"
            )
        if 0 < self.rows < FEWEST:
            raise BadInput(
                "rows", f"is {self.rows}", f"Give {FEWEST} at least, or 0 for no picture"
            )
