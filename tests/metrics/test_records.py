import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.metrics import Estimate, combine, membership, to_json


@st.composite
def records(draw):
    low, value, high = sorted(draw(st.tuples(*[st.floats(0, 10)] * 3)))
    unbounded = draw(st.booleans()) and draw(st.booleans())
    return Estimate(value, low, math.inf if unbounded else high).to_json()


def test_ids_are_those_of_the_audit_document():
    found = to_json(membership(np.arange(50.0), np.arange(40.0) - 20))
    assert list(found) == [
        "best_threshold_accuracy",
        "held_out_threshold_accuracy",
        "auc",
        "advantage",
        "tpr_at_fpr_0.001",
        "tpr_at_fpr_0.01",
        "tpr_at_fpr_0.1",
        "precision_at_prior_0.5",
        "precision_at_prior_0.1",
        "precision_at_prior_0.01",
        "epsilon_lower_bound",
    ]
    assert set(found["auc"]) == {"value", "low", "high", "level"}
    assert set(found["tpr_at_fpr_0.001"]) == {"not_evaluable"}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_small_rates_are_written_out():
    found = to_json(membership([1.0], [0.0]), fprs=(0.00001,), priors=(0.0001,))
    assert {"tpr_at_fpr_0.00001", "precision_at_prior_0.0001"} <= set(found)


@given(record=records())
def test_one_seed_is_left_as_it_is(record):
    assert combine([record]) == record
    assert combine([{"not_evaluable": "why"}]) == {"not_evaluable": "why"}


@given(some=st.lists(records(), min_size=2, max_size=6))
def test_several_seeds_become_mean_and_widest(some):
    both = combine(some)
    assert both["value"] == pytest.approx(np.mean([each["value"] for each in some]))
    assert both["low"] == min(each["low"] for each in some)
    highs = [each["high"] for each in some]
    assert both["high"] == (None if None in highs else max(highs))
    assert both["seeds"] == some
    assert both["low"] <= both["value"]
    assert both["high"] is None or both["value"] <= both["high"]


@given(some=st.lists(records(), min_size=2, max_size=6), data=st.data())
def test_the_order_of_seeds_does_not_matter(some, data):
    one, other = combine(some), combine(data.draw(st.permutations(some)))
    assert {**one, "seeds": None} == {**other, "seeds": None}


@given(record=records(), times=st.integers(2, 5))
def test_seeds_that_agree_say_what_each_says(record, times):
    both = combine([record] * times)
    assert both["value"] == pytest.approx(record["value"], rel=1e-15)
    assert {**both, "value": record["value"]} == {**record, "seeds": [record] * times}


@given(some=st.lists(records(), min_size=2, max_size=4))
def test_seeds_are_not_nested(some):
    again = combine([combine(some), some[0]])
    assert all("seeds" not in each for each in again["seeds"])


def test_one_seed_without_an_answer_leaves_none():
    record = Estimate(0.5, 0.4, 0.6).to_json()
    assert combine([record, {"not_evaluable": "too few"}, record]) == {
        "not_evaluable": "1 of 3 seeds: too few"
    }
    assert combine([{"not_evaluable": "too few"}] * 3) == {"not_evaluable": "too few"}


def test_what_cannot_be_combined_is_refused():
    with pytest.raises(BadInput, match="no records"):
        combine([])
    with pytest.raises(BadInput, match=r"different levels \[0.9, 0.95\]"):
        combine([Estimate(0.5, 0.4, 0.6).to_json(), Estimate(0.5, 0.4, 0.6, 0.9).to_json()])


def test_arguments_are_not_changed():
    record = Estimate(0.5, 0.4, 0.6).to_json()
    combine([record, record])["seeds"][0]["value"] = 7
    combine([record])["value"] = 7
    assert record == Estimate(0.5, 0.4, 0.6).to_json()
