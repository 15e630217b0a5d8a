"""Gradients from scores alone, and ZOO, which descends them (Chen et al. 2017)."""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass as plain
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator as Random
from torch import Tensor

from trilemma.attacks.evasion.boundary import Boundary
from trilemma.attacks.evasion.questions import Flat, Leave, Margin, Part, Question, Target, Walk
from trilemma.attacks.evasion.steps import Group
from trilemma.attacks.evasion.walking import Budgets, advance, prepared
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.types import Labels, PerRow, Rows
from trilemma.oracles import Oracle

Score: TypeAlias = Callable[[Rows], PerRow]
ANYWHERE = Box(-math.inf, math.inf)
CALL = 1024  # points in a call of a score
ROOM = 2**22  # numbers in one
BETAS = 0.9, 0.9  # Adam's; the price changes the gradient's size, so its square is soon forgotten
TINY = 1e-12  # keeps Adam's ratio finite where no gradient ever was
DEARER, CHEAPER = 1.5, 1.1  # the price, outside and inside
COOLER = 0.9  # the rate, at each crossing of the boundary
PASSES = 64  # over the coordinates, each in another order; then they come again


@plain(frozen=True)
class Pairs:
    """Two points a coordinate: z + h e_i and z - h e_i, cut to the box.

    Args:
        z: (r, d) where the gradient is wanted.
        at: (r, m) the coordinates.
        ends: (r, m, 2) what the coordinate is in either point.
    """

    z: Flat
    at: Int[Tensor, "r m"]
    ends: Float[Tensor, "r m 2"]

    @classmethod
    def around(cls, z: Flat, at: Int[Tensor, "r m"], h: float | Tensor, box: Box) -> "Pairs":
        """Of some coordinates; `h` and `box` are numbers, or one number a feature."""
        low, high, half = (
            end.to(z)[at] if isinstance(end, Tensor) else end for end in (box.low, box.high, h)
        )
        own, inside = z.gather(1, at), Box(low, high)
        return cls(z, at, torch.stack([inside.clip(own + half), inside.clip(own - half)], 2))

    def points(self, part: Part) -> Flat:
        """Some of the r m 2 points, built when they are asked for."""
        place = torch.arange(self.ends.numel(), device=self.z.device)[part]
        point = self.z[place // (2 * self.at.shape[1])]
        ends = self.ends.flatten()[place].view(-1, 1)
        return point.scatter_(1, self.at.flatten()[place // 2].view(-1, 1), ends)

    def quotient(self, scores: Float[Tensor, " p"]) -> Flat:
        """(r, d) difference of the scores over that of the points; 0 in all other coordinates."""
        scores = scores.view(self.ends.shape)
        rise, run = (pair[..., 0] - pair[..., 1] for pair in (scores, self.ends))
        slope = torch.where(run > 0, rise / run, 0.0).to(self.z)
        return torch.zeros_like(self.z).scatter_(1, self.at, slope)


def symmetric_difference(
    score: Score,
    x: Rows,
    h: float | Tensor,
    *,
    coordinates: Int[Tensor, " m"] | None = None,
    box: Box | None = None,
    batch: int | None = None,
) -> Rows:
    r"""Gradient of any score of single rows, from 2 m of its values a row.

    .. math:: \hat g_i = \frac{f(x + h e_i) - f(x - h e_i)}{2 h}

    Exact for quadratics, off by O(h^2) where f has three derivatives; of a piecewise-constant f (a
    tree's) it is the mean slope over the width 2 h, and 0 where no step lies within.

    Args:
        score: one number for each row, which depends on no other row; asked without gradients.
        x: (n, *x) inputs inside `box`.
        h: half the width, in the inputs' unit, above 0; a tensor broadcasts over a row. Below
            about 1e-3 of the inputs' size float32 answers leave little of the difference.
        coordinates: (m,) the features wanted, counted in the flattened row, each once; None is
            all of them. The others' gradient is 0.
        box: where the score may be asked. Both points are cut to it and the difference of the
            scores is divided by that of the points: one-sided at an edge, with an error of O(h).
        batch: points a call; None is 1,024, fewer where the inputs are large.

    Returns:
        (n, *x) the estimate.

    Raises:
        BadInput: h is not above 0, or a coordinate is not a feature.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
        >>> symmetric_difference(lambda z: z.square().sum(1), x, 0.5)
        tensor([[2., 4.]], dtype=torch.float64)

    Source:
        Chen, Zhang, Sharma, Yi & Hsieh, "ZOO: zeroth order optimization based black-box attacks
        to deep neural networks without training substitute models", AISec 2017, eq. 6.
    """
    z = x.detach().flatten(1)
    n, d = z.shape
    wanted = torch.arange(d, device=z.device) if coordinates is None else coordinates.to(z.device)
    _check(h, wanted, d)
    if z.numel() == 0 or len(wanted) == 0:
        return torch.zeros_like(x)
    h, box = (
        _vector(h, x),
        Box(*(_vector(end, x) for end in ((box or ANYWHERE).low, (box or ANYWHERE).high))),
    )
    gradient = torch.empty_like(z)
    most = batch or max(1, min(CALL, ROOM // d))
    rows = max(1, most // (2 * len(wanted)))  # so that what lies between calls is bounded, too
    with torch.no_grad():
        for i in range(0, n, rows):
            some = z[i : i + rows]
            pairs = Pairs.around(some, wanted.expand(len(some), -1), h, box)
            scores = [
                score(pairs.points(slice(j, j + most)).view(-1, *x.shape[1:]))
                for j in range(0, pairs.ends.numel(), most)
            ]
            gradient[i : i + rows] = pairs.quotient(torch.cat(scores))
    return gradient.view(x.shape)


def _check(h: float | Tensor, coordinates: Tensor, d: int) -> None:
    if not bool((torch.as_tensor(h) > 0).all()):
        raise BadInput("h", f"is {h}", "Give half the width of the difference, above 0")
    if len(coordinates) and not 0 <= int(coordinates.min()) <= int(coordinates.max()) < d:
        raise BadInput(
            "coordinates",
            f"span {int(coordinates.min())} to {int(coordinates.max())}",
            f"A row has {d} features: 0 to {d - 1}",
        )


def _vector(number: float | Tensor, like: Rows) -> float | Tensor:
    """What broadcasts over a row, as one number for each of its features."""
    if isinstance(number, Tensor):
        return number.to(like).expand(like.shape[1:]).flatten()
    return number


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class ZOO:
    """ZOO: the nearest adversarial point by Adam, from scores alone.

    Each step outside the boundary estimates the slope of the margin in some coordinates from two
    queries each; the distance's is known. Two things spend queries better than in the paper:
    slopes are remembered, so that a step moves every coordinate that was ever asked about, and
    the price of the margin, for which the paper descends anew several times, follows the row,
    half as dear again at each step outside, a tenth less at each inside, where one takes 1 query.

    Source: Chen, Zhang, Sharma, Yi & Hsieh, "ZOO: zeroth order optimization based black-box
    attacks to deep neural networks without training substitute models", AISec 2017.

    Args:
        norm: of the distance that is made small: 2, the paper's.
        max_queries: rows that the oracle may answer for one input, at least 1; all are used.
        targeted: whether y are labels to reach, not to leave.
        h: half the width of the difference, as a share of the box's width (in the inputs' unit,
            where it has no end), in (0, 1]. A network wants a small one; a tree a large one,
            since all it tells is on which side of a step a point lies.
        coordinates: whose slopes a step asks about, at least 1; all, if there are fewer.
        learning_rate: Adam's first, as a share of the box's width (or in the inputs' unit); it
            falls by a tenth at each crossing of the boundary, by less where a step asks about
            only some of the coordinates.
        confidence: kappa, in nats: how far beyond the boundary the margin still weighs. The
            nearest adversarial point is returned, whatever its margin.
        initial_const: c, the first price of a nat of the margin.
        budgets: numbers of queries at which the trace is read, increasing; None is 64 of them,
            evenly on a logarithmic scale.

    Example:
        >>> ZOO(max_queries=5000, h=1e-3).coordinates
        32
    """

    REVISION: ClassVar[int] = 1
    scores: ClassVar[bool] = True  # what the oracle tells beyond the first label counts

    norm: Literal[2] = 2
    max_queries: Annotated[int, Field(ge=1)] = 10000
    targeted: bool = False
    h: Annotated[float, Field(gt=0, le=1)] = 1e-4
    coordinates: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.03
    confidence: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    initial_const: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    budgets: Budgets | None = None


def zoo(
    oracle: Oracle,
    x: Rows,
    y: Labels,
    config: ZOO,
    *,
    box: Box = UNIT,
    rng: Random,
    batch: int | None = None,
) -> Boundary:
    r"""The nearest point with another label that scores lead to.

    .. math:: \min_{x'} \|x' - x\|_2^2 + c \max(\mathrm{margin}(x'), -\kappa), \qquad
              \mathrm{margin}(x') = \log F(x')_y - \max_{j \ne y} \log F(x')_j

    by Adam, coordinate by coordinate, from x, clipped to the box at each step. Nothing is drawn but
    the order of the coordinates.

    Args:
        oracle: all its scores are looked at; one that tells only the first label leads nowhere.
        x: (n, *x) inputs inside `box`.
        y: (n,) their true labels; those wanted, if targeted.
        config: budget and descent.
        box: the valid inputs.
        rng: draws the order of the coordinates, for all rows at once, so that what becomes of a
            row does not depend on the rows beside it, and a larger budget continues the path of
            a smaller one.
        batch: rows a call; None is measured.

    Returns:
        See `Boundary`. A row misclassified as it is has distance 0 after one query; one whose
        descent met no adversarial point has distance infinity. If the oracle raises
        `BudgetExceeded`, the best so far is returned and `exhausted` says which rows were not
        finished.

    Raises:
        BadInput: inputs outside the box, labels that the oracle does not know.

    Example:
        >>> import torch
        >>> from trilemma.core.generators import seeded
        >>> from trilemma.oracles import Local
        >>> x, y = torch.tensor([[0.75, 0.25]]), torch.tensor([0])
        >>> oracle = Local(torch.nn.Identity(), classes=2)
        >>> found = zoo(oracle, x, y, ZOO(max_queries=500), rng=seeded(0))
        >>> round(found.distance.item(), 2)  # half of 0.5, times the square root of 2
        0.35

    Source:
        Chen et al. 2017, section 3: eqs. 4 to 6, algorithm 2 (ZOO-ADAM). There the margin is
        cut at the points asked about, here at x', so that inside nothing need be asked.
    """
    target = prepared("ZOO", x, y, box, oracle, config.targeted, float(config.norm))
    target = replace(target, scores=True)
    orders = _orders(target, config.coordinates, rng)
    return advance(
        oracle,
        target,
        lambda group: _descend(group, config, orders),
        box,
        config.max_queries,
        config.budgets,
        batch,
    )


def _orders(target: Target, coordinates: int, rng: Random) -> Int[Tensor, "s m"]:
    """The coordinates of one step after another: all come up once before one comes again."""
    d = target.features
    m = min(coordinates, d)
    passes = max(1, min(PASSES, ROOM // max(d, 1)))
    drawn = torch.rand(passes, d, generator=rng, device=rng.device).argsort(1)
    steps = -(-d // m) if m else 0
    wrapped = torch.arange(steps * m, device=drawn.device) % max(d, 1)  # a last step is filled up
    return drawn[:, wrapped].view(passes * steps, m).to(target.x.device)


def _descend(group: Group, config: ZOO, orders: Int[Tensor, "s m"]) -> Walk:
    """ZOO-ADAM on the distance plus c times the margin (algorithm 2)."""
    margin = yield group.ask(group.everywhere(), group.x)
    yield Leave(group.rows[margin < 0])
    group = group.of((margin >= 0).nonzero().squeeze(1))
    x, box, m, (first, second) = group.x, group.box, orders.shape[1], BETAS
    width = _width(box, x)
    z, slope, mean, square, count = x, *torch.zeros(4, *x.shape).to(x)
    known = torch.zeros_like(x, dtype=torch.bool)
    c, rate = (
        x.new_full((len(x), 1), each) for each in (config.initial_const, config.learning_rate)
    )
    turn = torch.zeros_like(group.rows)
    outside = torch.ones_like(turn, dtype=torch.bool)
    while len(x):
        out = outside.nonzero().squeeze(1)
        if len(out):
            at = orders[turn[out] % len(orders)]
            new = yield from _slope(group.of(out), z[out], at, config.h * width)
            slope[out] = slope[out].scatter(1, at, new)
            known[out] = known[out].scatter(1, at, True)
        turn += outside
        out = outside.view(-1, 1)
        gradient = torch.where(out, 2 * (z - x) + c * slope, 2 * (z - x))
        c = torch.where(out, c * DEARER, c / CHEAPER)

        count += known
        mean.lerp_(gradient, 1 - first)
        square.lerp_(gradient**2, 1 - second)
        step = mean / (1 - first**count) / ((square / (1 - second**count)).sqrt() + TINY)
        z = torch.where(known, box.clip(z - rate * width * step), z)
        margin = yield group.ask(group.everywhere(), z)
        before, outside = outside, (margin >= 0) | (margin > -config.confidence)
        rate[before != outside] *= COOLER ** (m / x.shape[1])


def _slope(
    group: Group, z: Flat, at: Int[Tensor, "r m"], h: Tensor
) -> Generator[Question, Margin, Float[Tensor, "r m"]]:
    """The margin's, in some coordinates."""
    pairs, each = Pairs.around(z, at, h, group.box), 2 * at.shape[1]
    order = torch.arange(each, device=z.device).repeat(len(z))
    margins = yield Question(group.rows.repeat_interleave(each), order, pairs.points)
    return pairs.quotient(margins).gather(1, at)


def _width(box: Box, like: Flat) -> Tensor:
    """Of each feature of the box; 1 where it has no end."""
    low, high = (torch.as_tensor(end).to(like) for end in (box.low, box.high))
    width: Tensor = high - low
    return width.where(width.isfinite(), 1.0).expand(like.shape[1])
