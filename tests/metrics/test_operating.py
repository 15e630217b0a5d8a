import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from trilemma.core.errors import BadInput
from trilemma.metrics import Estimate, Flagged, NotEvaluable, precision_at, rate, roc, tpr_at

tied = st.one_of(st.integers(-3, 3).map(float), st.sampled_from([math.inf, -math.inf]))
side = st.lists(tied, min_size=1, max_size=12)


@given(members=side, nonmembers=side, fpr=st.floats(0, 1))
def test_tpr_at_fpr_is_the_best_allowed_threshold(members, nonmembers, fpr):
    found = tpr_at(roc(members, nonmembers), fpr)
    if fpr < 1 / len(nonmembers):
        assert isinstance(found, NotEvaluable)
        return
    best = 0
    for threshold in members + nonmembers:
        if sum(score >= threshold for score in nonmembers) / len(nonmembers) <= fpr:
            best = max(best, sum(score >= threshold for score in members))
    assert found == rate(best, len(members))


@given(trials=st.integers(1, 2000), data=st.data())
def test_a_rate_that_the_sample_has_exactly_is_reached(trials, data):
    """Such as 29 of 100 at 0.29, where 0.29 * 100 < 29 in floating point."""
    alarms = data.draw(st.integers(1, trials))
    curve = roc([float(trials - alarms)], np.arange(trials, dtype=float))
    assert tpr_at(curve, alarms / trials).value == 1.0


def test_tied_rows_are_flagged_together():
    """A third of the members share the non-members' score: no credit for splitting the tie."""
    curve = roc([2.0, 1.0, 1.0], [1.0] * 5 + [0.0] * 5)
    assert tpr_at(curve, 0.4).value == pytest.approx(1 / 3)
    assert tpr_at(curve, 0.5).value == 1.0


@given(members=side, nonmembers=side)
def test_tpr_grows_with_the_fpr_allowed(members, nonmembers):
    curve = roc(members, nonmembers)
    found = [tpr_at(curve, fpr) for fpr in np.linspace(0, 1, 23)]
    values = [each.value for each in found if isinstance(each, Estimate)]
    assert values == sorted(values)
    assert values[-1] == 1.0


def test_the_tpr_interval_covers_given_the_non_members():
    """The threshold hangs on the non-members alone, so the members found are binomial."""
    rng, runs, missed = np.random.default_rng(0), 400, 0
    for _ in range(runs):
        nonmembers = rng.random(50)
        found = tpr_at(roc(rng.random(80) ** 0.25, nonmembers), 0.1)
        truth = 1 - np.sort(nonmembers)[-6] ** 4  # members above the sixth highest non-member
        missed += not found.low <= truth <= found.high
    assert missed <= binom.isf(1e-3, runs, 0.05)


@pytest.mark.parametrize(
    ("fpr", "nonmembers", "why"),
    [
        (
            0.001,
            300,
            "a false positive rate of 0.001 needs 1000 non-members or more; there are 300",
        ),
        (0.01, 99, "a false positive rate of 0.01 needs 100 non-members or more; there are 99"),
        (0.3, 3, "a false positive rate of 0.3 needs 4 non-members or more; there are 3"),
        (0.0, 7, "a false positive rate of 0 is finer than any sample resolves; there are 7"),
    ],
)
def test_a_rate_finer_than_one_non_member_is_not_evaluable(fpr, nonmembers, why):
    found = tpr_at(roc([1.0], np.zeros(nonmembers)), fpr)
    assert isinstance(found, NotEvaluable)
    assert found.why.startswith(why)


@given(n=st.integers(1, 10**6))
def test_the_number_of_non_members_asked_for_suffices_and_is_least(n):
    fpr = 1 / n
    assert isinstance(tpr_at(roc([1.0], np.zeros(1)), fpr), NotEvaluable if n > 1 else Estimate)
    if n > 1:
        needed = int(tpr_at(roc([1.0], [0.0]), fpr).why.split(" needs ")[1].split()[0])
        assert needed == n


@pytest.mark.parametrize("fpr", [-0.1, 1.1, math.nan])
def test_an_impossible_fpr_is_refused(fpr):
    with pytest.raises(BadInput, match="fpr"):
        tpr_at(roc([1.0], [0.0]), fpr)


def flags(hits, members, alarms, nonmembers):
    return Flagged(hits=hits, members=members, alarms=alarms, nonmembers=nonmembers)


@given(hits=st.integers(0, 50), alarms=st.integers(1, 50), members=st.integers(0, 1000))
def test_precision_is_the_share_counted_in_a_population(hits, alarms, members):
    """Among 1,000 rows of which some are members, count right and wrong flags."""
    prior = (members + 1) / 1002
    right, wrong = prior * hits / 50, (1 - prior) * alarms / 50
    found = precision_at(flags(hits, 50, alarms, 50), prior)
    assert found.value == pytest.approx(right / (right + wrong), abs=1e-12)


def test_at_equal_rates_precision_is_the_prior():
    assert precision_at(flags(10, 50, 20, 100), 0.01).value == pytest.approx(0.01)


@given(tpr=st.floats(0.01, 1), fpr=st.floats(0.01, 1), prior=st.sampled_from([0.5, 0.01]))
@settings(deadline=None, max_examples=8)
def test_the_precision_interval_covers_exactly(tpr, fpr, prior):
    """Sum both binomial laws over all outcomes; a sample without flags makes no claim."""
    truth = prior * tpr / (prior * tpr + (1 - prior) * fpr)
    missed = 0.0
    for hits, hit_chance in enumerate(binom.pmf(np.arange(10), 9, tpr)):
        for alarms, alarm_chance in enumerate(binom.pmf(np.arange(7), 6, fpr)):
            found = precision_at(flags(hits, 9, alarms, 6), prior)
            if isinstance(found, NotEvaluable):
                continue
            if not found.low - 1e-12 <= truth <= found.high + 1e-12:
                missed += hit_chance * alarm_chance
    assert missed <= 0.05 + 1e-9


def test_the_precision_interval_spends_half_the_error_on_each_rate():
    """40 of 40 and 0 of 30: TPR >= q^(1/40) and FPR <= 1 - q^(1/30), each with error q."""
    q, found = 0.0125, precision_at(flags(40, 40, 0, 30), 0.5)
    tpr, fpr = q ** (1 / 40), 1 - q ** (1 / 30)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(tpr / (tpr + fpr))


def test_precision_of_no_flags_is_not_evaluable():
    found = precision_at(flags(0, 150, 0, 140), 0.1)
    assert isinstance(found, NotEvaluable)
    assert "none of 150 members and 140 non-members" in found.why


@pytest.mark.parametrize("prior", [0.0, 1.0, -1.0, 50.0, math.nan])
def test_an_impossible_prior_is_refused(prior):
    with pytest.raises(BadInput, match="prior"):
        precision_at(flags(1, 2, 1, 2), prior)
