"""Rows that are decided are asked no more, and nobody else notices."""

import dataclasses
from functools import cache

import pytest
import torch
from decisions import SHAPE, recording, right, rows, small_net

from trilemma.attacks.evasion import QEBA, HopSkipJump, hop_skip_jump, qeba
from trilemma.core.generators import seeded
from trilemma.oracles import Local

ATTACKS = [
    pytest.param(hop_skip_jump, HopSkipJump(max_queries=150), id="HopSkipJump"),
    pytest.param(hop_skip_jump, HopSkipJump.published(max_queries=150), id="published"),
    pytest.param(qeba, QEBA(max_queries=150, widen_after=40), id="QEBA"),
]


def candidates(n=12):
    model, (x, _) = small_net(24), rows(n, 24)
    x = x.view(-1, *SHAPE)
    y = right(model, x)
    y[2] = (y[2] + 1) % 3
    return model, x, y


def run(attack, config, until, index=slice(None), batch=16):
    model, x, y = candidates()
    oracle = Local(model, classes=3)
    return attack(oracle, x[index], y[index], config, rng=seeded(3), batch=batch, until=until)


@cache
def unhindered(attack, config):
    return run(attack, config, None)


def fields(found):
    return {each.name: getattr(found, each.name) for each in dataclasses.fields(found)}


def never(queries, distance):
    return torch.zeros_like(queries, dtype=torch.bool)


def after(place):
    return lambda queries, distance: queries >= place


@pytest.mark.parametrize(("attack", "config"), ATTACKS)
def test_where_nothing_is_decided_nothing_changes(attack, config):
    """To the last bit."""
    as_before, found = unhindered(attack, config), run(attack, config, never)
    for name, value in fields(as_before).items():
        assert torch.equal(value, getattr(found, name)), name


@pytest.mark.parametrize(("attack", "config"), ATTACKS)
@pytest.mark.parametrize("place", [1, 37, 110])
def test_a_decided_row_keeps_its_path_as_far_as_it_went(attack, config, place):
    """Its queries are the first of the whole run's; it is not exhausted, it is done."""
    whole, found = unhindered(attack, config), run(attack, config, after(place))
    assert not found.exhausted.any()
    assert (found.queries >= torch.full_like(whole.queries, place).minimum(whole.queries)).all()
    assert (found.queries <= whole.queries).all()
    so_far = found.budgets <= found.queries.view(-1, 1)
    torch.testing.assert_close(found.trace[so_far], whole.trace[so_far], rtol=1e-9, atol=0)
    assert torch.equal(found.trace[:, -1], found.distance)


@pytest.mark.parametrize(("attack", "config"), ATTACKS)
def test_a_decided_row_costs_less(attack, config):
    """The partner: it is the oracle that is spared, exactly what the books say."""
    model, x, y = candidates()
    oracle = recording(model)
    found = attack(oracle, x, y, config, rng=seeded(3), batch=16, until=after(30))
    whole = unhindered(attack, config)
    assert oracle.spent == found.queries.sum() < 0.8 * whole.queries.sum()


@pytest.mark.parametrize(("attack", "config"), ATTACKS)
def test_only_the_decided_end(attack, config):
    """Half of the rows reach a distance that ends them; the others' results are the whole run's."""
    whole = unhindered(attack, config)
    near = whole.distance.median()
    found = run(attack, config, lambda queries, distance: distance <= near)
    ended = whole.distance <= near
    torch.testing.assert_close(found.x_adv[~ended], whole.x_adv[~ended], rtol=1e-9, atol=1e-12)
    assert torch.equal(found.queries[~ended], whole.queries[~ended])
    assert (found.distance[ended] <= near).all()
    assert (found.queries[ended] < whole.queries[ended]).sum() >= 3


@pytest.mark.parametrize("batch", [3, 16, 500])
@pytest.mark.parametrize(("attack", "config"), ATTACKS)
def test_where_a_row_ends_depends_on_no_neighbour_and_no_batch(attack, config, batch):
    """Rows are decided between their own questions, not between the oracle's calls."""
    near = unhindered(attack, config).distance.median()

    def until(queries, distance):
        return (distance <= near) | ((queries >= 70) & (distance > 1.3 * near))

    together = run(attack, config, until)
    few = torch.tensor([7, 2, 11, 4])
    found = run(attack, config, until, few, batch)
    assert torch.equal(found.queries, together.queries[few])
    torch.testing.assert_close(found.x_adv, together.x_adv[few], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
def test_a_refusal_does_not_exhaust_rows_that_are_decided(share):
    """Nor those whose neighbours are still on their way."""
    model, x, y = candidates()
    config = HopSkipJump(max_queries=150)
    near = unhindered(hop_skip_jump, config).distance.median()

    def until(queries, distance):
        return distance <= near

    whole = run(hop_skip_jump, config, until, batch=8)
    oracle = recording(model, limit=int(share * whole.queries.sum()))
    found = hop_skip_jump(oracle, x, y, config, rng=seeded(3), batch=8, until=until)
    done = ~found.exhausted
    assert torch.equal(done, (found.distance <= near) | (found.queries == 150))
    assert done.any()
    assert not done.all()
    assert torch.equal(found.queries[done], whole.queries[done])
    assert torch.equal(found.distance[done], whole.distance[done])
