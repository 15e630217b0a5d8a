"""Where a decision-based attack starts: some point with another label, the nearer the better."""

import math
from collections.abc import Generator

import torch
from jaxtyping import Float
from torch import Generator as Random
from torch import Tensor

from trilemma.attacks.evasion.questions import Answer, Question
from trilemma.attacks.evasion.steps import Group, bisect
from trilemma.core.box import Box
from trilemma.core.types import Rows

TRIES = 50  # noises before the fall-backs
GRAINS = (1, 2, 4, 7, 14)  # side of the squares of one value, in pixels
HALVINGS = 4  # of the way to a start, before it is compared with the next


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
        grain, reach = GRAINS[index % len(GRAINS)], 4.0 ** (index // len(GRAINS))
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

    A candidate is asked about at the distance of the nearest start so far, on the line from the
    row to it: only if that is adversarial is it nearer.

    Returns:
        (r, d) adversarial points, and (r,) whether there is one.
    """
    x = group.x
    far = x.clone()
    distance = x.new_full((len(x),), math.inf)
    for count, candidate in enumerate(tries):
        way = candidate - x
        length = group.length(way)
        rows = (length > 0).nonzero().squeeze(1)
        if count >= wanted:
            rows = rows[distance[rows].isinf()]
            if len(rows) == 0 and count >= wanted:
                break
        share = (distance / length).clamp(max=1.0)[rows].view(-1, 1)
        point = group.box.clip(x[rows] + share * way[rows])
        hit = yield group.ask(rows, point)
        if bool(hit.any()):
            rows, point = rows[hit], point[hit]
            point = yield from bisect(group.of(rows), point, HALVINGS)
            far[rows] = point
            distance[rows] = group.length(far - x)[rows]
    missing = distance.isinf().nonzero().squeeze(1)
    if len(missing):  # the last fall-back depends on the row: its negative
        point = group.negative()[missing]
        hit = yield group.ask(missing, point)
        far[missing[hit]] = point[hit]
        distance[missing[hit]] = group.length(far - x)[missing[hit]]
    return far, distance.isfinite()
