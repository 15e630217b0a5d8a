"""Secure and insecure rows: counts add up, and the comparison is that of all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.metrics import Estimate, NotEvaluable, security

rows = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.5, 1.0, np.inf]), st.booleans(), st.booleans()),
    min_size=1,
    max_size=14,
)


@given(rows)
def test_it_is_what_the_definition_says(table):
    loss, right, withstood = (np.array(column) for column in zip(*table, strict=True))
    found = security(loss, right, withstood)
    kept = [loss for loss, one, two in table if one and two]
    lost = [loss for loss, one, two in table if not (one and two)]
    assert (found.secure, found.insecure) == (len(kept), len(lost))
    assert found.secure + found.insecure == len(table)
    assert found.wrong == sum(not one for _, one, _ in table) <= found.insecure
    if not kept or not lost:
        assert isinstance(found.auc, NotEvaluable)
        assert found.loss is None
        return
    pairs = [(a > b) + (a == b) / 2 for a in lost for b in kept]
    assert isinstance(found.auc, Estimate)
    assert found.auc.value == pytest.approx(np.mean(pairs))
    rules = [
        (np.mean(np.array(lost) >= t) + np.mean(np.array(kept) < t)) / 2
        for t in [*kept, *lost, np.inf]
    ]
    assert isinstance(found.best_threshold_accuracy, Estimate)
    assert found.best_threshold_accuracy.value == pytest.approx(max(0.5, *rules))
    assert found.loss is not None
    assert (sum(found.loss["secure"]), sum(found.loss["insecure"])) == (len(kept), len(lost))
    assert set(found.loss) >= {"edges", "zero_secure", "zero_insecure", "open_ended"}


def test_a_row_that_is_wrong_as_it_is_is_insecure_whatever_the_attack_does():
    found = security([0.1, 2.0], [True, False], [True, True])
    assert (found.secure, found.insecure, found.wrong) == (1, 1, 1)


def test_what_the_loss_tells_beyond_being_wrong():
    """Among right rows alone the losses may say nothing, where all together say much."""
    loss = [0.2, 0.2, 0.2, 0.2, 3.0, 3.0, 3.0, 3.0]
    right = [True] * 4 + [False] * 4
    withstood = [True, True, False, False] + [False] * 4
    found = security(loss, right, withstood)
    assert found.auc.value == pytest.approx(5 / 6)
    assert found.auc_among_right.value == 0.5


def test_one_side_alone_has_a_reason():
    found = security([0.1, 0.2], [True, True], [False, False]).to_json()
    assert "0 secure and 2 insecure" in found["metrics"]["auc"]["not_evaluable"]
    assert found["rows"] == {"secure": 0, "insecure": 2, "wrong": 0}
    assert "loss" not in found


def test_no_right_row_at_all_has_a_reason_too():
    found = security([0.1, 0.2], [False, False], [True, False])
    assert "0 secure" in found.auc_among_right.why


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([], [], []), "losses"),
        (([0.1, np.nan], [True, True], [True, True]), "NaN"),
        (([0.1, 0.2], [True], [True, True]), "rows as they are"),
        (([0.1, 0.2], [True, True], [1, 0]), "attacked"),
    ],
)
def test_bad_rows_are_refused(arguments, said):
    with pytest.raises(BadInput, match=said):
        security(*arguments)
