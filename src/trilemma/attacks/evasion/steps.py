"""What a walk along a decision boundary is made of: bisection, gradient estimate, line searches.

Each is a generator that yields questions and is sent the answers (see `questions`); rows of a
group advance together.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trilemma.attacks.evasion.questions import Answer, Flat, Part, Question, lengths
from trilemma.core.box import Box
from trilemma.core.types import PerRow

Moved: TypeAlias = Generator[Question, Answer, Flat]
HALVINGS = 12  # of a step that leaves the adversarial side


@dataclass(frozen=True)
class Group:
    """Rows that advance together.

    Args:
        rows: (r,) their places among all inputs.
        x: (r, d) the inputs as vectors.
        box: the valid inputs, as vectors.
        norm: 2 or infinity.
    """

    rows: Int[Tensor, " r"]
    x: Flat
    box: Box
    norm: float

    def of(self, index: Tensor) -> "Group":
        """Some of the rows."""
        return Group(self.rows[index], self.x[index], self.box, self.norm)

    def length(self, change: Flat) -> PerRow:
        """Of each row, in the attack's norm."""
        return lengths(change, self.norm)

    def negative(self) -> Flat:
        """Each row mirrored in the middle of the box; where that has no end, in 0."""
        low, high = (torch.as_tensor(end).to(self.x) for end in (self.box.low, self.box.high))
        middle = ((low + high) / 2).nan_to_num(0.0, 0.0, 0.0)
        return self.box.clip(2 * middle - self.x)

    def ask(self, index: Int[Tensor, " m"], points: Flat) -> Question:
        """About one point for each of the rows at `index`."""
        return Question(
            rows=self.rows[index],
            order=torch.zeros_like(index),
            points=lambda part: points[part],
        )

    def everywhere(self) -> Int[Tensor, " r"]:
        """The index of all rows."""
        return torch.arange(len(self.x), device=self.x.device)


def bisect(group: Group, far: Flat, halvings: int) -> Moved:
    """Towards each input until the label turns (HopSkipJump, algorithm 1).

    For L_2 on the straight line; for L_inf through the points of `far` cut to smaller balls.

    Args:
        group: the rows.
        far: (r, d) adversarial points.
        halvings: of the way; the point returned is adversarial, and so far at most beyond
            the boundary as the way's 2^-halvings.
    """
    x, index = group.x, group.everywhere()
    reach = group.length(far - x)
    low, high = torch.zeros_like(reach), torch.ones_like(reach)
    for _ in range(halvings):
        middle = (low + high) / 2
        hit = yield group.ask(index, _cut(group, far, middle, reach))
        low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)
    return torch.where(high.view(-1, 1) == 1, far, _cut(group, far, high, reach))


def _cut(group: Group, far: Flat, share: PerRow, reach: PerRow) -> Flat:
    """The point of that share of the way."""
    if group.norm == math.inf:
        bound = (share * reach).view(-1, 1)
        return far.maximum(group.x - bound).minimum(group.x + bound)
    return group.x + share.view(-1, 1) * (far - group.x)


@dataclass(frozen=True)
class Slope:
    """An estimate of the gradient, up to a factor.

    Args:
        sum: (r, d).
        variance: (r,) of the noise in one of its coordinates.
    """

    sum: Flat
    variance: PerRow


def estimate(
    group: Group,
    z: Flat,
    directions: Float[Tensor, "b d"],
    delta: PerRow,
    across: Flat | None = None,
) -> Generator[Question, Answer, Slope]:
    r"""Monte Carlo estimate of the gradient at boundary points (HopSkipJump, eq. 16).

    .. math:: v = \sum_b (\phi_b - \bar\phi)\, u_b, \qquad
              \phi_b = \pm 1 \text{ as } z + \delta u_b \text{ is adversarial or not}

    The directions are the same for every row, so that a row's estimate does not depend on the
    rows beside it; with all answers alike their mean stays in.

    Args:
        group: the rows.
        z: (r, d) points close to the boundary.
        directions: u_b, of length 1.
        delta: (r,) how far the points lie from z.
        across: (r, d) of length 1: probe at right angles to it. Close to the nearest point the
            gradient all but points along the way from the input, and a label then tells little
            but on which side of it a direction lies; across it, it tells what is missing.
    """
    r, b = len(z), len(directions)
    index = torch.arange(r * b, device=z.device)
    row, turn = index % r, index // r
    reach = delta.view(-1, 1)
    along = None if across is None else -delta * (directions @ across.T)  # (b, r)

    def points(part: Part) -> Flat:
        if isinstance(part, slice):  # directions by rows, without a copy of either for each point
            first, last = part.start // r, -(-part.stop // r)
            moved = torch.addcmul(z, directions[first:last, None], reach)
            if across is not None and along is not None:
                moved.addcmul_(along[first:last, :, None], across)
            moved = moved.view(-1, z.shape[1])[part.start - first * r : part.stop - first * r]
        else:
            at, way = row[part], turn[part]
            moved = torch.addcmul(z[at], directions[way], reach[at])
            if across is not None and along is not None:
                moved.addcmul_(along[way, at].view(-1, 1), across[at])
        return group.box.clip_(moved)

    hit = yield Question(rows=group.rows[row], order=turn, points=points)
    phi = (2 * hit.to(z.dtype) - 1).view(b, r)
    mean = phi.mean(0)
    weight = torch.where(mean.abs() == 1, phi, phi - mean).T
    return Slope(weight @ directions, weight.square().sum(1) / z.shape[1])


def halve(group: Group, z: Flat, v: Flat, t: int, halvings: int) -> Moved:
    """The published step: up the gradient by distance / sqrt(t), halved until it is adversarial.

    For L_inf the step goes along the gradient's sign. Ends by a bisection towards the inputs.
    """
    step = v.sign() if group.norm == math.inf else v
    size = group.length(z - group.x) / math.sqrt(t)
    new, open_ = z.clone(), group.everywhere()
    for _ in range(HALVINGS):
        if len(open_) == 0:
            break
        point = group.box.clip(z[open_] + size[open_].view(-1, 1) * step[open_])
        hit = yield group.ask(open_, point)
        new[open_[hit]] = point[hit]
        open_, size = open_[~hit], size / 2
    return (yield from bisect(group, new, halvings))


def swing(group: Group, z: Flat, v: Flat, halvings: int) -> Moved:
    r"""Down the arc over the line from x to z, on the gradient's side, until the label turns.

    .. math:: p(\theta) = x + D \cos\theta\, (a \cos\theta + b \sin\theta)

    with D a = z - x and b of length 1 along the part of v across a. In the plane of x, z and v the
    point of a straight boundary nearest to x is where this half circle meets it (Thales), so that
    one bisection finds the best step, and the distance D cos(theta) never grows.
    """
    x, index = group.x, group.everywhere()
    way = z - x
    square = way.square().sum(1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    aside = v - (v * way).sum(1, keepdim=True) / square * way
    length = torch.linalg.vector_norm(aside, dim=1, keepdim=True)
    aside *= square.sqrt() / length.clamp(min=torch.finfo(x.dtype).tiny)

    def point(angle: Tensor) -> Flat:
        cos, sin = angle.cos(), angle.sin()
        return group.box.clip_(torch.addcmul(x, cos * cos, way).addcmul_(cos * sin, aside))

    low, high = torch.zeros_like(length), torch.full_like(length, math.pi / 2)
    for _ in range(halvings):
        angle = (low + high) / 2
        hit = (yield group.ask(index, point(angle))).view(-1, 1)
        low, high = torch.where(hit, angle, low), torch.where(hit, high, angle)
    return torch.where(low > 0, point(low), z)
