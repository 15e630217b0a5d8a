"""The laws of every decision-based attack of the table, each with an attack that breaks it."""

import dataclasses
import math

import pytest
import torch
from decisions import ANYWHERE, SHAPE, recording, right, rows, small_net, within

from trilemma.attacks.evasion import (
    BOUNDARY_ATTACKS,
    DCT,
    QEBA,
    ZOO,
    HopSkipJump,
    hop_skip_jump,
)
from trilemma.core.box import UNIT, Box
from trilemma.core.generators import seeded
from trilemma.oracles import Local, TopLabel

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

BY_LABELS = [each for each in LAWFUL if not getattr(each.values[1], "scores", False)]


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


@pytest.mark.parametrize("max_queries", [1, 2, 80])
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


@pytest.mark.parametrize("box", [ANYWHERE, Box(0.0, math.inf)])
@pytest.mark.parametrize(("attack", "config"), [*LAWFUL, control(_drifting)])
def test_law_the_point_is_adversarial_inside_the_box_and_measured(attack, config, box):
    model, (x, y) = small_net(), rows(12)
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
    config = within(config, 100)
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
    model, (x, _) = small_net(24), rows(5, 24)
    x, y = x.view(-1, *SHAPE), right(model, x)
    config = dataclasses.replace(config, max_queries=140, budgets=(1, 20, 55, 90, 140))
    whole = attack(Local(model, classes=3), x, y, config, rng=seeded(3), batch=16)
    assert (whole.trace[:, 1:] <= whole.trace[:, :-1]).all()
    assert torch.equal(whole.trace[:, -1], whole.distance)
    # scores carry the model's rounding, which depends on who else is in a call; labels do not
    slack = 1e-7 if isinstance(config, ZOO) else 0.0
    for column, budget in enumerate(whole.budgets.tolist()):
        short = dataclasses.replace(config, max_queries=budget, budgets=None)
        less = attack(Local(model, classes=3), x, y, short, rng=seeded(3), batch=16)
        torch.testing.assert_close(less.distance, whole.trace[:, column], rtol=slack, atol=0)
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
    model, (x, _) = small_net(24), rows(20, 24)
    x, y, config = x.view(-1, *SHAPE), right(model, x), within(config, 90)
    y[2] = (y[2] + 1) % 3

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
    config, before = within(config, 60), torch.random.get_rng_state()

    def run(seed):
        return attack(Local(model, classes=3), x, y, config, rng=seeded(seed), batch=16).x_adv

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("attack", "config"), BY_LABELS)
def test_law_labels_tell_all(attack, config):
    """What hears labels alone finds the same."""
    model, (x, y) = small_net(), rows()
    local = Local(model, classes=3)
    heard, told = (
        attack(oracle, x, y, within(config, 100), rng=seeded(3), batch=16)
        for oracle in (TopLabel(local), local)
    )
    assert torch.equal(heard.x_adv, told.x_adv)


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
