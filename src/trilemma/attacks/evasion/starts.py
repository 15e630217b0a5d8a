"""Where a decision-based attack starts: some point with another label, the nearer the better."""

import math
from collections.abc import Generator
from functools import partial

import torch
from jaxtyping import Float
from torch import Generator as Random
from torch import Tensor

from trilemma.attacks.evasion.questions import Answer, Part, Question
from trilemma.attacks.evasion.steps import Group
from trilemma.core.box import Box
from trilemma.core.types import Rows

TRIES = 50  # noises before the fall-backs
GRAINS = (1, 2, 4, 7, 14)  # side of the squares of one value, in pixels
HALVINGS = 5  # of the distance in which starts are compared


def candidates(
    like: Float[Tensor, "*x"], box: Box, rng: Random, given: Rows | None
) -> Float[Tensor, "m d"]:
    """Points that may have another label, the same for every row, in the order they are tried.

    Those given; noise of growing grain (single pixels, then squares, for inputs that are images),
    uniform in the box and, for coarse grains, black or white, since networks tend to give all
    fine noise one label; last the darkest, a middle and the brightest input. Where the box
    has no end, the range grows fourfold every five tries.
    """
    noise = []
    for index in range(TRIES):
        grain = GRAINS[index % len(GRAINS)]
        reach = min(4.0 ** (index // len(GRAINS)), torch.finfo(like.dtype).max / 8)
        level = _grainy(like.shape, grain, rng).to(like)
        noise.append(_between(level, box, reach))
    plain = [_between(torch.full_like(like, level), box, 4.0) for level in (0.0, 0.5, 1.0)]
    found = torch.stack([*noise, *plain]).flatten(1)
    return found if given is None else torch.cat([given.to(like).flatten(1), found])


def _grainy(shape: torch.Size, grain: int, rng: Random) -> Tensor:
    """Levels in [0, 1] that are constant on squares; the coarse ones 0 or 1."""
    if len(shape) != 3:
        level = torch.rand(shape, generator=rng, device=rng.device)
    else:
        c, h, w = shape
        few = torch.rand(
            c, math.ceil(h / grain), math.ceil(w / grain), generator=rng, device=rng.device
        )
        level = few.repeat_interleave(grain, 1).repeat_interleave(grain, 2)[:, :h, :w]
    return level.round() if grain > GRAINS[1] else level


def _between(level: Tensor, box: Box, reach: float) -> Tensor:
    low = torch.as_tensor(box.low).to(level)
    high = torch.as_tensor(box.high).to(level)
    low = low.where(low.isfinite(), high.clamp(max=reach) - 2 * reach)
    high = high.where(high.isfinite(), low + 2 * reach)
    return low + level * (high - low)


def find(
    group: Group, tries: Float[Tensor, "m d"], wanted: int
) -> Generator[Question, Answer, tuple[Tensor, Tensor]]:
    """A start for each row: of the first `wanted` candidates the nearest, else the first found.

    Returns:
        (r, d) adversarial points, and (r,) whether there is one.
    """
    far, found = group.x, torch.zeros_like(group.rows, dtype=torch.bool)
    if len(tries):
        far, found = yield from _nearest(group, tries[:wanted])
    far = far.clone()
    for candidate in tries[wanted:]:
        left = (~found).nonzero().squeeze(1)
        if len(left) == 0:
            break
        yield from _take(group, left, candidate.expand(len(left), -1), far, found)
    left = (~found).nonzero().squeeze(1)
    if len(left):  # the last fall-back depends on the row: its negative
        yield from _take(group, left, group.negative()[left], far, found)
    return far, found


def _take(
    group: Group, rows: Tensor, point: Tensor, far: Tensor, found: Tensor
) -> Generator[Question, Answer, None]:
    """Ask about a point for each of some rows, and write it down where it is a start."""
    hit = yield group.ask(rows, point)
    far[rows[hit]], found[rows[hit]] = point[hit], True


def _nearest(
    group: Group, tries: Float[Tensor, "k d"]
) -> Generator[Question, Answer, tuple[Tensor, Tensor]]:
    """The candidates race: which is still adversarial, the nearer it is brought to the row?

    All are asked about at once; then those that are left at a common distance, halved between
    where some are and where none is. Those that lag behind drop out, so that ten candidates cost
    little more queries than three. (That one which is not adversarial at a distance may be so
    nearer by is left out of account, as in any bisection.)
    """
    x = group.x
    length = torch.stack([group.length(each - x) for each in tries], 1)
    running = length > 0
    low, high = torch.zeros_like(length[:, 0]), torch.full_like(length[:, 0], math.inf)
    for lap in range(1 + (HALVINGS if len(tries) > 1 else 0)):
        radius = high if lap == 0 else (low + high) / 2
        row, which = running.nonzero(as_tuple=True)
        share = (radius[row] / length[row, which]).clamp(max=1.0)
        hit = yield Question(
            rows=group.rows[row],
            order=(running.cumsum(1) - 1)[row, which],
            points=partial(_between_rows, group, tries, row, which, share),
        )
        ahead = torch.zeros_like(running).index_put((row, which), hit)
        some = ahead.any(1)
        running = ahead if lap == 0 else torch.where(some.view(-1, 1), ahead, running)
        nearest = length.masked_fill(~running, math.inf).amin(1)
        low = torch.where(some, low, radius) if lap else low
        high = torch.where(some, radius.minimum(nearest) if lap == 0 else radius, high)
    found = running.any(1)
    first = length.masked_fill(~running, math.inf).argmin(1)
    everywhere = group.everywhere()
    share = (high / length[everywhere, first]).clamp(max=1.0)
    far = _between_rows(group, tries, everywhere, first, share, slice(None))
    return torch.where(found.view(-1, 1), far, x), found


def _between_rows(
    group: Group, tries: Tensor, row: Tensor, which: Tensor, share: Tensor, part: Part
) -> Tensor:
    """Points on the lines from rows to candidates."""
    start = group.x[row[part]]
    return group.box.clip(start + share[part].view(-1, 1) * (tries[which[part]] - start))
