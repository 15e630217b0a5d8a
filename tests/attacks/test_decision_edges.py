"""Decision-based attacks where something is missing or wrong: every one with its own settings."""

import dataclasses
import inspect
import math

import jaxtyping
import pytest
import torch
from decisions import SHAPE, Recording, recording, right, rows, small_net, within
from pydantic import ValidationError

from trilemma.attacks.evasion import BOUNDARY_ATTACKS
from trilemma.core.box import Box
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.oracles import Local


def made(kind):
    """As it comes, for each norm that it knows."""
    for norm in (2, math.inf):
        try:
            yield kind(norm=norm)
        except ValidationError:
            assert norm == math.inf


LAWFUL = [
    pytest.param(attack, config, id=f"{kind.__name__}-{config.norm:g}")
    for kind, attack in BOUNDARY_ATTACKS.items()
    for config in made(kind)
]


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


@pytest.mark.parametrize("limit", [0, 6, 150, 400])
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
def test_law_a_row_that_searches_in_vain_stops_no_other(attack, config):
    """It spends its budget on starts, while the row beside it has long found one."""
    if "starts" not in inspect.signature(attack).parameters:
        return

    def model(z):
        return torch.stack([0 * z[:, 0], z[:, 0] - 0.5, torch.full_like(z[:, 0], -9.0)], dim=1)

    x, y = torch.full((2, 4), 0.2, dtype=torch.float64), torch.tensor([2, 1])
    few = torch.full((1, 4), 0.9, dtype=torch.float64)
    config = dataclasses.replace(config, targeted=True, max_queries=40)
    for starts in (few, torch.cat([few, x[:1].expand(200, 4) / 2]), x[:1]):
        both, alone = (
            attack(
                Local(model, classes=3),
                x[some],
                y[some],
                config,
                rng=seeded(3),
                starts=starts,
                batch=64,
            )
            for some in (slice(0, 2), slice(1, 2))
        )
        assert both.queries.tolist() == [40, 40]
        torch.testing.assert_close(both.x_adv[1], alone.x_adv[0])
        assert both.distance[0] == math.inf


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
    text = _refused(attack, config, model, y=torch.tensor([0, 1, 3, 1, 2, 0]))
    assert "labels span 0 to 3" in text
    assert "3 classes" in text
    text = _refused(attack, config, model, y=torch.tensor([0, 1, -1, 1, 2, 0]))
    assert "must be 0 or more; got -1" in text
    outside = x.clone()
    outside[2, 3] = 7.5
    assert "1 of 6 inputs lie outside the box" in _refused(attack, config, model, x=outside)
    if "starts" in inspect.signature(attack).parameters:
        text = _refused(attack, config, model, starts=torch.zeros(2, 5, dtype=torch.float64))
        assert text.startswith("starts: have shape (5,)")
        assert "(6,)" in text
        text = _refused(attack, config, model, starts=1.5 + torch.zeros(2, 6, dtype=torch.float64))
        assert text.startswith("starts: 2 of 2")
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as its users have it
    text = _refused(attack, config, model, y=y[:5])
    assert "got (5,) of them for 6 inputs" in text


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
    reached = found.distance.isfinite()
    assert reached.sum() >= 3
    assert found.x_adv.shape == x.shape
    assert (found.x_adv.flatten(1)[:, 3] == 0.25).all()
    assert torch.equal(right(model, found.x_adv) != y, reached)


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
