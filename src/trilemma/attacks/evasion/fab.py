"""Fast adaptive boundary attack, towards targets (Croce & Hein 2020)."""

import dataclasses
import math
from typing import Annotated, ClassVar, NamedTuple

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor

from trilemma.attacks.evasion.climb import Found, Starts, Targets, likeliest
from trilemma.attacks.evasion.gradients import (
    check_classes,
    check_inside,
    check_labels,
    no_less,
    wide,
)
from trilemma.attacks.evasion.losses import logit_of
from trilemma.attacks.evasion.pool import Index, Laid, Mask, Matrix, answers, drive, filling, finite
from trilemma.core.balls import L2, Ball
from trilemma.core.box import UNIT, Box
from trilemma.core.pace import asking
from trilemma.core.types import Classifier, Labels, Logits, PerRow, Rows

ROUNDS = 100  # of Newton's method; it ends by itself after a few
ENOUGH = 1e-4  # share of the way to a hyperplane that may be missing
SEARCHES = 10  # bisections at the end, to a thousandth of the distance
TINY = 1e-30
FAR = 1e30  # beyond any box


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class FABT:
    """Nearest adversarial examples, along the decision boundaries of likely wrong classes.

    Args:
        ball: its norm is what is minimised; a point outside of it does not count. The search makes
            no use of the radius: a large one asks for the nearest example wherever it is.
        steps: N_iter, steps a run.
        targets: wrong classes that are tried, those of the largest logits first; all of them
            where there are fewer.
        restarts: runs towards each target: the first from x, others from points at half the
            distance found so far.
        alpha_max: largest weight of the step that starts from x.
        eta: overshoot over the hyperplane, at least 1.
        beta: share of the way from x that is kept after a success.

    Source:
        Croce & Hein, "Minimally distorted adversarial examples with a fast adaptive boundary
        attack", ICML 2020; targeted as in their AutoAttack paper, ICML 2020, section 5.
    """

    REVISION: ClassVar[int] = 1

    ball: Ball
    steps: Annotated[int, Field(ge=1)] = 100
    targets: Annotated[int, Field(ge=1)] = 9
    restarts: Annotated[int, Field(ge=1)] = 1
    alpha_max: Annotated[float, Field(ge=0, le=1)] = 0.1
    eta: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.05
    beta: Annotated[float, Field(gt=0, le=1)] = 0.9

    def scaled(self, share: float) -> "FABT":
        """The same attack in a ball of `share` times the radius."""
        return dataclasses.replace(self, ball=type(self.ball)(share * self.ball.radius))


def fabt(
    model: Classifier,
    x: Rows,
    y: Labels,
    config: FABT,
    *,
    box: Box = UNIT,
    rng: Generator,
    batch: int | None = None,
) -> Rows:
    r"""The nearest misclassified inputs that linear models of the decision boundary lead to.

    .. math:: x^{(i+1)} = \Pi_C[(1 - \alpha)(x^{(i)} + \eta \delta^{(i)})
        + \alpha (x + \eta \delta_x^{(i)})], \quad
        \alpha = \min\{\|\delta^{(i)}\| / (\|\delta^{(i)}\| + \|\delta_x^{(i)}\|), \alpha_{max}\},

    where the deltas lead from x^(i) and from x to the nearest points, in the box C, of the
    hyperplane on which the model linearised at x^(i) is undecided between label and target; after
    a success x^(i+1) goes back to x + beta (x^(i+1) - x). At the end, the way from x is searched
    for the boundary, by bisection; the paper's three secant steps stop at a tie, no success.

    Args:
        model: logits out; queried in eval mode and handed back as it came, without gradients.
        x: (n, *x) inputs inside `box`.
        y: (n,) true labels.
        config: the attack's hyper-parameters.
        box: the valid inputs.
        rng: draws the starts of restarts, one for all rows in each run.
        batch: rows a call; None measures what is fastest.

    Returns:
        (n, *x): the nearest misclassified point that was found in the ball and the box; x itself
        where there is none, and where it is misclassified. A row with an answer or gradient that is
        not a finite number is NaN.

    Raises:
        BadInput: some input lies outside the box; labels are not one a row or not among the
            model's classes.

    Example:
        >>> import torch
        >>> from trilemma.core.balls import L2
        >>> from trilemma.core.generators import seeded
        >>> model = torch.nn.Identity()  # undecided where both features are equal
        >>> x, y = torch.tensor([[0.8, 0.2]]), torch.tensor([0])
        >>> x_adv = fabt(model, x, y, FABT(ball=L2(1.0)), rng=seeded(0))
        >>> round((x_adv - x).norm().item(), 2)  # of 0.6 / sqrt(2)
        0.42

    Source:
        Croce & Hein, "Minimally distorted adversarial examples", ICML 2020, algorithm 1.
    """
    check_inside("FABT", x, box)
    y = check_labels(x, y)
    if config.ball.radius == 0 or len(x) == 0:
        return x.detach().clone()
    with asking(model, x, gradients=False, questions=len(x), batch=batch) as pace:
        logits = answers(model, x, pace)
    check_classes(logits, y)
    targets = likeliest(logits, y, config.targets)
    return walk(model, x, y, Walks(config, targets), box=box, rng=rng, batch=batch).x_adv


@dataclasses.dataclass(frozen=True, eq=False)
class Walks:
    """The runs of an attack.

    Args:
        config: its hyper-parameters.
        targets: of each row.
        first: a row is done at its first misclassified point in the ball.
    """

    config: FABT
    targets: Targets
    first: bool = False


def walk(
    model: Classifier,
    x: Rows,
    y: Labels,
    walks: Walks,
    *,
    box: Box,
    rng: Generator,
    batch: int | None,
) -> Found:
    """Run algorithm 1 for all rows and targets."""
    x, runs = x.detach(), walks.config.restarts * walks.targets.shape[1]
    draws, questions = _draws(x, walks, rng), len(x) * runs * walks.config.steps
    with asking(model, x, gradients=True, questions=questions, batch=batch) as pace:
        laid = Laid(model, x.shape[1:], pace)
        search = _Search(laid, walks, x, y, draws, laid.box(box))
        every, most = torch.arange(len(x), device=x.device), filling(pace, x, batch).rows
        drive(every, runs, most, search.begin, search.step)
        if not walks.first:
            for each in pace.slices(len(x)):
                search.finish(each)
    return Found(search.x_adv, search.distance.isfinite())


def _draws(x: Rows, walks: Walks, rng: Generator) -> Starts:
    """From the ball of radius 1, for each run but the first towards each target, which has none."""
    here, t = x[:1].contiguous().to(rng.device), walks.targets.shape[1]
    unit = type(walks.config.ball)(1.0)
    drawn = [unit.sample(here, rng) for _ in range((walks.config.restarts - 1) * t)]
    return torch.cat([torch.zeros_like(here)] * t + drawn).to(x.device)


class _State(NamedTuple):
    row: Index
    run: Index
    i: Index
    y: Labels
    target: Labels
    x: Matrix
    z: Matrix  # x^(i)


class _Search:
    """Algorithm 1 on rows that are each at a step of their own."""

    def __init__(
        self,
        laid: Laid,
        walks: Walks,
        x: Rows,
        y: Labels,
        draws: Starts,
        box: Box,
    ) -> None:
        self.laid, self.config, self.first = laid, walks.config, walks.first
        self.x, self.y, self.targets = x, y, walks.targets
        self.draws, self.box = laid.matrix(draws), box
        self.x_adv, self.distance = x.clone(), x.new_full((len(x),), math.inf)

    def begin(self, row: Index, run: Index) -> _State:
        """x^(0) of some rows."""
        x, y, t = self.laid.matrix(self.x[row]), self.y[row], self.targets.shape[1]
        half = self.distance[row].clamp(max=self.config.ball.radius).view(-1, 1) / 2
        z = self.box.clip(x + half * self.draws[run])
        zero = torch.zeros_like(row)
        return _State(row=row, run=run, i=zero, y=y, target=self.targets[row, run % t], x=x, z=z)

    def step(self, s: _State) -> tuple[_State, Mask, Mask]:
        """From x^(i) to x^(i+1); which walks have ended, and which rows are settled."""
        config = self.config

        def lead(logits: Logits) -> PerRow:
            return logit_of(logits, s.target) - logit_of(logits, s.y)

        logits, f, w = self.laid.ascent(s.z, lead)
        sound = finite(logits, w)
        near = self._keep(s, s.z, logits)
        euclidean = isinstance(config.ball, L2)
        delta = to_hyperplane(s.z, w, f, self.box, euclidean=euclidean)
        way = torch.linalg.vecdot(w, s.x - s.z)
        delta_x = to_hyperplane(s.x, w, f + way, self.box, euclidean=euclidean)
        a, b = self._norms(delta), self._norms(delta_x)
        alpha = (a / (a + b).clamp(min=no_less(TINY, a))).clamp(max=config.alpha_max).view(-1, 1)
        z = torch.add(s.z, delta, alpha=config.eta)
        z = self.box.clip(z.lerp_(torch.add(s.x, delta_x, alpha=config.eta), alpha))
        logits = self.laid.logits(z)
        sound &= logits.sum(1).isfinite()
        near |= self._keep(s, z, logits)
        kept = torch.where(logits.argmax(1) != s.y, config.beta, 1.0).to(z.dtype)
        z = torch.lerp(s.x, z, kept.view(-1, 1))
        self._lose(s.row[~sound])
        settled = ~sound | near if self.first else ~sound | (self.distance[s.row] == 0)
        ended = settled | (s.i + 1 >= config.steps)
        return s._replace(i=s.i + 1, z=z), ended, settled

    def finish(self, each: slice) -> None:
        """The final search: bisections of the segments from x to the points found."""
        distance = self.distance[each]
        row = (distance.isfinite() & (distance > 0)).nonzero().squeeze(1) + each.start
        if not len(row):
            return
        x, out = self.laid.matrix(self.x[row]), self.laid.matrix(self.x_adv[row])
        inside = x
        for _ in range(SEARCHES):
            z = (inside + out) / 2
            wrong = (self.laid.logits(z).argmax(1) != self.y[row]).view(-1, 1)
            out, inside = torch.where(wrong, z, out), torch.where(wrong, inside, z)
        self.x_adv[row] = self.laid.rows(out)
        self.distance[row] = self._norms(out - x)

    def _keep(self, s: _State, z: Matrix, logits: Logits) -> Mask:
        """The nearest misclassified points so far; says which of `z` are misclassified nearby."""
        distance = self._norms(z - s.x)
        near = (logits.argmax(1) != s.y) & (distance <= self.config.ball.radius)
        at = (near & (distance < self.distance[s.row])).nonzero().squeeze(1)
        if len(at):
            self.x_adv[s.row[at]] = self.laid.rows(z[at])
            self.distance[s.row[at]] = distance[at]
        return near

    def _lose(self, row: Index) -> None:
        """Rows of which nothing can be said."""
        if len(row):
            self.x_adv[row], self.distance[row] = math.nan, math.inf

    def _norms(self, delta: Matrix) -> PerRow:
        if isinstance(self.config.ball, L2):
            euclidean: Tensor = torch.linalg.vector_norm(delta, dim=1)
            return euclidean
        return delta.abs().amax(1)  # many times faster than `vector_norm` with p = inf


def to_hyperplane(z: Matrix, w: Matrix, f: PerRow, box: Box, *, euclidean: bool) -> Matrix:
    r"""The shortest way from `z` to the hyperplane f + <w, delta> = 0 inside the box.

    With c_j the room that the box leaves feature j in the direction it must go, and s_j = 1 for
    Linf, |w_j| for L2, it is |delta_j| = min(t s_j, c_j) for the t with

    .. math:: g(t) = \sum_j |w_j| \min(t s_j, c_j) = |f|.

    g is concave and piecewise linear: Newton's method from below finds t in finitely many steps,
    without sorting. Where the box keeps the hyperplane out of reach, as near to it as can be.

    Example:
        >>> z, w = torch.tensor([[0.5, 0.9]]), torch.tensor([[1.0, 1.0]])
        >>> to_hyperplane(z, w, torch.tensor([-0.5]), Box(0.0, 1.0), euclidean=False)
        tensor([[0.4000, 0.1000]])

    Source:
        Croce & Hein, "Minimally distorted adversarial examples", ICML 2020, section 2.2, eq. 4.
    """
    if wide(z) != z.dtype:  # half precision: its squares are soon 0
        f, least = f.to(wide(z)), torch.finfo(z.dtype).min
        way = to_hyperplane(z.to(wide(z)), w.to(wide(z)), f, box, euclidean=euclidean)
        return way.clamp(least, -least).to(z.dtype)
    # No comparisons and no `where` on whole matrices: on a CPU they take as long as ten products.
    u = w * -f.sign().view(-1, 1)
    way, slope = u.sign(), u.abs()
    room = box.clip(torch.add(z, way, alpha=FAR)).sub_(z).abs_()
    gain = slope.square() if euclidean else slope
    need, steepest = f.abs(), gain.sum(1)
    t = torch.where(steepest > 0, need / steepest.clamp(min=TINY), 0)
    for _ in range(ROUNDS):
        reach = t.view(-1, 1) * slope if euclidean else t.view(-1, 1)
        move = torch.minimum(reach, room)
        short = need - torch.linalg.vecdot(slope, move)
        free = torch.linalg.vecdot(gain, (room - move).sign_())  # of the features with room left
        going = (short > ENOUGH * need) & (free > 0)
        if not bool(going.any()):
            break
        t = torch.where(going, t + short / free.clamp(min=TINY), t)
    return move.mul_(way)
