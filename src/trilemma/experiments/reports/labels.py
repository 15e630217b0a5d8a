"""Where names stand beside marks so that they do not hide each other, on a phone and on a desk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from trilemma.experiments.reports.document import Number

WIDTHS = (230.0, 480.0, 900.0)  # of the plotting area, in CSS pixels: phone, half a page, page
LETTER, LINE = 6.6, 17.0  # CSS pixels that a letter takes, and a line
BESIDE = 12.0  # between a mark and its name
SHIFTS = (0.0, *(sign * LINE * k for k in range(1, 15) for sign in (-1, 1)))
LONGEST = 24  # letters of a name in the picture


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A mark with its name.

    Args:
        x, y: where it stands, as shares of the plotting area, from the left and from below.
        name: what is written beside it.
    """

    x: Number
    y: Number
    name: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the name stands, in CSS pixels from its mark.

    Args:
        right: whether it begins to the right of the mark, else it ends to the left.
        down: how far its middle is below the mark.
    """

    right: bool
    down: float


Rectangle = tuple[Number, Number, Number, Number]  # left, top, right, bottom


def cut(name: str) -> str:
    """A name as it fits in the picture.

    >>> cut("wide_residual_network_with_everything")
    'wide_residual_network_w…'
    """
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def placed(marks: Sequence[Mark], height: Number) -> list[Place]:
    """A place for each name, one after the other from the top, each where it is in nobody's way.

    Widths of the page are not known beforehand: a place must do at several.

    Args:
        marks: in any order.
        height: of the plotting area, in CSS pixels.
    """
    found: dict[int, Place] = {}
    for index in sorted(range(len(marks)), key=lambda i: (-marks[i].y, marks[i].x)):
        taken = [(marks[other], place) for other, place in found.items()]
        found[index] = min(
            (Place(right=right, down=down) for down, right in product(SHIFTS, (True, False))),
            key=lambda place: _cost(marks[index], place, marks, taken, height),
        )
    return [found[index] for index in range(len(marks))]


def overlap(one: Rectangle, other: Rectangle) -> float:
    """The area that two rectangles share."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)


def box(mark: Mark, place: Place, width: Number, height: Number) -> Rectangle:
    """What a name covers, in CSS pixels from the upper left of the plotting area."""
    x, y = mark.x * width, (1 - mark.y) * height + place.down
    left = x + BESIDE if place.right else x - BESIDE - LETTER * len(mark.name)
    return left, y - LINE / 2, left + LETTER * len(mark.name), y + LINE / 2


def _cost(
    mark: Mark,
    place: Place,
    marks: Sequence[Mark],
    taken: Sequence[tuple[Mark, Place]],
    height: Number,
) -> float:
    """Distance, and much more than that: what the name covers or where it leaves the picture."""
    cost = abs(place.down) + (0 if place.right else 1)
    for width in WIDTHS:
        own = box(mark, place, width, height)
        inside = overlap(own, (0.0, 0.0, width, height))
        hidden = (own[2] - own[0]) * (own[3] - own[1]) - inside
        hidden += sum(overlap(own, each) for each in _others(marks, taken, width, height))
        cost += hidden
    return cost


def _others(
    marks: Sequence[Mark], taken: Sequence[tuple[Mark, Place]], width: Number, height: Number
) -> Iterator[Rectangle]:
    for mark in marks:
        x, y = mark.x * width, (1 - mark.y) * height
        yield x - 8, y - 8, x + 8, y + 8
    for mark, place in taken:
        yield box(mark, place, width, height)
