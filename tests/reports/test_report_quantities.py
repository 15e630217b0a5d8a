"""Numbers in print: as the papers print them, with their intervals, or why there are none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.experiments.reports.quantities import (
    ACCURACIES,
    MEMBERSHIP,
    in_words,
    quantity,
    shown,
    strongest,
)

Json = dict[str, Any]
BEST = MEMBERSHIP["best_threshold_accuracy"]


@given(st.integers(0, 10_000))
def test_two_digits_of_a_per_cent(basis_points: int) -> None:
    whole, rest = divmod(basis_points, 100)
    assert BEST.number(basis_points / 10_000) == f"{whole}.{rest:02d}"


def test_with_an_interval() -> None:
    metric = {"value": 0.61692, "low": 0.5902, "high": 0.64306, "level": 0.95}
    assert vars(shown(metric, BEST)) == {
        "value": "61.69 %",
        "interval": "59.02 to 64.31",
        "reason": "",
    }
    assert in_words(metric, BEST) == "61.69 % (95 % interval 59.02 to 64.31)"


def test_one_sided() -> None:
    metric = {"value": 0.21, "low": 0.2, "high": None, "level": 0.9}
    epsilon = quantity("epsilon_lower_bound")
    assert shown(metric, epsilon).interval == "at least 0.20"
    assert in_words(metric, epsilon) == "0.21 (90 % one-sided: at least 0.20)"


def test_no_number() -> None:
    assert shown({"not_evaluable": "too few"}, BEST).value == "n/a"
    assert in_words({"not_evaluable": "too few"}, BEST) == "not evaluable (too few)"


@pytest.mark.parametrize(
    ("name", "label", "chance"),
    [
        ("tpr_at_fpr_0.001", "Members found at 0.1 % false alarms", 0.001),
        ("tpr_at_fpr_0.1", "Members found at 10 % false alarms", 0.1),
        ("precision_at_prior_0.01", "Precision if 1 % are members", 0.01),
        ("agreement_of_thieves", "agreement of thieves", None),
        ("tpr_at_fpr_low", "tpr at fpr low", None),
        ("auc", "AUC", 0.5),
    ],
)
def test_names(name: str, label: str, chance: float | None) -> None:
    assert (quantity(name).label, quantity(name).chance) == (label, chance)


def test_every_quantity_explains_itself() -> None:
    for kind in [*ACCURACIES.values(), *MEMBERSHIP.values(), quantity("tpr_at_fpr_0.1")]:
        assert kind.meaning.endswith(".")
        assert len(kind.short) <= 20


values = st.floats(0, 1) | st.none()


@given(st.dictionaries(st.text(max_size=3), values), st.sets(st.text(max_size=3)))
def test_strongest_is_the_largest_of_those_asked_for(
    attacks: dict[str, float | None], among: set[str]
) -> None:
    def metric(value: float | None) -> Json:
        return {"not_evaluable": "-"} if value is None else {"value": value}

    membership = {
        name: {"best_threshold_accuracy": metric(value)} for name, value in attacks.items()
    }
    for allowed in (None, among):
        able = {
            name: value
            for name, value in attacks.items()
            if value is not None and (allowed is None or name in allowed)
        }
        best = strongest(membership, among=allowed)
        assert (best is None) == (not able)
        assert best is None or able[best] == max(able.values())
