"""Laws that every membership metric obeys, and a metric that does not."""

import math

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from trilemma.metrics import Estimate, NotEvaluable, membership, rate, to_json

FPRS, PRIORS = (0.1, 0.3, 1.0), (0.5, 0.01)
IDS = list(to_json(membership([1.0], [0.0]), FPRS, PRIORS))
CHANCE = {"auc": 0.5, "best_threshold_accuracy": 0.5, "held_out_threshold_accuracy": 0.5}

tied = st.integers(-3, 3).map(float)
side = st.lists(tied, min_size=1, max_size=20)


def metric(name):
    return lambda members, nonmembers: to_json(membership(members, nonmembers), FPRS, PRIORS)[name]


def at_the_mean(members, nonmembers):
    """Thresholds at the mean of all scores, which a monotone map does not keep."""
    with np.errstate(invalid="ignore"):  # both infinities have no mean
        threshold = np.mean(np.concatenate([members, nonmembers]))
    return rate(int((np.asarray(members) >= threshold).sum()), len(members)).to_json()


METRICS = [
    *[pytest.param(metric(name), math.inf if "epsilon" in name else 1.0, id=name) for name in IDS],
    pytest.param(
        at_the_mean, 1.0, id="negative control", marks=pytest.mark.xfail(raises=AssertionError)
    ),
]


@pytest.mark.parametrize(("measure", "most"), METRICS)
@given(members=side, nonmembers=side, data=st.data())
@settings(
    deadline=None,
    max_examples=12,
    report_multiple_bugs=False,
    phases=[Phase.explicit, Phase.generate],  # the negative control fails: do not shrink it
)
def test_metric_laws(measure, most, members, nonmembers, data):
    one, other = np.array(members), np.array(nonmembers)
    seen = one.copy(), other.copy()
    record = measure(one, other)

    assert measure(one, other) == record, "the same call gives the same record"
    assert (one == seen[0]).all(), "arguments are not changed"
    assert (other == seen[1]).all(), "arguments are not changed"
    assert measure(np.sinh(one) ** 3, np.sinh(other) ** 3) == record, "only the order counts"
    stretched = {-3.0: -math.inf, 3.0: math.inf}
    assert (
        measure(*([stretched.get(score, score) for score in each] for each in (one, other)))
        == record
    ), "infinities are scores like any other"
    mixed = data.draw(st.permutations(members)), data.draw(st.permutations(nonmembers))
    assert measure(*mixed) == record, "rows have no order"
    assert measure(one.astype(np.float32), other) == record, "nor a type"
    if "not_evaluable" not in record:
        high = math.inf if record["high"] is None else record["high"]
        assert 0 <= record["low"] <= record["value"] <= high <= most


@pytest.mark.parametrize("name", CHANCE)
def test_equal_samples_are_at_chance(name):
    """Every score occurs on both sides alike."""
    scores = np.repeat(np.arange(10.0), 30)
    record = metric(name)(scores, scores)
    assert record["low"] <= CHANCE[name] <= record["high"]


def test_every_number_of_the_record_has_a_law():
    """A field that is added to the metrics is in the record, hence under the laws."""
    found = membership([1.0, 2.0], [0.0, 0.5])
    fields = {
        name for name, held in vars(found).items() if isinstance(held, Estimate | NotEvaluable)
    }
    assert fields <= set(IDS)
    assert CHANCE.keys() < fields
