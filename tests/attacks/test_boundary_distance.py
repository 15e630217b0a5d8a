"""The boundary attack: distances and AUC in closed form, queries to the last one."""

import dataclasses
import math

import pytest
import torch
from decisions import ANYWHERE, recording, right, rows, small_net
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trilemma.attacks.evasion import PCA, QEBA, HopSkipJump, Spatial
from trilemma.attacks.membership import BoundaryDistance, boundary_distance, gap, perturbations
from trilemma.core.generators import seeded
from trilemma.oracles import Local, Metered, TopLabel

D = 8
NORMS = {0: "l0", 1: "l1", 2: "l2", math.inf: "linf"}


def halfspaces(w, b):
    """Label 0 where all w_j x < b_j, a polytope; 1 elsewhere."""

    def model(x):
        most = (x @ w.T - b).amax(1)
        return torch.stack([-most, most], dim=1)

    return Local(model, classes=2)


def linear(seed=0):
    w = torch.randn(1, D, generator=seeded(seed), dtype=torch.float64)
    return w / w.norm(), torch.zeros(1, dtype=torch.float64)


def at(w, distance, seed=1):
    """Points at these distances from a linear boundary, on its inner side."""
    x = torch.randn(len(distance), D, generator=seeded(seed), dtype=torch.float64)
    return x - (x @ w.T + distance.view(-1, 1)) * w


def searched(max_queries=600):
    return BoundaryDistance(search=HopSkipJump(max_queries=max_queries))


def auc(inside, outside):
    """By counting pairs."""
    gaps = inside.view(-1, 1) - outside
    return ((gaps > 0).double() + (gaps == 0).double() / 2).mean().item()


@pytest.mark.parametrize(
    ("search", "dual", "close"),
    [
        (HopSkipJump(max_queries=1000), 2, 1.01),
        (HopSkipJump(norm=math.inf, max_queries=2000), 1, 1.2),
        (QEBA(max_queries=1000, subspace=Spatial(factor=1)), 2, 1.01),
    ],
)
def test_of_a_linear_model_it_is_the_margin_over_the_dual_norm(search, dual, close):
    """Never less, and not much more."""
    w, b = linear()
    distance = torch.linspace(0.2, 3, 12, dtype=torch.float64)
    x, y = at(w, distance), torch.zeros(12, dtype=torch.long)
    config = BoundaryDistance(search=search, norm=search.norm)
    found = boundary_distance(halfspaces(w, b), x, y, config, box=ANYWHERE, rng=seeded(2))
    exact = distance / w.norm(p=dual)
    assert (found >= exact * (1 - 1e-9)).all()
    assert (found <= exact * close).all()


def test_inside_a_union_of_half_spaces_it_is_that_of_the_nearest():
    """An attack may find another face than the nearest one, but nothing nearer than that."""
    w = torch.randn(4, D, generator=seeded(3), dtype=torch.float64)
    w, b = w / w.norm(dim=1, keepdim=True), torch.ones(4, dtype=torch.float64)
    x = 0.4 * torch.randn(40, D, generator=seeded(4), dtype=torch.float64)
    exact = (b - x @ w.T).amin(1)
    x, exact = x[exact > 0.1], exact[exact > 0.1]
    y = torch.zeros(len(x), dtype=torch.long)
    found = boundary_distance(halfspaces(w, b), x, y, searched(), box=ANYWHERE, rng=seeded(2))
    assert len(x) >= 20
    assert (found >= exact * (1 - 1e-9)).all()
    assert (found <= 1.05 * exact).double().mean() >= 0.7


@pytest.mark.parametrize("lead", [0.0, 0.5, 2.0])
def test_the_auc_is_that_of_the_distances(lead):
    """Distances on a grid whose steps are wider than the search's error: the order is exact."""
    w, b = linear()
    grid = 0.2 * 1.06 ** torch.arange(40, dtype=torch.float64)
    member = (torch.rand(40, generator=seeded(5)) + lead * torch.linspace(-1, 1, 40)) > 0.5
    x, y = at(w, grid), torch.zeros(40, dtype=torch.long)
    config = searched(max_queries=800)
    found = boundary_distance(halfspaces(w, b), x, y, config, box=ANYWHERE, rng=seeded(2))
    assert auc(found[member], found[~member]) == auc(grid[member], grid[~member])
    wrong = at(w, -grid)  # rows on the other side are all non-members, at 0
    none = boundary_distance(halfspaces(w, b), wrong, y, config, box=ANYWHERE, rng=seeded(2))
    assert auc(found, none) == 1.0
    assert auc(none, none) == 0.5


def test_a_row_that_the_target_is_wrong_about_is_0_after_one_query():
    model, (x, y) = small_net(), rows(20)
    wrong = right(model, x) != y
    assert 0 < wrong.sum() < 20
    found = perturbations(Local(model, classes=3), x, y, searched(max_queries=60), rng=seeded(0))
    assert torch.equal(found.scores == 0, wrong)
    assert (found.boundary.queries[wrong] == 1).all()
    assert (found.boundary.queries[~wrong] > 1).all()


@pytest.mark.parametrize("max_queries", [1, 2, 77])
def test_the_meter_and_the_books_agree_through_labels_alone(max_queries):
    model, (x, y) = small_net(), rows(9)
    oracle = Metered(TopLabel(Local(model, classes=3)), limit=9 * max_queries)
    found = perturbations(oracle, x, y, searched(max_queries=max_queries), rng=seeded(0))
    assert oracle.spent == found.boundary.queries.sum()
    told = perturbations(model, x, y, searched(max_queries=max_queries), rng=seeded(0))
    assert torch.equal(found.scores, told.scores)


def test_without_a_start_a_row_is_infinitely_far():
    x, y = rows(3)
    oracle = Local(lambda z: z.new_zeros(len(z), 3), classes=3)
    found = boundary_distance(oracle, x, 0 * y, searched(), rng=seeded(0))
    assert (found == math.inf).all()


@pytest.mark.parametrize("norm", NORMS)
def test_one_run_measures_in_every_norm(norm):
    model, (x, y) = small_net(), rows(12)
    config = BoundaryDistance(search=HopSkipJump(max_queries=80), norm=norm)
    found = perturbations(model, x, y, config, rng=seeded(0))
    change = found.boundary.x_adv - x
    exact = change.norm(p=norm, dim=1) if norm else (change != 0).sum(1).double()
    torch.testing.assert_close(found.scores, exact, rtol=1e-12, atol=0)
    for other, name in NORMS.items():
        assert torch.equal(found.measured(other), getattr(found.boundary, name).double())
    with pytest.raises(ValueError, match="must be 0, 1, 2 or infinity"):
        found.measured(3)


def test_one_run_tells_what_every_smaller_budget_does():
    """Figure 9 from one run; after one query the attack is the gap attack."""
    model, (x, y) = small_net(), rows(12)
    budgets = (1, 13, 40, 90)
    config = BoundaryDistance(search=HopSkipJump(max_queries=90, budgets=budgets))
    whole = perturbations(model, x, y, config, rng=seeded(0))
    for budget in budgets:
        less = boundary_distance(model, x, y, searched(max_queries=budget), rng=seeded(0))
        torch.testing.assert_close(whole.after(budget), less, rtol=1e-12, atol=0)
    assert torch.equal(whole.after(39), whole.after(13))
    assert torch.equal(whole.after(10**6), whole.scores)
    assert torch.equal(whole.after(1), torch.where(gap(model, x, y) == 1, math.inf, 0.0))
    late = dataclasses.replace(config.search, budgets=(40, 90))
    found = perturbations(model, x, y, BoundaryDistance(search=late), rng=seeded(0))
    assert (found.after(39) == math.inf).all()


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_a_row_does_not_depend_on_its_neighbours_and_repeats(seed):
    model, (x, y) = small_net(), rows(7, seed=seed)
    config = searched(max_queries=60)

    def scores(index):
        return boundary_distance(model, x[index], y[index], config, rng=seeded(seed))

    together = scores(torch.arange(7))
    assert torch.equal(together, scores(torch.arange(7)))
    torch.testing.assert_close(scores(torch.tensor([5, 1])), together[[5, 1]], rtol=1e-7, atol=0)


def test_the_oracle_may_run_dry():
    """What was found until then is returned, and the books tell of which rows."""
    model, (x, _) = small_net(), rows(9)
    oracle = recording(model, limit=150)
    found = perturbations(oracle, x, right(model, x), searched(max_queries=60), rng=seeded(0))
    assert oracle.spent <= 150
    assert found.boundary.exhausted.any()
    assert found.scores.shape == (9,)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"norm": 3}, "norm"),
        ({"search": HopSkipJump(targeted=True)}, "targeted"),
        ({"search": QEBA(subspace=PCA())}, "PCA"),
        ({"queries": 5}, "queries"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, what):
    with pytest.raises(ValidationError, match=what):
        BoundaryDistance(**wrong)


def test_the_published_settings():
    config = BoundaryDistance.published()
    assert config.search == HopSkipJump.published(max_queries=15000)
    assert config.norm == 2
