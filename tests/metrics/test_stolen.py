"""A student beside its victim: exact counts, and an interval of the ratio that covers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.metrics import NotEvaluable, accuracy, gap, likeness, share


def rng(seed=0):
    return np.random.default_rng(seed)


def test_a_perfect_copy_has_all_of_it():
    y = rng().integers(5, size=400)
    victim = np.where(rng(1).random(400) < 0.7, y, (y + 1) % 5)
    found = likeness(victim, victim, y, rng=rng())
    assert found.fidelity.value == 1
    assert found.of_accuracy.value == 1
    assert found.of_accuracy.low > 0.98
    assert found.of_accuracy.high < 1.02
    assert found.accuracy == accuracy(victim == y)


def test_agreement_is_not_accuracy():
    y = np.zeros(10, dtype=int)
    victim, student = np.array([1] * 10), np.array([1] * 5 + [2] * 5)
    found = likeness(student, victim, y, rng=rng())
    assert found.fidelity.value == 0.5
    assert found.accuracy.value == 0
    assert isinstance(found.of_accuracy, NotEvaluable)


@pytest.mark.parametrize(
    ("rates", "rows"),
    [((0.5, 0.1, 0.2, 0.2), 300), ((0.3, 0.02, 0.28, 0.4), 200), ((0.8, 0.0, 0.1, 0.1), 150)],
)
def test_the_interval_of_the_ratio_covers_as_often_as_it_says(rates, rows):
    draw = rng(5)
    true = (rates[0] + rates[1]) / (rates[0] + rates[2])
    covered = 0
    for _ in range(400):
        kind = draw.choice(4, p=rates, size=rows)
        found = share((kind == 0) | (kind == 1), (kind == 0) | (kind == 2), rng=draw)
        covered += found.low <= true <= found.high
    assert covered > 0.95 * 400 - 4 * (400 * 0.05 * 0.95) ** 0.5
    assert covered < 400  # it says something


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_a_gap_is_the_difference_and_turns_its_sign(rows):
    one, other = (np.array(each) for each in zip(*rows, strict=True))
    there, back = gap(one, other, rng=rng()), gap(other, one, rng=rng())
    assert there.value == pytest.approx((sum(one.tolist()) - sum(other.tolist())) / len(rows))
    assert back.value == -there.value
    assert there.low <= there.value <= there.high
    assert there.low >= -1
    assert there.high <= 1
    # the draws are not the same ones with the two turned round
    assert back.low == pytest.approx(-there.high, abs=0.1)
    assert back.high == pytest.approx(-there.low, abs=0.1)


@pytest.mark.parametrize(
    ("rates", "rows"), [((0.5, 0.1, 0.2, 0.2), 200), ((0.8, 0.02, 0.02, 0.16), 300)]
)
def test_the_interval_of_a_gap_covers_as_often_as_it_says(rates, rows):
    draw = rng(6)
    covered = 0
    for _ in range(400):
        kind = draw.choice(4, p=rates, size=rows)
        found = gap((kind == 0) | (kind == 1), (kind == 0) | (kind == 2), rng=draw)
        covered += found.low <= rates[1] - rates[2] <= found.high
    assert covered > 0.95 * 400 - 4 * (400 * 0.05 * 0.95) ** 0.5
    assert covered < 400  # it says something


def test_the_interval_of_a_gap_shrinks_with_rows_and_with_agreement():
    one, other = np.arange(10) < 6, np.arange(10) < 4
    widths = [
        found.high - found.low
        for found in (gap(np.tile(one, n), np.tile(other, n), rng=rng()) for n in (10, 40, 160))
    ]
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.1)
    assert widths[1] / widths[2] == pytest.approx(2, rel=0.1)
    apart = gap(np.tile(one, 40), np.tile(np.arange(10) >= 6, 40), rng=rng())
    assert apart.value == gap(np.tile(one, 40), np.tile(other, 40), rng=rng()).value
    assert apart.high - apart.low > 1.5 * widths[1]  # paired rows tell more than their rates


def test_rows_may_come_in_any_order():
    y = rng().integers(3, size=90)
    student, victim = rng(1).integers(3, size=90), rng(2).integers(3, size=90)
    order = rng(3).permutation(90)
    one = likeness(student, victim, y, rng=rng())
    other = likeness(student[order], victim[order], y[order], rng=rng())
    assert one == other


@pytest.mark.parametrize("shapes", [(0, 0, 0), (3, 2, 3), ((3, 1), (3, 1), (3, 1))])
def test_what_cannot_be_compared_is_refused(shapes):
    with pytest.raises(BadInput, match="labels: have shapes"):
        likeness(*(np.zeros(shape, dtype=int) for shape in shapes), rng=rng())
