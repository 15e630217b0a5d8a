import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import binom

from trilemma.metrics import Halves, halves, held_out, roc

side = st.lists(st.integers(-4, 4).map(float), min_size=2, max_size=15).map(np.array)
seeds = st.integers(0, 2**32)


@given(members=side, nonmembers=side, seed=seeds)
def test_halves_share_no_row_and_lose_none(members, nonmembers, seed):
    split = halves(members, nonmembers, np.random.default_rng(seed))
    for whole, one, other in (
        (members, split.choose_members, split.judge_members),
        (nonmembers, split.choose_nonmembers, split.judge_nonmembers),
    ):
        assert sorted([*one, *other]) == sorted(whole)
        assert len(one) == len(whole) // 2


@given(members=side, nonmembers=side, seed=seeds, data=st.data())
def test_the_threshold_never_sees_the_rows_it_is_judged_on(members, nonmembers, seed, data):
    """Whoever is a member among the judged rows, and whatever they score."""
    split = halves(members, nonmembers, np.random.default_rng(seed))
    judged = np.concatenate([split.judge_members, split.judge_nonmembers])
    mixed = np.array(data.draw(st.permutations(judged.tolist())))
    relabelled = Halves(
        choose_members=split.choose_members,
        choose_nonmembers=split.choose_nonmembers,
        judge_members=mixed[: len(split.judge_members)],
        judge_nonmembers=mixed[len(split.judge_members) :],
    )
    assert held_out(split).threshold == held_out(relabelled).threshold


@given(members=side, nonmembers=side, seed=seeds)
def test_the_threshold_is_the_best_of_its_half(members, nonmembers, seed):
    split = halves(members, nonmembers, np.random.default_rng(seed))
    threshold = held_out(split).threshold

    def gap(t):
        return np.mean(split.choose_members >= t) - np.mean(split.choose_nonmembers >= t)

    candidates = roc(split.choose_members, split.choose_nonmembers).scores
    best = max(gap(t) for t in candidates)
    assert gap(threshold) >= best - 1e-12
    assert all(gap(t) < best - 1e-12 for t in candidates if t > threshold)  # flags fewest


def test_the_interval_covers_the_accuracy_of_the_chosen_threshold():
    rng, runs, missed = np.random.default_rng(0), 400, 0
    for _ in range(runs):
        split = halves(rng.normal(1, 1, 60), rng.normal(0, 1, 40), rng)
        chosen = held_out(split)
        truth = (ndtr(1 - chosen.threshold) + ndtr(chosen.threshold)) / 2
        found = chosen.flagged.balanced_accuracy()
        missed += not found.low <= truth <= found.high
    assert missed <= binom.isf(1e-3, runs, 0.05)


def test_null_scores_are_at_chance_on_average():
    """The best threshold on the same rows is optimistic; the held-out one is not."""
    rng, optimistic, fair = np.random.default_rng(0), [], []
    for _ in range(300):
        members, nonmembers = rng.normal(size=40), rng.normal(size=40)
        curve = roc(members, nonmembers)
        optimistic.append(curve.flagged(curve.best).balanced_accuracy().value)
        chosen = held_out(halves(members, nonmembers, rng))
        fair.append(chosen.flagged.balanced_accuracy().value)
    assert np.mean(optimistic) > 0.55
    assert abs(np.mean(fair) - 0.5) < 5 * np.std(fair) / np.sqrt(300)
