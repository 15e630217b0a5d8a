import math

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom

from trilemma.core.errors import BadInput
from trilemma.metrics import epsilon_lower_bound, halves, membership


def measured(members, nonmembers, rng, **settings):
    return epsilon_lower_bound(halves(members, nonmembers, rng), **settings)


def randomised_response(epsilon, n, rng):
    """A bit told truly with probability e^epsilon / (1 + e^epsilon): exactly epsilon-private."""
    truth = expit(epsilon)
    return rng.random(n) < truth, rng.random(n) >= truth


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_bound_stays_below_the_truth(epsilon, level):
    rng, runs = np.random.default_rng(0), 300
    above = 0
    for _ in range(runs):
        found = measured(*randomised_response(epsilon, 400, rng), rng, level=level)
        assert found.value == found.low
        above += found.low > epsilon
    assert above <= binom.isf(1e-3, runs, 1 - level)


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 4.0])
def test_the_bound_is_tight_with_many_rows(epsilon):
    rng = np.random.default_rng(0)
    found = measured(*randomised_response(epsilon, 400_000, rng), rng)
    assert 0.97 * epsilon < found.low < found.high < 1.03 * epsilon


@pytest.mark.parametrize("n", [20, 300])
def test_null_scores_give_no_positive_bound_beyond_the_level(n):
    rng, runs = np.random.default_rng(0), 300
    positive = sum(
        measured(rng.normal(size=n), rng.normal(size=n), rng).low > 0 for _ in range(runs)
    )
    assert positive <= binom.isf(1e-3, runs, 0.05)


def test_both_directions_of_the_trade_off_count():
    """Half the non-members score below every member: P(not flagged) tells, P(flagged) does not."""
    rng = np.random.default_rng(0)
    low_tail = np.concatenate([np.full(5_000, -1.0), np.zeros(5_000)])
    absence = measured(np.zeros(10_000), low_tail, rng)
    presence = measured(-low_tail, np.zeros(10_000), rng)
    assert absence.low == pytest.approx(presence.low, rel=0.02)
    assert absence.low > 6
    assert absence.high == math.inf


def test_delta_forgives_rare_revelations():
    """Each member is revealed outright with probability delta: (0, delta)-private."""
    rng, n, delta = np.random.default_rng(0), 40_000, 0.01
    revealed = (rng.random(n) < delta).astype(float)
    assert measured(revealed, np.zeros(n), rng).low > 2
    assert measured(revealed, np.zeros(n), rng, delta=2 * delta).low == 0


def test_separated_scores_have_the_closed_form():
    """150 of 150 and 0 of 150 on the judged half: log(q / (1 - q)) with q^150 = 0.025."""
    q = 0.025 ** (1 / 150)
    found = membership(np.ones(300), np.zeros(300)).epsilon_lower_bound
    assert found.value == found.low == pytest.approx(math.log(q / (1 - q)))
    assert found.high == math.inf


@pytest.mark.parametrize("delta", [-0.1, 1.0, math.nan])
def test_an_impossible_delta_is_refused(delta):
    with pytest.raises(BadInput, match="delta"):
        membership([1.0, 2.0], [0.0, 1.0], delta=delta)
