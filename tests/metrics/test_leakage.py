import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.metrics import NotEvaluable, membership

tied = st.one_of(st.integers(-3, 3).map(float), st.sampled_from([math.inf, -math.inf]))
side = st.lists(tied, min_size=1, max_size=12)
quick = settings(deadline=None, max_examples=40)


@given(members=side, nonmembers=side)
@quick
def test_best_threshold_accuracy_is_brute_force(members, nonmembers):
    best = 0.5  # nobody or everybody flagged
    for threshold in members + nonmembers:
        tpr = np.mean([score >= threshold for score in members])
        fpr = np.mean([score >= threshold for score in nonmembers])
        best = max(best, (tpr + 1 - fpr) / 2)
    found = membership(members, nonmembers)
    assert found.best_threshold_accuracy.value == pytest.approx(best, abs=1e-12)
    assert found.advantage.value == pytest.approx(2 * (best - 0.5), abs=1e-12)


@given(members=side, nonmembers=side)
@quick
def test_swapping_the_sides_and_the_sign_changes_nothing(members, nonmembers):
    one = membership(members, nonmembers)
    other = membership([-score for score in nonmembers], [-score for score in members])
    assert one.auc.value == pytest.approx(other.auc.value, abs=1e-12)
    assert one.best_threshold_accuracy.value == other.best_threshold_accuracy.value


@given(members=side, nonmembers=side)
@quick
def test_swapping_the_sides_mirrors_the_auc(members, nonmembers):
    one, other = membership(members, nonmembers), membership(nonmembers, members)
    assert one.auc.value == pytest.approx(1 - other.auc.value, abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "benign", "adversarial"),
    [
        ("natural", "55.85", "54.27"),
        ("pgd", "61.69", "68.83"),
    ],
)
def test_recorded_models_give_the_published_table(fixtures_folder, kind, benign, adversarial):
    """Song et al. (CCS 2019), table 2, Yale Face: I_B and I_A."""
    with np.load(fixtures_folder / f"yale_{kind}.npz") as recorded:
        for query, published in (("benign", benign), ("adversarial", adversarial)):
            scores = [
                recorded[f"output_{split}_{query}"][
                    np.arange(len(recorded[f"{split}_label"])), recorded[f"{split}_label"]
                ]
                for split in ("train", "test")
            ]
            found = membership(*scores).best_threshold_accuracy.value
            assert f"{100 * found:.2f}" == published


def test_separated_scores_keep_an_honest_lower_end():
    """The bootstrap sees no swapped pair in 300; up to 1.4 % could still be swapped."""
    found = membership(np.arange(300.0) + 1, -np.arange(300.0))
    assert found.auc.value == found.best_threshold_accuracy.value == 1.0
    assert found.auc.low == pytest.approx(0.0125 ** (1 / 300))
    assert 0.95 < found.best_threshold_accuracy.low <= 0.0125 ** (1 / 300) + 1e-12


def test_one_swapped_pair_does_not_narrow_the_interval():
    apart = membership(np.arange(300.0) + 1, -np.arange(300.0))
    members = np.append(np.arange(299.0) + 1, -0.5)
    nearly = membership(members, -np.arange(300.0))
    assert nearly.auc.low <= apart.auc.low
    assert nearly.best_threshold_accuracy.low <= apart.best_threshold_accuracy.low


def test_constant_scores_are_at_chance_with_room():
    found = membership(np.zeros(300), np.zeros(200))
    assert found.auc.value == found.best_threshold_accuracy.value == 0.5
    assert found.auc.low < 0.5 < found.auc.high < 0.52
    assert 0.5 < found.best_threshold_accuracy.high < 0.52
    assert found.held_out_threshold_accuracy.value == 0.5
    assert found.epsilon_lower_bound.value == 0.0


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_handful_of_rows_proves_nothing(rows):
    found = membership(np.ones(rows), np.zeros(rows))
    assert found.auc.low < 0.5
    assert found.best_threshold_accuracy.low == 0.5
    assert found.advantage.low == 0.0


def test_a_single_row_has_no_half():
    found = membership([1.0], [0.0, 0.5])
    for metric in (
        found.held_out_threshold_accuracy,
        found.epsilon_lower_bound,
        found.precision_at(0.5),
    ):
        assert isinstance(metric, NotEvaluable)
        assert metric.why.endswith("there are 1 and 2")


def test_precision_uses_the_held_out_threshold():
    rng = np.random.default_rng(0)
    found = membership(rng.normal(1, 1, 200), rng.normal(0, 1, 200))
    flagged = found.held_out.flagged
    assert (flagged.members, flagged.nonmembers) == (100, 100)
    expected = flagged.hits / (flagged.hits + flagged.alarms)
    assert found.precision_at(0.5).value == pytest.approx(expected)


def test_a_held_out_rule_that_flags_nobody_has_no_precision():
    """Of two rows a side one is judged; with some seed its half lies below the threshold."""
    reasons = [
        found.precision_at(0.5)
        for found in (membership([1.0, 0.0], [0.5, 0.0], seed=seed) for seed in range(20))
        if found.held_out.flagged.hits + found.held_out.flagged.alarms == 0
    ]
    assert reasons
    assert all(isinstance(reason, NotEvaluable) for reason in reasons)


def test_a_higher_level_widens_every_interval():
    rng = np.random.default_rng(0)
    members, nonmembers = rng.normal(1, 1, 100), rng.normal(0, 1, 100)
    wide, narrow = (membership(members, nonmembers, level=level) for level in (0.99, 0.8))
    for name in ("auc", "best_threshold_accuracy", "held_out_threshold_accuracy", "advantage"):
        one, other = getattr(wide, name), getattr(narrow, name)
        assert one.low < other.low <= other.high < one.high
        assert (one.level, other.level) == (0.99, 0.8)
    assert wide.epsilon_lower_bound.low < narrow.epsilon_lower_bound.low


def test_a_negative_seed_is_refused():
    with pytest.raises(BadInput, match="seed: is -1"):
        membership([1.0], [0.0], seed=-1)


def test_bad_scores_are_refused_here_too():
    with pytest.raises(BadInput, match=r"^non-member scores: 1 of 1 are NaN"):
        membership([1.0], [math.nan])
