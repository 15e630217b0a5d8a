import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from trilemma.core.errors import BadInput
from trilemma.metrics import Flagged, accuracy, rate

levels = st.sampled_from([0.5, 0.9, 0.95, 0.99])


@given(trials=st.integers(1, 60), p=st.floats(1e-6, 1 - 1e-6), level=levels)
@settings(deadline=None, max_examples=50)
def test_the_interval_covers_exactly(trials, p, level):
    """Sum the binomial law over the outcomes whose interval holds p: no sampling."""
    covered = 0.0
    for hits in range(trials + 1):
        share = rate(hits, trials, level)
        if share.low <= p <= share.high:
            covered += binom.pmf(hits, trials, p)
    assert covered >= level - 1e-9


@given(trials=st.integers(1, 5000), share=st.floats(0, 1), level=levels)
@settings(deadline=None, max_examples=100)
def test_the_interval_is_tight(trials, share, level):
    """Each end is where the observed count, or one more extreme, has the tail's probability."""
    hits, tail = round(share * trials), (1 - level) / 2
    found = rate(hits, trials, level)
    assert found.value == hits / trials
    if hits:
        assert binom.sf(hits - 1, trials, found.low) == pytest.approx(tail, rel=1e-6)
    else:
        assert found.low == 0
    if hits < trials:
        assert binom.cdf(hits, trials, found.high) == pytest.approx(tail, rel=1e-6)
    else:
        assert found.high == 1


def test_no_hit_in_n_trials_has_the_closed_form():
    assert rate(0, 300).high == pytest.approx(1 - 0.025 ** (1 / 300), rel=1e-12)
    assert rate(300, 300).low == pytest.approx(0.025 ** (1 / 300), rel=1e-12)


@given(trials=st.integers(1, 500), share=st.floats(0, 1), level=levels)
@settings(deadline=None, max_examples=50)
def test_misses_mirror_hits(trials, share, level):
    hits = round(share * trials)
    one, other = rate(hits, trials, level), rate(trials - hits, trials, level)
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-12)


@pytest.mark.parametrize(("hits", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(hits, trials):
    with pytest.raises(BadInput, match=f"{hits} hits in {trials} trials"):
        rate(hits, trials)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95.0, np.nan])
def test_an_impossible_level_is_refused(level):
    with pytest.raises(BadInput, match="confidence level inside"):
        rate(1, 2, level)


def test_numpy_integers_are_whole_numbers():
    assert rate(np.int64(3), np.uint8(4)) == rate(3, 4)


def test_accuracy_is_a_rate():
    correct = np.arange(20) % 3 == 0
    assert accuracy(correct, 0.9) == rate(7, 20, 0.9)


@pytest.mark.parametrize("wrong", [[], [[True]], [1.0, 0.0], [1, 0], [2, 7], np.array(True)])
def test_accuracy_takes_one_boolean_a_row(wrong):
    with pytest.raises(BadInput, match="correct answers"):
        accuracy(wrong)


@given(tpr=st.floats(1e-6, 1 - 1e-6), fpr=st.floats(1e-6, 1 - 1e-6), level=levels)
@settings(deadline=None, max_examples=8)
def test_balanced_accuracy_covers_exactly(tpr, fpr, level):
    """Sum both binomial laws over all outcomes."""
    members, nonmembers = 9, 6
    hit_law = binom.pmf(np.arange(members + 1), members, tpr)
    alarm_law = binom.pmf(np.arange(nonmembers + 1), nonmembers, fpr)
    covered = 0.0
    for hits, hit_chance in enumerate(hit_law):
        for alarms, alarm_chance in enumerate(alarm_law):
            found = Flagged(
                hits=hits, members=members, alarms=alarms, nonmembers=nonmembers
            ).balanced_accuracy(level)
            if found.low - 1e-12 <= (tpr + 1 - fpr) / 2 <= found.high + 1e-12:
                covered += hit_chance * alarm_chance
    assert covered >= level - 1e-9


def test_balanced_accuracy_spends_half_the_error_on_each_rate():
    flagged = Flagged(hits=40, members=60, alarms=10, nonmembers=30)
    found = flagged.balanced_accuracy(0.9)
    assert found.value == pytest.approx((2 / 3 + 2 / 3) / 2)
    tpr_low = 2 * found.low - 1 + rate(10, 30, 0.95).high
    assert binom.sf(39, 60, tpr_low) == pytest.approx(0.025, rel=1e-6)


@given(
    hits=st.integers(0, 30), misses=st.integers(0, 30), alarms=st.integers(0, 30),
    passed=st.integers(0, 30), level=levels,
)  # fmt: skip
def test_f1_is_the_harmonic_mean_of_precision_and_recall(hits, misses, alarms, passed, level):
    assume(hits + misses and alarms + passed)
    flagged = Flagged(hits=hits, members=hits + misses, alarms=alarms, nonmembers=alarms + passed)
    found = flagged.f1(level)
    if hits:
        precision, recall = hits / (hits + alarms), hits / (hits + misses)
        assert found.value == pytest.approx(2 / (1 / precision + 1 / recall))
    else:
        assert found.value == 0
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_the_f1_interval_covers():
    """At the value that the rule has in the population, of as many members and non-members."""
    rng, runs, missed = np.random.default_rng(0), 500, 0
    truth = 2 * 0.6 * 40 / (0.6 * 40 + 0.2 * 60 + 40)
    for hits, alarms in zip(rng.binomial(40, 0.6, runs), rng.binomial(60, 0.2, runs), strict=True):
        flagged = Flagged(hits=int(hits), members=40, alarms=int(alarms), nonmembers=60)
        found = flagged.f1(0.9)
        missed += not found.low <= truth <= found.high
    assert missed / runs <= 0.1
    assert missed  # the partner: intervals that hold everything would say nothing
