"""Conditions: read longest first, judged on the numbers, one exit status for all."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.experiments.gate import Verdict, exit_status, judge, parse
from trilemma.experiments.methods import METRICS

MODELS = ["natural", "robust", "robust.v2", "a:b.c"]
ATTACKS = ["confidence", "confidence_adversarial", "confidence.v2"]


def read(text):
    return parse(text, models=MODELS, attacks=ATTACKS, metrics=METRICS)


def metric(value, low, high):
    return {"value": value, "low": low, "high": high, "level": 0.95}


def document(failures=(), **models):
    built = {name: {"membership": {"confidence": {"auc": auc}}} for name, auc in models.items()}
    return {"models": built, "failures": list(failures)}


@pytest.mark.parametrize("model", [None, *MODELS])
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("metric_id", METRICS)
@pytest.mark.parametrize("part", ["", ".value", ".low", ".high"])
def test_every_name_is_read_back_longest_first(model, attack, metric_id, part):
    prefix = "" if model is None else f"{model}:"
    found = read(f"{prefix}{attack}.{metric_id}{part}>=0.5")
    assert (found.model, found.attack, found.metric) == (model, attack, metric_id)
    assert found.part == (part[1:] or "value")
    assert (found.compare, found.number) == (">=", 0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("confidence.auc", "cannot read"),
        ("confidence.auc > 0.6 > 0.7", "cannot read"),
        ("confidence.auc = 0.6", "cannot read"),
        ("confidence.auc > often", "'often' .* is not a number"),
        ("confidence.auc > nan", "compares with nothing"),
        ("confidence.aucc > 0.6", "no metric 'aucc'"),
        ("confidence > 0.6", "no metric in"),
        ("boundary.auc > 0.6", "no attack 'boundary.auc' .*This audit has: confidence"),
        ("nobody:confidence.auc > 0.6", "no model 'nobody' .*This audit has: natural"),
        ("confidence.auc.median > 0.6", "'median' .*Allowed: value, low, high"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_is_allowed(text, said):
    with pytest.raises(BadInput, match=said):
        read(text)


OWN = ["train", "autoattack_test"]


@pytest.mark.parametrize("name", OWN)
def test_accuracy_stands_in_an_attacks_place(name):
    text = f"robust:accuracy.{name}.low < 0.5"
    condition = parse(text, models=MODELS, attacks=ATTACKS, metrics=METRICS, accuracies=OWN)
    assert (condition.attack, condition.metric, condition.part) == ("accuracy", name, "low")
    found = {"accuracy": {name: metric(0.5, 0.4, 0.6)}, "membership": {}}
    built = {"models": {"natural": {}, "robust": found}, "failures": []}
    assert judge(condition, built).observed == 0.4
    assert judge(condition, built).holds is True
    assert judge(condition, document(robust=metric(0, 0, 0))).holds is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accuracy.auc > 0.5", "no metric 'auc' .*This audit has: train"),
        ("accuracy.autoattack_train.low < 0.5", "was not measured.*Ask by --thorough"),
    ],
)
def test_an_accuracy_that_is_not_measured_is_refused(text, said):
    with pytest.raises(BadInput, match=said):
        parse(text, models=MODELS, attacks=ATTACKS, metrics=METRICS, accuracies=OWN)


@given(
    value=st.floats(0, 1),
    number=st.floats(0, 1),
    op=st.sampled_from(["<", ">", "<=", ">="]),
)
def test_a_condition_compares_as_python_does(value, number, op):
    condition = read(f"confidence.auc {op} {number!r}")
    holds = judge(condition, document(natural=metric(value, 0.0, 1.0))).holds
    expected = {"<": value < number, ">": value > number, "<=": value <= number}
    assert holds == expected.get(op, value >= number)


def test_without_a_model_any_model_counts():
    condition = read("confidence.auc.low > 0.6")
    yes, no = metric(0.8, 0.7, 0.9), metric(0.5, 0.4, 0.6)
    unknown = {"not_evaluable": "too few rows"}
    assert judge(condition, document(natural=no, robust=yes)).model == "robust"
    assert judge(condition, document(natural=unknown, robust=yes)).holds is True
    assert judge(condition, document(natural=no, robust=unknown)).holds is None
    assert judge(condition, document(natural=no, robust=no)).holds is False


def test_an_open_upper_end_is_infinite():
    condition = read("confidence.auc.high > 1e300")
    assert judge(condition, document(natural=metric(0.5, 0.4, None))).holds is True


def test_a_failed_attack_cannot_be_evaluated():
    condition = read("robust:confidence.auc > 0.5")
    assert judge(condition, document(natural=metric(0.9, 0.8, 1.0))).holds is None


def test_the_exit_status_has_one_order():
    condition = read("confidence.auc > 0.5")
    verdicts = [
        Verdict(condition=condition, model=None, holds=holds) for holds in (True, False, None)
    ]
    for size in range(4):
        for chosen in itertools.combinations(verdicts, size):
            found = {verdict.holds for verdict in chosen}
            for failures in ([], [{"stage": "train"}]):
                status = exit_status(document(failures), chosen)
                if True in found:
                    assert status == 3
                elif failures:
                    assert status == 1
                else:
                    assert status == (4 if None in found else 0)
