"""Several trainings at once are, each, the training alone."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trilemma.attacks.evasion import PGD
from trilemma.core.balls import Linf
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput, TrainingCollapsed, TrainingDiverged
from trilemma.core.generators import seeded
from trilemma.models import PixelDP
from trilemma.training import (
    L1,
    L2,
    MLP,
    SGD,
    Adam,
    Adversarial,
    Cosine,
    Natural,
    SmallCNN,
    Steps,
    train,
)
from trilemma.training.together import WORTH, joins, train_together, worth_it

RECIPE = MLP(hidden=(7, 5), epochs=4, batch=8)
ADVERSARIAL = Adversarial(attack=PGD(ball=Linf(0.1), steps=1))


@pytest.fixture(autouse=True)
def _double():
    """In float64, where rounding is no excuse."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def data(models=3, rows=27, shape=(6,), seed=0):
    rng = seeded(seed)
    return [
        Dataset(torch.rand(rows, *shape, generator=rng), torch.randint(3, (rows,), generator=rng))
        for _ in range(models)
    ]


def assert_alike(recipe, objective, datasets, seeds, tolerance=1e-9):
    together = train_together(recipe, objective, datasets, seeds, classes=3)
    for done, rows, seed in zip(together, datasets, seeds, strict=True):
        alone = train(recipe, objective, rows, seed, classes=3)
        assert done.model.state_dict().keys() == alone.model.state_dict().keys()
        for name, weight in alone.model.state_dict().items():
            found = done.model.state_dict()[name]
            torch.testing.assert_close(found, weight, rtol=tolerance, atol=tolerance)
        assert not done.model.training
        assert done.kept == alone.kept
        for mine, other in zip(done.history, alone.history, strict=True):
            assert mine.loss == pytest.approx(other.loss, rel=tolerance)
            assert (mine.by_row is None) == (other.by_row is None)
            assert (mine.by_row or 0) == pytest.approx(other.by_row or 0, rel=tolerance)
            assert (mine.learning_rate, mine.strength) == (other.learning_rate, other.strength)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"optimiser": SGD(learning_rate=0.1, momentum=0.9, weight_decay=1e-3)},
        {"optimiser": Adam(learning_rate=0.01, weight_decay=0.1), "course": Cosine()},
        {"course": Steps(at=(1, 2))},
        {"clip_norm": 0.05},  # shorter than these gradients
        {"clip_norm": 1.0},
        {"hidden": ()},
        {"batch": 100},
        {"warmup": 1, "ramp": 2},
    ],
    ids=str,
)
def test_each_model_is_what_it_is_alone(change):
    assert_alike(replace(RECIPE, **change), Natural(), data(), [3, 1, 2])


@pytest.mark.parametrize(
    "objective", [Natural() + 1e-3 * L1(), 0.5 * Natural() + 1e-2 * L2()], ids=["L1", "L2"]
)
def test_with_a_penalty_too(objective):
    assert_alike(RECIPE, objective, data(), [0, 1, 2])


def test_a_short_gradient_bound_is_each_model_s_own():
    """Of one whose gradients are long, and one whose are not."""
    calm, wild = data(2)
    wild = Dataset(30 * wild.x, wild.y)
    assert_alike(replace(RECIPE, clip_norm=0.8, epochs=2), Natural(), [calm, wild], [0, 1])


@given(models=st.integers(1, 5), rows=st.integers(1, 20), seed=st.integers(0, 10**6))
@settings(max_examples=12, deadline=None)
def test_whatever_their_number_and_rows(models, rows, seed):
    seeds = [seed + 7 * index for index in range(models)]
    recipe = MLP(hidden=(4,), epochs=2, batch=6)
    assert_alike(recipe, Natural(), data(models, rows, (2, 3), seed), seeds)


def test_in_single_precision_they_differ_by_rounding():
    torch.set_default_dtype(torch.float32)
    assert_alike(RECIPE, Natural(), data(4), [4, 5, 6, 7], tolerance=2e-4)


def test_soft_targets_too():
    soft = [Dataset(each.x, torch.nn.functional.one_hot(each.y, 3).double()) for each in data()]
    assert_alike(RECIPE, Natural(), soft, [0, 1, 2])


def test_nobody_elses_draws_move_and_epochs_are_told():
    state, told = torch.random.get_rng_state(), []
    train_together(
        RECIPE,
        Natural(),
        data(),
        [0, 1, 2],
        classes=3,
        progress=lambda done, total, note: told.append((done, total)),
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("recipe", "objective"),
    [
        (SmallCNN(), Natural()),
        (MLP(dropout=0.1), Natural()),
        (MLP(noise=PixelDP(budget=0.1)), Natural()),
        (MLP(), ADVERSARIAL),
        (MLP(), Natural() + ADVERSARIAL),
        (MLP(), 2.0 * ADVERSARIAL),
    ],
)
def test_what_draws_in_its_steps_or_is_no_perceptron_is_refused(recipe, objective):
    assert not joins(recipe, objective)
    with pytest.raises(BadInput, match="one by one"):
        train_together(recipe, objective, data(), [0, 1, 2], classes=3)


def test_data_sets_that_do_not_match_are_refused():
    one, other = data(2, 9), data(1, 10)
    with pytest.raises(BadInput, match="differ"):
        train_together(RECIPE, Natural(), one + other, [0, 1, 2], classes=3)
    with pytest.raises(BadInput, match="2 data sets, 1 seeds"):
        train_together(RECIPE, Natural(), one, [0], classes=3)
    with pytest.raises(BadInput, match="labels span"):
        train_together(RECIPE, Natural(), one, [0, 1], classes=2)


def test_a_model_that_diverges_is_told_as_alone():
    good, bad = data(2)
    bad = Dataset(bad.x.index_fill(0, torch.tensor([3]), float("inf")), bad.y)
    steps = []
    for run in (
        lambda: train_together(RECIPE, Natural(), [good, bad], [0, 1], classes=3),
        lambda: train(RECIPE, Natural(), bad, 1, classes=3),
    ):
        with pytest.raises(TrainingDiverged) as told:
            run()
        steps.append(told.value.step)
    assert len(set(steps)) == 1


@pytest.mark.parametrize("objective", [Natural(), 2 * Natural()])
def test_a_model_that_collapses_is_told(objective):
    nothing = [Dataset(torch.zeros(12, 2), torch.arange(12) % 3)] * 2
    recipe = MLP(hidden=(3,), epochs=12, batch=12)
    with pytest.raises(TrainingCollapsed):
        train(recipe, objective, nothing[0], 0, classes=3)
    with pytest.raises(TrainingCollapsed):
        train_together(recipe, objective, nothing, [0, 1], classes=3)


def test_only_small_models_are_worth_it():
    assert worth_it(MLP(), (1, 8, 8), 10)
    assert not worth_it(MLP(hidden=(1000, 100)), (561,), 6)
    assert WORTH > 100_000
