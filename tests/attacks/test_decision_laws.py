"""The laws of every decision-based attack of the table, each with an attack that breaks it."""

import dataclasses
import inspect
import math
from dataclasses import dataclass, field

import jaxtyping
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from trilemma.attacks.evasion import (
    BOUNDARY_ATTACKS,
    DCT,
    QEBA,
    ZOO,
    HopSkipJump,
    hop_skip_jump,
)
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.oracles import Local, Metered, Oracle, TopLabel

ANYWHERE = Box(-math.inf, math.inf)
SHAPE = (2, 4, 3)  # of an image


def small_net(d=6, k=3, seed=0):
    """All logits are 0 close to the middle of the unit box: every class has its part of it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Linear(d, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, k)
        model = nn.Sequential(nn.Flatten(), *layers).double()
    with torch.no_grad():
        model[-1].bias -= model.eval()(torch.full((1, d), 0.47, dtype=torch.float64)).squeeze(0)
    return model


def rows(n=9, d=6, seed=1):
    """Inputs, and labels of which about a third is wrong."""
    g = seeded(seed)
    x = torch.rand(n, d, generator=g, dtype=torch.float64)
    return x, torch.randint(0, 3, (n,), generator=g)


def right(model, x):
    return model.eval()(x).argmax(1)


@dataclass
class Recording:
    """An oracle that keeps what it answered."""

    inner: Oracle
    points: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)

    @property
    def classes(self):
        return self.inner.classes

    @property
    def spent(self):
        return sum(map(len, self.points))

    def __call__(self, x):
        answer = self.inner(x)
        self.points.append(x.clone())
        self.labels.append(answer.argmax(1))
        return answer


def recording(model, limit=None, k=3):
    local = Local(model, classes=k)
    return Recording(local if limit is None else Metered(local, limit))


EXAMPLES = {  # a few each, for a norm
    HopSkipJump: lambda norm: [
        HopSkipJump(norm=norm),
        HopSkipJump.published(norm=norm),
    ],
    QEBA: lambda norm: [
        QEBA(norm=norm, subspace=DCT(factor=2), widen_after=30),
    ],
    ZOO: lambda norm: [ZOO(norm=norm, coordinates=2)] if norm == 2 else [],
}
LAWFUL = [
    pytest.param(attack, config, id=f"{kind.__name__}-{norm:g}-{i}")
    for kind, attack in BOUNDARY_ATTACKS.items()
    for norm in (2.0, math.inf)
    for i, config in enumerate(EXAMPLES[kind](norm) if kind in EXAMPLES else [])
]


def within(config, max_queries):
    return dataclasses.replace(config, max_queries=max_queries)


def _overspending(oracle, x, y, config, **others):
    """Looks once more."""
    oracle(x)
    return hop_skip_jump(oracle, x, y, config, **others)


def _forgetful(oracle, x, y, config, **others):
    """Returns not the best point, but one as far as its answer would have allowed later on."""
    found = hop_skip_jump(oracle, x, y, within(config, config.max_queries // 3), **others)
    return dataclasses.replace(found, queries=0 * found.queries + config.max_queries)


def _neighbourly(oracle, x, y, config, *, rng, **others):
    """Starts from where the rows are not: a row's result depends on the others."""
    return hop_skip_jump(
        oracle, x, y, config, rng=rng, starts=(1 - x.mean(0, keepdim=True)), **others
    )


def _planning(oracle, x, y, config, *, rng, **others):
    """Goes another way if it may go further."""
    return hop_skip_jump(oracle, x, y, config, rng=seeded(config.max_queries), **others)


def _drifting(oracle, x, y, config, **others):
    """Goes a little on towards the input, beyond the last point asked about."""
    found = hop_skip_jump(oracle, x, y, config, **others)
    return dataclasses.replace(found, x_adv=x + 0.9 * (found.x_adv - x))


def control(attack):
    mark = pytest.mark.xfail(raises=AssertionError, strict=True)
    return pytest.param(attack, HopSkipJump(), id=attack.__name__, marks=mark)


def test_every_attack_of_the_table_is_under_the_laws():
    assert set(EXAMPLES) == set(BOUNDARY_ATTACKS)


def one_by_one(attack, config, model, x, y, box=UNIT):
    """Each row with an oracle of its own: what was asked and answered belongs to the row."""
    for i in range(len(x)):
        oracle = recording(model)
        found = attack(oracle, x[[i]], y[[i]], config, box=box, rng=seeded(3), batch=16)
        yield found, torch.cat(oracle.points), torch.cat(oracle.labels)


@pytest.mark.parametrize("max_queries", [1, 2, 110])
@pytest.mark.parametrize(("attack", "config"), [*LAWFUL, control(_overspending)])
def test_law_queries_are_those_of_a_counting_oracle(attack, config, max_queries):
    """In all, and row by row; never more than the budget, and all of it where there is a start."""
    model, (x, y) = small_net(), rows()
    wrong = right(model, x) != y
    assert wrong.any()
    assert not wrong.all()
    config, oracle = within(config, max_queries), recording(model)
    found = attack(oracle, x, y, config, rng=seeded(3), batch=16)
    alone = [len(points) for _, points, _ in one_by_one(attack, config, model, x, y)]
    assert found.queries.tolist() == alone
    assert found.queries.sum() == oracle.spent
    assert found.queries.dtype == torch.int64
    assert (found.queries[wrong] == 1).all()
    reached = ~wrong & found.distance.isfinite()
    assert (found.queries[reached] == max_queries).all()
    assert (found.queries <= max_queries).all()


@pytest.mark.parametrize("box", [UNIT, ANYWHERE, Box(0.0, math.inf)])
@pytest.mark.parametrize(("attack", "config"), [*LAWFUL, control(_drifting)])
def test_law_the_point_is_adversarial_inside_the_box_and_measured(attack, config, box):
    model, (x, y) = small_net(), rows(20)
    found = attack(
        Local(model, classes=3), x, y, within(config, 120), box=box, rng=seeded(3), batch=16
    )
    assert found.distance.isfinite().all()
    assert (right(model, found.x_adv) != y).all()
    assert (found.x_adv >= box.low).all()
    assert (found.x_adv <= box.high).all()
    change = found.x_adv - x
    norms = {"l0": (change != 0).sum(1).double(), "l1": change.norm(p=1, dim=1)}
    norms |= {"l2": change.norm(p=2, dim=1), "linf": change.norm(p=math.inf, dim=1)}
    for name, norm in norms.items():
        torch.testing.assert_close(getattr(found, name), norm, rtol=1e-12, atol=0)
    own = found.l2 if config.norm == 2 else found.linf
    torch.testing.assert_close(found.distance, own, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("attack", "config"), [*LAWFUL, control(_forgetful)])
def test_law_the_best_of_all_points_asked_about_is_returned(attack, config):
    """Distance and trace by brute force, from the oracle's own record."""
    model, (x, y) = small_net(), rows()
    config = within(config, 150)
    for i, (found, points, labels) in enumerate(one_by_one(attack, config, model, x, y)):
        far = (points - x[i]).norm(p=config.norm, dim=1)
        far = far.where(labels != y[i], math.inf).cummin(0).values
        torch.testing.assert_close(found.distance[0], far[-1], rtol=1e-12, atol=0)
        after = far[found.budgets.clamp(max=len(far)) - 1]
        torch.testing.assert_close(found.trace[0], after, rtol=1e-12, atol=0)
        assert found.queries.item() == len(points)


@pytest.mark.parametrize(("attack", "config"), [*LAWFUL, control(_planning)])
def test_law_a_larger_budget_continues_the_path_of_a_smaller(attack, config):
    """The trace is what runs with smaller budgets return, and more queries never hurt."""
    model, (x, y) = small_net(24), rows(7, 24)
    x = x.view(-1, *SHAPE)
    config = dataclasses.replace(config, max_queries=160, budgets=(1, 20, 55, 110, 160))
    whole = attack(Local(model, classes=3), x, y, config, rng=seeded(3), batch=16)
    assert (whole.trace[:, 1:] <= whole.trace[:, :-1]).all()
    assert torch.equal(whole.trace[:, -1], whole.distance)
    for column, budget in enumerate(whole.budgets.tolist()):
        short = dataclasses.replace(config, max_queries=budget, budgets=None)
        less = attack(Local(model, classes=3), x, y, short, rng=seeded(3), batch=16)
        assert torch.equal(less.distance, whole.trace[:, column])
        assert less.budgets[-1] == budget
        assert torch.equal(less.trace[:, -1], less.distance)


def close(found, other):
    """The same to float64's rounding, which depends on how many rows are multiplied at once."""
    assert torch.equal(found.queries, other.queries)
    for name in ("x_adv", "distance", "trace", "l1", "l2", "linf"):
        torch.testing.assert_close(
            getattr(found, name), getattr(other, name), rtol=1e-7, atol=1e-9, msg=name
        )


@pytest.mark.parametrize(("attack", "config"), [*LAWFUL, control(_neighbourly)])
def test_law_a_row_depends_on_no_neighbour_and_no_batch(attack, config):
    model, (x, y) = small_net(24), rows(20, 24)
    x, config = x.view(-1, *SHAPE), within(config, 90)

    def run(index, batch):
        oracle = Local(model, classes=3)
        return attack(oracle, x[index], y[index], config, rng=seeded(3), batch=batch)

    together = run(torch.arange(20), 64)

    def part(index):
        fields = {each.name: getattr(together, each.name) for each in dataclasses.fields(together)}
        return type(together)(**{k: v if k == "budgets" else v[index] for k, v in fields.items()})

    few, backwards = torch.tensor([13, 2, 17, 7]), torch.arange(20).flip(0)
    close(run(few, 3), part(few))
    close(run(few[:1], None), part(few[:1]))
    close(run(backwards, 500), part(backwards))


@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_randomness_comes_from_the_generator_alone(attack, config):
    model, (x, y) = small_net(), rows()
    config, before = within(config, 100), torch.random.get_rng_state()

    def run(seed):
        return attack(Local(model, classes=3), x, y, config, rng=seeded(seed), batch=16).x_adv

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_labels_tell_all(attack, config):
    """What hears labels alone finds the same."""
    if getattr(config, "scores", False):
        return
    model, (x, y) = small_net(), rows()
    local = Local(model, classes=3)
    heard, told = (
        attack(oracle, x, y, within(config, 100), rng=seeded(3), batch=16)
        for oracle in (TopLabel(local), local)
    )
    assert torch.equal(heard.x_adv, told.x_adv)


@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_a_misclassified_row_costs_one_query(attack, config):
    model, (x, y) = small_net(), rows()
    y = (right(model, x) + 1) % 3
    found = attack(Local(model, classes=3), x, y, within(config, 100), rng=seeded(3))
    assert torch.equal(found.x_adv, x)
    for name in ("distance", "trace", "l0", "l1", "l2", "linf"):
        assert (getattr(found, name) == 0).all()
    assert (found.queries == 1).all()
    assert not found.exhausted.any()


@pytest.mark.parametrize(("shape", "max_queries"), [((24,), 30), (SHAPE, 300)])
@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_without_a_start_the_distance_is_infinite(attack, config, shape, max_queries):
    """A model that answers the same whatever it is asked; nothing it says is a start."""
    x, y = rows(3, 24)
    oracle = Recording(Local(lambda z: z.new_zeros(len(z), 3), classes=3))
    config = within(config, max_queries)
    found = attack(oracle, x.view(-1, *shape), 0 * y, config, rng=seeded(3), batch=16)
    for name in ("distance", "trace", "l0", "l1", "l2", "linf"):
        assert (getattr(found, name) == math.inf).all()
    assert torch.equal(found.x_adv.flatten(1), x)
    assert (found.queries <= max_queries).all()
    assert found.queries.sum() == oracle.spent
    assert not found.exhausted.any()


@pytest.mark.parametrize("limit", [0, 9, 300, 700])
@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_when_the_oracle_is_exhausted_nothing_is_lost(attack, config, limit):
    """Best so far by brute force; finished rows are as they would have been."""
    model, (x, _) = small_net(), rows()
    y, config = right(model, x), within(config, 90)
    y[0] = (y[0] + 1) % 3
    whole = attack(Local(model, classes=3), x, y, config, rng=seeded(3), batch=16)
    oracle = recording(model, limit)
    found = attack(oracle, x, y, config, rng=seeded(3), batch=16)
    assert found.queries.sum() == oracle.spent == oracle.inner.spent
    assert limit - 16 < oracle.spent <= limit
    finished = ~found.exhausted
    assert finished.tolist() == ((found.queries == 90) | (found.distance == 0)).tolist()
    assert torch.equal(found.x_adv[finished], whole.x_adv[finished])
    assert (found.distance >= whole.distance).all()
    reached = found.distance.isfinite()
    assert (right(model, found.x_adv[reached]) != y[reached]).all()
    assert torch.equal(found.x_adv[~reached], x[~reached])
    so_far = whole.budgets <= found.queries.view(-1, 1)  # a row's queries are its path's first
    assert torch.equal(found.trace[so_far], whole.trace[so_far])


@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_targets_are_reached_from_given_starts(attack, config):
    """Every row is led to its own label, whichever of the starts has it."""
    if "starts" not in inspect.signature(attack).parameters:
        return
    model = small_net()
    pool = torch.rand(300, 6, generator=seeded(5), dtype=torch.float64)
    labels = right(model, pool)
    assert len(labels.unique()) == 3
    starts = torch.stack([pool[labels == k][0] for k in range(3)])
    x = pool[:12]
    y = (labels[:12] + 1) % 3
    y[0] = labels[0]
    config = dataclasses.replace(config, targeted=True, max_queries=150)
    oracle = recording(model)
    found = attack(oracle, x, y, config, rng=seeded(3), starts=starts, batch=16)
    assert (right(model, found.x_adv) == y).all()
    assert found.distance[0] == 0
    assert found.queries[0] == 1
    assert found.queries.sum() == oracle.spent
    nearer = (starts[y] - x).norm(p=config.norm, dim=1)
    assert (found.distance[1:] < nearer[1:]).all()


def _refused(attack, config, model, **change):
    x, y = rows()
    oracle = recording(model)
    given = {"x": x, "y": y, "rng": seeded(0)} | change
    with pytest.raises(BadInput) as error:
        attack(oracle, given.pop("x"), given.pop("y"), config, **given)
    assert oracle.spent == 0
    return str(error.value)


@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_what_is_wrong_is_refused_before_any_query(attack, config, monkeypatch):
    model, (x, y) = small_net(), rows()
    text = _refused(attack, config, model, y=torch.where(y == 2, 3, y))
    assert "labels span 0 to 3" in text
    assert "3 classes" in text
    assert "labels span -1 to" in _refused(attack, config, model, y=torch.where(y == 2, -1, y))
    outside = x.clone()
    outside[2, 3] = 7.5
    assert "1 of 9 inputs lie outside the box" in _refused(attack, config, model, x=outside)
    if "starts" in inspect.signature(attack).parameters:
        text = _refused(attack, config, model, starts=torch.zeros(2, 5, dtype=torch.float64))
        assert text.startswith("starts: have shape (5,)")
        assert "(6,)" in text
        text = _refused(attack, config, model, starts=1.5 + torch.zeros(2, 6, dtype=torch.float64))
        assert text.startswith("starts: 2 of 2")
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as its users have it
    text = _refused(attack, config, model, y=y[:5])
    assert "9 inputs and 5 labels" in text


@pytest.mark.parametrize(
    "wrong",
    [
        {"norm": 1},
        {"max_queries": 0},
        {"max_queries": 2.5},
        {"budgets": (0, 5)},
        {"budgets": (5, 3)},
        {"budgets": (5, 5)},
        {"budgets": ()},
        {"steps": 3},
    ],
)
@pytest.mark.parametrize("kind", BOUNDARY_ATTACKS)
def test_law_settings_out_of_range_are_refused(kind, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        kind(**wrong)


@pytest.mark.parametrize("shape", [(6,), (1, 2, 3), (2, 3)])
@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_no_rows_no_work(attack, config, shape):
    x, y = rows(0)
    oracle = recording(small_net())
    found = attack(oracle, x.view(0, *shape), y, config, rng=seeded(3))
    assert found.x_adv.shape == (0, *shape)
    assert found.distance.shape == found.l2.shape == found.queries.shape == (0,)
    assert found.trace.shape == (0, len(found.budgets))
    assert oracle.spent == 0


@pytest.mark.parametrize("shape", [SHAPE, (4, 6)])
@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_a_box_may_differ_from_feature_to_feature(attack, config, shape):
    """In the inputs' own shape; a feature without room is never changed."""
    model, (x, _) = small_net(24), rows(4, 24)
    low = -torch.rand(24, generator=seeded(7), dtype=torch.float64)
    high = torch.rand(24, generator=seeded(8), dtype=torch.float64)
    low[3] = high[3] = 0.25
    low[4], high[5] = -math.inf, math.inf
    box = Box(low.view(shape), high.view(shape))
    x = box.clip(4 * x.view(-1, *shape) - 2)
    y = right(model, x)
    oracle = recording(model)
    found = attack(oracle, x, y, within(config, 120), box=box, rng=seeded(3), batch=16)
    asked = torch.cat(oracle.points)
    assert torch.equal(box.clip(asked), asked)
    assert found.distance.isfinite().all()
    assert found.x_adv.shape == x.shape
    assert (found.x_adv.flatten(1)[:, 3] == 0.25).all()
    assert (right(model, found.x_adv) != y).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_every_point_asked_about_lies_in_the_box(attack, config, dtype):
    """To the last bit, whatever the box's ends; and what is asked has the inputs' type."""
    model, (x, y) = small_net().to(dtype), rows()
    box = Box(-0.3, 0.7)
    x, oracle = box.clip(x.to(dtype) - 0.3), recording(model)
    found = attack(oracle, x, y, within(config, 200), box=box, rng=seeded(3), batch=16)
    asked = torch.cat(oracle.points)
    assert asked.dtype == found.x_adv.dtype == found.distance.dtype == dtype
    assert torch.equal(box.clip(asked), asked)
    assert (right(model, found.x_adv) != y).all()


@pytest.mark.parametrize(("attack", "config"), LAWFUL)
def test_law_model_and_inputs_come_back_as_they_went(attack, config):
    model, (x, y) = small_net().train(), rows()
    model[1].eval()
    model[1].weight.requires_grad_(requires_grad=False)
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    seen = x.clone(), y.clone()
    leaf = x.requires_grad_()
    found = attack(Local(model, classes=3), leaf, y, within(config, 80), rng=seeded(3), batch=16)
    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]
    assert all(p.grad is None for p in [*model.parameters(), leaf])
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(x, seen[0])
    assert torch.equal(y, seen[1])
    assert not found.x_adv.requires_grad
    quiet = attack(
        Local(model.eval(), classes=3), seen[0], y, within(config, 80), rng=seeded(3), batch=16
    )
    assert torch.equal(found.x_adv, quiet.x_adv)  # it was asked in eval mode
    assert found.x_adv.data_ptr() != x.data_ptr()
