import math

import pytest

from trilemma.core.errors import BadInput
from trilemma.metrics import Estimate, NotEvaluable


@pytest.mark.parametrize(
    "wrong",
    [
        (0.5, 0.6, 0.7),
        (0.5, 0.1, 0.4),
        (math.nan, 0.0, 1.0),
        (0.5, math.nan, 1.0),
        (0.5, 0.0, math.nan),
        (math.inf, 0.0, math.inf),
        (0.5, -math.inf, 1.0),
        (0.5, 0.0, 1.0, 0.0),
        (0.5, 0.0, 1.0, 1.0),
        (0.5, 0.0, 1.0, math.nan),
    ],
)
def test_an_estimate_lies_inside_its_interval(wrong):
    with pytest.raises(BadInput):
        Estimate(*wrong)


def test_an_infinite_upper_end_is_null_in_json():
    assert Estimate(2.0, 2.0, math.inf).to_json() == {
        "value": 2.0,
        "low": 2.0,
        "high": None,
        "level": 0.95,
    }


def test_a_reason_is_its_own_record():
    assert NotEvaluable("too few rows").to_json() == {"not_evaluable": "too few rows"}
