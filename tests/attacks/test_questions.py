"""The engine: calls are full while there is work, few walks are alive, the books are right."""

import math
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trilemma.attacks.evasion import HopSkipJump, hop_skip_jump
from trilemma.attacks.evasion.questions import Ledger, Question, Target, ask, drive, marks
from trilemma.core.box import Box
from trilemma.core.generators import seeded
from trilemma.core.pace import Pace
from trilemma.oracles import Local, Metered

D = 3


@dataclass
class Plane:
    """Label 1 where the features' sum is above 0; notes the size of each call."""

    classes: int = 2
    calls: list[int] = field(default_factory=list)

    def __call__(self, x):
        self.calls.append(len(x))
        up = (x.flatten(1).sum(1) > 0).double()
        return torch.stack([1 - up, up], dim=1)


def target(n, **others):
    x = -torch.rand(n, D, generator=seeded(0), dtype=torch.float64)
    y = torch.zeros(n, dtype=torch.long)
    return Target(x, y, torch.Size((D,)), targeted=False, norm=2.0, **others)


class Asking:
    """Walks of one row each that ask questions of given sizes, and how many were alive at once."""

    def __init__(self, goal, sizes, seed=0):
        self.goal, self.sizes, self.seed = goal, sizes, seed
        self.alive = self.most = self.started = 0
        self.points, self.answers = {}, {}

    def points_of(self, row, turn, size):
        rng = seeded(1000 * self.seed + 100 * row + turn)
        return self.goal.x[row] + torch.randn(size, D, generator=rng, dtype=torch.float64)

    def walk(self, row):
        self.alive, self.started = self.alive + 1, self.started + 1
        self.most = max(self.most, self.alive)
        try:
            for turn, size in enumerate(self.sizes[row]):
                points = self.points_of(row, turn, size)
                answer = yield Question(
                    rows=torch.full((size,), row),
                    order=torch.arange(size),
                    points=lambda part, points=points: points[part],
                )
                self.points.setdefault(row, []).append(points)
                self.answers.setdefault(row, []).append(answer.clone())
        finally:
            self.alive -= 1

    def walks(self):
        return ((torch.tensor([row]), self.walk(row)) for row in range(len(self.sizes)))


def driven(sizes, *, max_queries=10**6, rows=8, lanes=3, limit=None, budgets=None):
    goal, oracle = target(len(sizes)), Plane()
    asking = Asking(goal, sizes)
    asked = oracle if limit is None else Metered(oracle, limit)
    ledger = Ledger(goal, max_queries, budgets, most=rows)
    found = drive(asked, ledger, asking.walks(), Pace(rows), lanes=lanes)
    return found, asking, oracle.calls


SIZES = st.lists(st.lists(st.integers(0, 30), max_size=5), min_size=1, max_size=12)


@given(sizes=SIZES, rows=st.integers(1, 20), lanes=st.integers(1, 5))
@settings(max_examples=40)
def test_every_point_is_asked_about_once_and_answered_truly(sizes, rows, lanes):
    found, asking, calls = driven(sizes, rows=rows, lanes=lanes)
    assert sum(calls) == sum(map(sum, sizes))
    assert found.queries.tolist() == list(map(sum, sizes))
    assert all(1 <= call <= rows for call in calls)
    for row, turns in enumerate(sizes):
        for points, answer in zip(
            asking.points.get(row, []), asking.answers.get(row, []), strict=True
        ):
            assert torch.equal(answer, points.sum(1) > 0)
        assert len(asking.points.get(row, [])) == len(turns)


@given(sizes=SIZES, rows=st.integers(1, 20), lanes=st.integers(1, 5))
@settings(max_examples=40)
def test_calls_are_full_while_there_is_work(sizes, rows, lanes):
    """A call is short only if fewer questions than that are open in all lanes together."""
    _, asking, calls = driven(sizes, rows=rows, lanes=lanes)
    assert asking.most <= lanes
    assert asking.started == len(sizes)
    assert asking.alive == 0
    # a short call answers every open question: each lane then goes on to its next one
    short = sum(call < rows for call in calls)
    assert short <= max(map(len, sizes)) + sum(map(len, sizes)) / lanes + 1


@given(sizes=SIZES, cap=st.integers(1, 40), rows=st.integers(1, 20))
@settings(max_examples=40)
def test_a_row_never_passes_its_budget_and_what_is_beyond_is_answered_no(sizes, cap, rows):
    found, asking, calls = driven(sizes, max_queries=cap, rows=rows)
    assert found.queries.tolist() == [min(cap, sum(turns)) for turns in sizes]
    assert sum(calls) == found.queries.sum()
    assert not found.exhausted.any()
    for row in range(len(sizes)):
        if row in asking.answers:
            points, answers = torch.cat(asking.points[row]), torch.cat(asking.answers[row])
            assert torch.equal(answers[:cap], points.sum(1)[:cap] > 0)
            assert not answers[cap:].any()


@given(sizes=SIZES, cap=st.integers(1, 60), rows=st.integers(1, 20))
@settings(max_examples=40)
def test_distance_and_trace_are_those_of_the_points_asked_about(sizes, cap, rows):
    found, asking, _ = driven(sizes, max_queries=cap, rows=rows, budgets=(1, 4, 9, 60))
    for row, turns in enumerate(sizes):
        points = [asking.points_of(row, turn, size) for turn, size in enumerate(turns)]
        points = torch.cat([*points, torch.zeros(0, D, dtype=torch.float64)])[:cap]
        far = (points - asking.goal.x[row]).norm(dim=1).where(points.sum(1) > 0, math.inf)
        best = [far[:budget].amin().item() if len(far) else math.inf for budget in (1, 4, 9, 60)]
        assert found.trace[row].tolist() == pytest.approx(best, rel=1e-12)
        assert found.distance[row].item() == pytest.approx(best[-1], rel=1e-12)
        if math.isfinite(best[-1]):
            torch.testing.assert_close(found.x_adv[row], points[far.argmin()])
        else:
            assert torch.equal(found.x_adv[row], asking.goal.x[row])


@given(sizes=SIZES, limit=st.integers(0, 200), rows=st.integers(1, 20))
@settings(max_examples=40)
def test_a_refusal_ends_the_attack_and_loses_nothing(sizes, limit, rows):
    found, _, calls = driven(sizes, rows=rows, limit=limit)
    total = sum(map(sum, sizes))
    assert sum(calls) == found.queries.sum() <= limit
    if total <= limit:
        assert not found.exhausted.any()
        assert sum(calls) == total
    else:
        assert found.exhausted.any()
        assert sum(calls) > limit - rows
    whole, _, _ = driven(sizes, rows=rows)
    done = ~found.exhausted
    assert torch.equal(found.distance[done], whole.distance[done])
    assert (found.queries[done] == whole.queries[done]).all()


def test_walks_are_started_one_after_another():
    """With every row in a walk of its own, and none before it has its turn."""
    goal, started = target(50), []
    asking = Asking(goal, [[5]] * 50)

    def walks():
        for row, walk in asking.walks():
            started.append(len(oracle.calls))
            yield row, walk

    oracle = Plane()
    ledger = Ledger(goal, 100, None, most=10)
    drive(oracle, ledger, walks(), Pace(10), lanes=2)
    assert oracle.calls == [10] * 25
    assert started == [i // 2 for i in range(50)]


def test_a_refused_attack_closes_its_walks():
    """A walk that holds memory lets it go."""
    _, asking, _ = driven([[5], [5], [5]], limit=3, rows=5)
    assert asking.most <= 3
    assert asking.alive == 0


@pytest.mark.parametrize("rows", [16, 64])
def test_hop_skip_jump_fills_its_calls(rows):
    """Whatever phase its rows are in; only the end of the last rows leaves gaps."""
    oracle = Plane()
    x = torch.rand(120, 8, generator=seeded(0), dtype=torch.float64) / 10
    config = HopSkipJump(max_queries=300)
    y = torch.ones(120, dtype=torch.long)
    found = hop_skip_jump(oracle, x, y, config, box=Box(-1.0, 1.0), rng=seeded(1), batch=rows)
    assert sum(oracle.calls) == found.queries.sum()
    assert max(oracle.calls) == rows
    full = sum(call == rows for call in oracle.calls)
    assert full >= 0.6 * len(oracle.calls)
    assert len(oracle.calls) <= 1.3 * found.queries.sum() / rows


@given(cap=st.integers(1, 10**6))
def test_budgets_of_a_trace_increase_from_1_to_the_budget(cap):
    places = marks(cap)
    assert places[0] == 1
    assert places[-1] == cap
    assert places == sorted(set(places))
    assert len(places) <= 64


@pytest.mark.parametrize("targeted", [False, True])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_a_margin_is_negative_exactly_for_adversarial_points(targeted, seed):
    logits = 3 * torch.randn(20, 5, generator=seeded(seed), dtype=torch.float64)
    y = torch.randint(0, 5, (4,), generator=seeded(seed))
    goal = Target(logits[:4], y, torch.Size((5,)), targeted=targeted, norm=2.0, scores=True)
    rows, oracle = torch.arange(20) % 4, Local(torch.nn.Identity(), classes=5)
    adversarial, margin = ask(oracle, goal, rows, logits, Pace(20))
    assert torch.equal(adversarial, (logits.argmax(1) == y[rows]) == targeted)
    assert torch.equal(adversarial, margin < 0)
    own = logits.gather(1, y[rows].view(-1, 1)).squeeze(1)
    rival = logits.scatter(1, y[rows].view(-1, 1), -math.inf).amax(1)
    torch.testing.assert_close(margin, (rival - own) if targeted else (own - rival))


def test_the_margin_of_a_probability_rounded_to_0_is_finite():
    goal = target(2, scores=True)
    _, margin = ask(Plane(), goal, torch.tensor([0, 1]), goal.x, Pace(2))
    assert margin.isfinite().all()
    assert (margin > 80).all()


def test_what_is_no_refusal_is_raised():
    """An error of the oracle's own is not taken for an exhausted budget."""

    class Broken(Plane):
        def __call__(self, x):
            raise RuntimeError("gone")

    goal = target(1)
    with pytest.raises(RuntimeError, match="gone"):
        drive(
            Broken(), Ledger(goal, 9, None, most=5), Asking(goal, [[5]]).walks(), Pace(5), lanes=1
        )
