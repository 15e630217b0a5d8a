"""The ascent of auto-PGD, on rows that are each at a step of their own (Croce & Hein 2020)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from trilemma.attacks.evasion.gradients import watched
from trilemma.attacks.evasion.pool import Index, Laid, Mask, Matrix, drive, filling, finite
from trilemma.core.balls import Ball
from trilemma.core.box import Box
from trilemma.core.pace import asking
from trilemma.core.types import Classifier, Labels, Logits, PerRow, Rows

ALPHA = 0.75  # weight of the new step against the momentum
FIRST = 2.0  # step size at first, in radii
Height: TypeAlias = Callable[[Logits, Labels, Labels], PerRow]  # logits, labels, targets
Targets: TypeAlias = Int[Tensor, "n t"]
Starts: TypeAlias = Float[Tensor, "runs *x"]  # perturbations, one a run


class Found(NamedTuple):
    """What a search returns: its points, and which rows are misclassified there."""

    x_adv: Rows
    wrong: Mask


@dataclass(frozen=True, eq=False)
class Ascents:
    """The runs of an attack: `restarts` towards each of the targets of a row.

    Args:
        ball: the perturbations that are allowed.
        steps: N_iter, of each run.
        rho: share of the steps that must go up.
        restarts: runs towards each target.
        height: what is ascended.
        targets: of each row.
        first: a row is done at its first misclassified point, and one without any gets x back.
    """

    ball: Ball
    steps: int
    rho: float
    restarts: int
    height: Height
    targets: Targets
    first: bool = False


def likeliest(logits: Logits, y: Labels, most: int) -> Targets:
    """The wrong labels of the largest logits, largest first.

    Example:
        >>> likeliest(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]), most=9)
        tensor([[2, 1]])
    """
    wrong = logits.scatter(1, y.view(-1, 1), -math.inf)
    return wrong.topk(min(most, logits.shape[1] - 1), dim=1).indices


def checkpoints(steps: int) -> tuple[int, ...]:
    """w_j = p_j N, with p_1 = 0.22 and p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06).

    In whole steps, each of the three shares rounded down, but 1 at least.
    """
    least, less = max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    length = max(int(0.22 * steps), 1)
    found = [length]
    while found[-1] < steps:
        length = max(length - less, least)
        found.append(found[-1] + length)
    return tuple(w for w in found if w < steps)


def climb(
    model: Classifier,
    x: Rows,
    y: Labels,
    ascents: Ascents,
    *,
    box: Box,
    rng: Generator,
    batch: int | None,
) -> Found:
    """Run all ascents of all rows."""
    x, runs = x.detach(), ascents.restarts * ascents.targets.shape[1]
    here = x[:1].contiguous().to(rng.device)  # drawn in this order
    starts = torch.cat([ascents.ball.sample(here, rng) for _ in range(runs)]).to(x.device)
    questions = len(x) * runs * (ascents.steps + 1)
    with asking(model, x, gradients=True, questions=questions, batch=batch) as pace:
        laid = Laid(watched(model, y), x.shape[1:], pace)
        search = _Climb(laid, ascents, x, y, starts, laid.box(box))
        every, most = torch.arange(len(x), device=x.device), filling(pace, x, batch).rows
        drive(every, runs, most, search.begin, search.step)
    return search.found


class _State(NamedTuple):
    """One line a row that is under way; the paper's symbols behind the names."""

    row: Index
    run: Index
    k: Index
    y: Labels
    target: Labels
    x: Matrix
    z: Matrix  # x^(k)
    before: Matrix  # x^(k-1)
    top: Matrix  # x_max
    slope: Matrix  # the gradient there
    value: PerRow  # f(x^(k-1))
    highest: PerRow  # f_max
    rate: PerRow  # eta
    rises: Index  # steps that went up since the last checkpoint
    halved: Mask  # there
    then: PerRow  # f_max there


class _Climb:
    """Algorithm 1 on rows that are each at a step of their own."""

    def __init__(
        self,
        laid: Laid,
        ascents: Ascents,
        x: Rows,
        y: Labels,
        starts: Starts,
        box: Box,
    ) -> None:
        self.laid, self.ascents, self.box = laid, ascents, box
        self.x, self.y, self.starts = x, y, laid.matrix(starts)
        w = torch.tensor((0, *checkpoints(ascents.steps)), device=x.device)
        self.least = x.new_full((ascents.steps + 1,), math.nan)  # rises asked for at a checkpoint
        self.least[w[1:]] = ascents.rho * w.diff().to(x.dtype)
        self.found = Found(x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device))
        self.height = x.new_full((len(x),), -math.inf)

    def begin(self, row: Index, run: Index) -> _State:
        """x^(0) of some rows."""
        x = self.laid.matrix(self.x[row])
        z = self.box.clip(x + self.starts[run])
        low, none = x.new_full((len(x),), -math.inf), torch.zeros_like(row)
        target = self.ascents.targets[row, run % self.ascents.targets.shape[1]]
        return _State(
            row=row,
            run=run,
            k=none,
            y=self.y[row],
            target=target,
            x=x,
            z=z,
            before=z,
            top=torch.empty_like(z),
            slope=torch.empty_like(z),
            value=-low,
            highest=low,
            rate=torch.full_like(low, FIRST * self.ascents.ball.radius),
            rises=none,
            halved=none.bool(),
            then=low,
        )

    def step(self, s: _State) -> tuple[_State, Mask, Mask]:
        """From x^(k) to x^(k+1); which ascents have ended, and which rows are settled."""
        height = self.ascents.height
        logits, value, gradient = self.laid.ascent(s.z, lambda z: height(z, s.y, s.target))
        sound, wrong = finite(logits, gradient), logits.argmax(1) != s.y
        self._keep(s, value, wrong, sound)
        settled = ~sound | wrong if self.ascents.first else ~sound
        ended = settled | (s.k >= self.ascents.steps)
        up = (value > s.highest).nonzero().squeeze(1)
        s.top.index_copy_(0, up, s.z.index_select(0, up))
        s.slope.index_copy_(0, up, gradient.index_select(0, up))
        s = s._replace(
            highest=value.maximum(s.highest), rises=s.rises + (value > s.value), value=value
        )
        return self._move(*self._halve(s, gradient)), ended, settled

    def _keep(self, s: _State, value: PerRow, wrong: Mask, sound: Mask) -> None:
        """What of x^(k) is returned, if nothing better comes."""
        if self.ascents.first:
            better = wrong
        else:
            known = self.found.wrong[s.row]
            higher = (wrong == known) & (value > self.height[s.row])
            better = (wrong & ~known) | higher
        at = (better | ~sound).nonzero().squeeze(1)
        if len(at):
            row = s.row[at]
            z = s.z[at].masked_fill(~sound[at].view(-1, 1), math.nan)
            self.found.x_adv[row] = self.laid.rows(z)
            self.found.wrong[row] = (wrong & sound)[at]
            self.height[row] = value[at]

    def _halve(self, s: _State, gradient: Matrix) -> tuple[_State, Matrix]:
        """Conditions 1 and 2 of section 3.2, in the rows that are at a checkpoint."""
        least = self.least[s.k]
        there = ~least.isnan()
        if not bool(there.any()):
            return s, gradient
        few, stuck = s.rises < least, ~s.halved & (s.then >= s.highest)
        halve = there & (few | stuck)
        back = halve.view(-1, 1)
        s = s._replace(
            z=torch.where(back, s.top, s.z),
            rate=torch.where(halve, s.rate / 2, s.rate),
            rises=s.rises.masked_fill(there, 0),
            halved=torch.where(there, halve, s.halved),
            then=torch.where(there, s.highest, s.then),
        )
        return s, torch.where(back, s.slope, gradient)

    def _move(self, s: _State, gradient: Matrix) -> _State:
        """The step along the gradient, then the one with momentum; the first has none."""
        step = self.ascents.ball.steepest(gradient) * s.rate.view(-1, 1)
        z = self._nearest(s.x, step.add_(s.z))
        alpha = torch.where(s.k == 0, 1.0, ALPHA).to(z.dtype).view(-1, 1)
        moved = torch.lerp(s.z, z, alpha).add_((s.z - s.before).mul_(1 - alpha))
        return s._replace(k=s.k + 1, before=s.z, z=self._nearest(s.x, moved))

    def _nearest(self, x: Matrix, z: Matrix) -> Matrix:
        """P_S; writes into `z`."""
        return self.box.clip(self.ascents.ball.project(z.sub_(x)).add_(x))
