"""Square attack: random search with square windows (Andriushchenko et al. 2020)."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Annotated, ClassVar, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor
from torch.nn import functional as F

from trilemma.attacks.evasion.climb import Found
from trilemma.attacks.evasion.gradients import check_inside, check_labels, no_less, watched
from trilemma.attacks.evasion.pool import Index, capacity, filling
from trilemma.attacks.evasion.windows import (
    EVERYWHERE,
    Window,
    bumps_of,
    odd,
    pyramids,
    sides,
    signs_of,
    windows_of,
)
from trilemma.core.balls import Ball, Linf
from trilemma.core.box import UNIT, Box
from trilemma.core.pace import Pace, asking
from trilemma.core.types import Classifier, Labels, PerRow, Rows

Grid: TypeAlias = Float[Tensor, "n h w c"]  # inputs as images, channels last
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries
TILES = 5  # a side, of the start for L2
TINY = 1e-12


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class Square:
    """Random search that changes a window at a time, by the model's scores alone.

    Args:
        ball: the perturbations that are allowed; radius 0 allows none.
        queries: N, of a row and run, at most; a row that is misclassified asks no more.
        p_init: p, share of the pixels in the first windows. It is halved after 10, 50, 200, 500,
            1000, 2000, 4000, 6000 and 8000 of 10,000 queries, and in proportion for another N, as
            in AutoAttack (the paper's list has no 500).
        restarts: runs, each from draws of its own.

    Source:
        Andriushchenko et al., "Square Attack: a query-efficient black-box adversarial attack via
        random search", ECCV 2020.
    """

    REVISION: ClassVar[int] = 1

    ball: Ball
    queries: Annotated[int, Field(ge=1)] = 5000
    p_init: Annotated[float, Field(gt=0, le=1)] = 0.8
    restarts: Annotated[int, Field(ge=1)] = 1

    def scaled(self, share: float) -> "Square":
        """The same attack in a ball of `share` times the radius."""
        return dataclasses.replace(self, ball=type(self.ball)(share * self.ball.radius))


def square(
    model: Classifier,
    x: Rows,
    y: Labels,
    config: Square,
    *,
    box: Box = UNIT,
    rng: Generator,
    batch: int | None = None,
) -> Rows:
    r"""Inputs near `x` that change the label, or the lead of the label the most.

    Minimises z_y - max_{j != y} z_j: a change of one window (the same for all rows) is kept where
    it lowers this lead. For Linf a window becomes x +- radius, channel by channel, and the start is
    vertical stripes; for L2 mass is moved from one window to another, on which a pyramid of random
    sign is added, and the start is a tiling with pyramids.

    An input of shape (c, h, w) is an image, (h, w) one of a single channel; any other is taken as
    the one row of an image: windows are runs of neighbouring features, whose length is the share p
    of them, and stripes are single features.

    Args:
        model: logits out; only its answers are used.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels.
        config: the attack's hyper-parameters.
        box: the valid inputs.
        rng: draws windows and signs, one set for all rows.
        batch: rows a call; None measures what is fastest.

    Returns:
        (n, *x) points of the ball around `x` and of the box: the first misclassified one, else the
        one of the smallest lead. A row with an answer that is not a finite number is NaN.

    Raises:
        BadInput: some input lies outside the box; labels are not one a row or not among the
            model's classes.

    Example:
        >>> import torch
        >>> from trilemma.core.generators import seeded
        >>> model = torch.nn.Linear(2, 2)
        >>> x, y = torch.full((3, 2), 0.5), torch.tensor([0, 1, 0])
        >>> x_adv = square(model, x, y, Square(ball=Linf(0.25), queries=10), rng=seeded(0))
        >>> (x_adv - x).abs().max().item()
        0.25

    Source:
        Andriushchenko et al. 2020, algorithms 1-3.
    """
    check_inside("Square", x, box)
    y = check_labels(x, y)
    if config.ball.radius == 0 or len(x) == 0:
        return x.detach().clone()
    return search(model, x, y, config, box=box, rng=rng, batch=batch).x_adv


def search(
    model: Classifier,
    x: Rows,
    y: Labels,
    config: Square,
    *,
    box: Box,
    rng: Generator,
    batch: int | None,
) -> Found:
    """`square`, and which rows are misclassified in the end."""
    questions = len(x) * config.queries * config.restarts
    with (
        asking(model, x, gradients=False, questions=questions, batch=batch) as pace,
        torch.no_grad(),
    ):
        asked = _Asked(watched(model, y), x.detach(), y, box, filling(pace, x, batch))
        best, lowest = _run(asked, torch.arange(len(x), device=x.device), config, rng)
        for _ in range(config.restarts - 1):
            left = (lowest >= 0).nonzero().squeeze(1)
            points, leads = _run(asked, left, config, rng)
            lower = ~(leads >= lowest[left])  # a NaN must win, so that it is seen
            best[left[lower]], lowest[left[lower]] = points[lower], leads[lower]
        best[lowest.isnan()] = math.nan
        return Found(asked.inputs(best).contiguous(), lowest < 0)


class _Part(NamedTuple):
    """Rows that share a call; what is found is written into the last three."""

    at: Index  # which rows of the run
    y: Int[Tensor, "n 1"]
    x: Grid
    best: Grid
    lowest: PerRow  # lead of the label at the best points
    used: Float[Tensor, "n 1 1 1"]  # squared distance of the best points; for L2 alone

    def going(self, most: int) -> list["_Part"]:
        """The rows that are not misclassified yet, in calls of much the same size."""
        left = (self.lowest >= 0).nonzero().squeeze(1)
        if not len(left):
            return []
        calls = left.split(capacity(len(left), 1, most))
        return [_Part(*(field[each] for field in self)) for each in calls]


class _Asked:
    """The rows as images, and the model's scores of others like them."""

    def __init__(self, model: Classifier, x: Rows, y: Labels, box: Box, pace: Pace) -> None:
        self.model, self.y, self.pace, self.shape = model, y, pace, x.shape[1:]
        self.x = self.grid(x)
        self.low, self.high = self._bound(box.low), self._bound(box.high)

    def grid(self, x: Rows) -> Grid:
        """Inputs as images."""
        if len(self.shape) == 3:
            return x.permute(0, 2, 3, 1).contiguous()
        h = self.shape[0] if len(self.shape) == 2 else 1
        return x.reshape(len(x), h, -1, 1)

    def inputs(self, z: Grid) -> Rows:
        """Images as inputs."""
        return z.permute(0, 3, 1, 2) if len(self.shape) == 3 else z.reshape(-1, *self.shape)

    def lead(self, z: Grid, y: Int[Tensor, "n 1"]) -> PerRow:
        """z_y - max_(j != y) z_j; NaN where some logit is not finite."""
        logits = self.model(self.pace.lay(self.inputs(z)))
        lead = logits.gather(1, y).squeeze(1) - logits.scatter(1, y, -math.inf).amax(1)
        return lead if math.isfinite(logits.sum()) else lead + 0 * logits.sum(1)

    def clip(self, z: Grid, window: Window) -> Grid:
        """The valid part of what is to fill a window."""
        if isinstance(self.low, float) and isinstance(self.high, float):
            return z.clamp_(self.low, self.high)
        low, high = (
            bound if isinstance(bound, float) else bound[window] for bound in (self.low, self.high)
        )
        return z.clamp_(min=low).clamp_(max=high)

    def part(self, row: Index) -> _Part:
        """Rows of which nothing is known yet."""
        x = self.x[row]
        nothing = x.new_zeros(len(x), 1, 1, 1)
        at, unknown = torch.arange(len(x), device=x.device), x.new_full((len(x),), math.inf)
        return _Part(at, self.y[row].view(-1, 1), x, x.clone(), unknown, nothing)

    def _bound(self, bound: float | Tensor) -> float | Tensor:
        if not isinstance(bound, Tensor):
            return float(bound)
        return self.grid(bound.to(self.x).expand(1, *self.shape))


def _run(asked: _Asked, rows: Index, config: Square, rng: Generator) -> tuple[Grid, PerRow]:
    """Algorithm 1: the best points of `rows`, and their leads."""
    steps = (_Linf if isinstance(config.ball, Linf) else _L2)(asked, config, rng)
    whole, most = asked.part(rows), asked.pace.rows
    parts = whole.going(most)
    for t in range(config.queries):
        ended = False
        for part in parts:
            z = steps.next(part, t) if t else steps.start(part.x)
            lead = asked.lead(z, part.y)
            # Not `lead < lowest`: a NaN must win, so that it is seen.
            better = (lead >= part.lowest).logical_not_().nonzero().squeeze(1)
            if len(better):
                z, lead = z.index_select(0, better), lead.index_select(0, better)
                part.best.index_copy_(0, better, z)
                part.lowest.index_copy_(0, better, lead)
                steps.kept(part, z, better)
                ended |= not bool((lead >= 0).all())
        if ended:
            _write(whole, parts)
            parts = _joined(parts).going(most)
        if not parts:
            break
    _write(whole, parts)
    return whole.best, whole.lowest


def _joined(parts: list[_Part]) -> _Part:
    return _Part(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def _write(whole: _Part, parts: list[_Part]) -> None:
    """What the parts have found, in their rows of `whole`."""
    for part in parts:
        whole.best[part.at], whole.lowest[part.at] = part.best, part.lowest


def shares(config: Square) -> Iterator[float]:
    """p at each query."""
    for t in range(config.queries):
        at = 10_000 * t // config.queries
        yield config.p_init / 2 ** sum(at > each for each in HALVINGS)


class _Linf:
    """Algorithm 2, on the draws of one run."""

    def __init__(self, asked: _Asked, config: Square, rng: Generator) -> None:
        (_, h, w, c), n = asked.x.shape, config.queries
        self.asked = asked
        self.radius = config.ball.radius
        stripes, signs = signs_of((1, w, c), asked.x, rng), signs_of((n, c), asked.x, rng)
        self.stripes, self.changes = self.radius * stripes, self.radius * signs
        self.windows = windows_of([sides(p, h, w) for p in shares(config)], h, w, rng)

    def start(self, x: Grid) -> Grid:
        """Vertical stripes of one pixel."""
        return self.asked.clip(x + self.stripes, EVERYWHERE)

    def next(self, part: _Part, t: int) -> Grid:
        """The best points with one window at x +- radius."""
        z, window = part.best.clone(), self.windows[t]
        z[window] = self.asked.clip(part.x[window] + self.changes[t], window)
        return z

    def kept(self, part: _Part, z: Grid, at: Index) -> None:
        """Nothing to remember."""


class _L2:
    """Algorithm 3, on the draws of one run."""

    def __init__(self, asked: _Asked, config: Square, rng: Generator) -> None:
        (_, h, w, c), n = asked.x.shape, config.queries
        self.asked, self.ball = asked, config.ball
        windows = [(odd(a, h), odd(b, w)) for a, b in (sides(p, h, w) for p in shares(config))]
        self.bumps = bumps_of(windows, signs_of((n, c), asked.x, rng), rng)
        self.first = windows_of(windows, h, w, rng)
        self.second = windows_of(windows, h, w, rng)
        self.tiles = self._tiling(h, w, c, rng)

    def start(self, x: Grid) -> Grid:
        """Pyramids of random sign, tile by tile."""
        delta = self.tiles.expand(x.shape)
        return self.asked.clip(x + self.ball.project(self.ball.radius * delta), EVERYWHERE)

    def next(self, part: _Part, t: int) -> Grid:
        """The best points with mass moved from the second window to the first, and a pyramid."""
        z, first, second = part.best.clone(), self.first[t], self.second[t]
        x, beside = part.x[first], part.x[second]
        here = z[first] - x
        mass = _squares(here)
        z[first] = x  # what the windows share counts once
        there = _squares(z[second] - beside)
        unused = (self.ball.radius**2 - part.used).clamp_(min=0)
        new = here.div_(mass.sqrt().clamp_(min=no_less(TINY, z))).add_(self.bumps[t])
        size = (mass + there).add_(unused, alpha=1 / z.shape[-1]).sqrt_()
        new *= size / _squares(new).sqrt_().clamp_(min=no_less(TINY, z))
        z[second] = beside
        z[first] = self.asked.clip(new.add_(x), first)
        return z

    def kept(self, part: _Part, z: Grid, at: Index) -> None:
        """How much of the ball these points use."""
        used = _squares(z - part.x.index_select(0, at)).sum(-1, keepdim=True)
        part.used.index_copy_(0, at, used)

    def _tiling(self, h: int, w: int, c: int, rng: Generator) -> Grid:
        a, b = max(h // TILES, 1), max(w // TILES, 1)
        down, across = h // a, w // b
        signs = signs_of((down * across, c), self.asked.x, rng)
        turned = torch.rand(down * across, generator=rng, device=rng.device).lt(0.5).tolist()
        delta = signs.new_zeros(1, h, w, c)
        top, left = (h - down * a) // 2, (w - across * b) // 2
        for k in range(down * across):
            i, j = top + k // across * a, left + k % across * b
            bump = pyramids(a, b, turned=turned[k]).to(signs).unsqueeze(-1)
            delta[0, i : i + a, j : j + b] = bump * signs[k]
        return F.normalize(delta.flatten(1)).view_as(delta)


def _squares(nu: Grid) -> Float[Tensor, "n 1 1 c"]:
    """Each channel's sum of squares."""
    flat = nu.flatten(1, 2)
    squares: Tensor = torch.linalg.vecdot(flat, flat, dim=1)
    return squares.view(len(nu), 1, 1, -1)
