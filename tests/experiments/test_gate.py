"""Conditions: read longest first, judged on the numbers, one exit status for all."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.experiments.gate import Verdict, exit_status, judge, parse
from trilemma.experiments.loot import loot
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


DECLARED = {"extraction": {"under": {"pgd.100": {}, "pgd": {}}, "transfer": {"kind": "PGD"}}}
KNOWN = {"thieves": {"best": {}, "best.v2": {}}, "robustness": {"adversarial": {}}}
LOOT = loot(DECLARED, KNOWN)


def taken(text, names=LOOT, attacks=ATTACKS):
    return parse(text, models=MODELS, attacks=attacks, metrics=METRICS, loot=names)


def paths(names, *above):
    """Every number of a tree of names."""
    if not names:
        return [above]
    return [path for name, below in names.items() for path in paths(below, *above, name)]


@pytest.mark.parametrize("model", [None, "a:b.c"])
@pytest.mark.parametrize("part", ["", ".low"])
def test_what_thieves_got_is_read_back_and_found(model, part):
    prefix = "" if model is None else f"{model}:"
    every = paths(LOOT)
    assert len(every) > 100
    for word, *below in every:
        condition = taken(f"{prefix}{'.'.join((word, *below))}{part} > 0.5")
        assert (condition.attack, condition.metric) == (word, ".".join(below))
        assert (condition.model, condition.part) == (model, part[1:] or "value")
        place = metric(0.6, 0.4, 0.8)
        for name in reversed(below):
            place = {name: place}
        stolen = {"extraction": {{"stolen": "thieves"}.get(word, word): place}}
        verdict = judge(condition, {"models": {"a:b.c": stolen}, "failures": []})
        assert verdict.observed == (0.4 if part else 0.6)
        assert verdict.holds is (not part)
        assert verdict.to_json()["metric"] == f"{word}.{'.'.join(below)}.{part[1:] or 'value'}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stolen.bets.benign.final.accuracy > 0", "no thief 'bets.* There is: best, best.v2$"),
        ("stolen > 0", "nothing below stolen in .* There is: best, best.v2$"),
        (
            "stolen.best.benign.last.accuracy > 0",
            "no number 'last.accuracy' below stolen.best.benign .*: final, best, victim, overf",
        ),
        (
            "stolen.best.benign.final > 0",
            "nothing below stolen.best.benign.final .*: accuracy, fid",
        ),
        ("stolen.best.benign.final.steady > 0", "no number 'steady' .* accuracy, fidelity, of_acc"),
        ("stolen.best.random.random.benign > 0", "no number 'random.benign' below .*: benign, adv"),
        ("stolen.best.under.apgd.final.accuracy > 0", "no number 'apgd.* There is: pgd.100, pgd"),
        ("stolen.best.benign.final.accuracy.mid > 0", "'mid' .* Allowed: value, low, high"),
        ("transfer.best.worst > 0", "no number 'worst' below transfer.best .*: victim, best"),
        ("transfer.worst.best > 0", "no model 'worst.best' below transfer"),
    ],
)
def test_what_no_thief_got_is_refused_with_what_there_is(text, said):
    with pytest.raises(BadInput, match=said):
        taken(text)


def test_loot_has_only_what_is_declared():
    bare = loot({"extraction": {}}, {"thieves": {"best": {}}, "robustness": {}})
    assert set(bare) == {"stolen"}
    assert set(bare["stolen"]["best"]) == {"benign", "published", "random"}
    assert set(bare["stolen"]["best"]["published"]) == {"accuracy", "fidelity"}
    assert loot({}, {"robustness": {}}) == {}
    guard = {"detector": {"kind": "PRADA"}, "accounts": 2}
    watched = loot({"extraction": {"own": {"best": {"guard": guard}}}}, KNOWN)["stolen"]
    assert set(watched["best"]["guard"]["thief"]) == {"queries", "alarm_at", "wrong"}
    assert "guard" in watched["best"]["random"]
    assert "guard" not in watched["best.v2"]
    with pytest.raises(BadInput, match="Declare `extraction`"):
        taken("stolen.best.benign.final.accuracy > 0", {})
    with pytest.raises(BadInput, match="and its `transfer`"):
        taken("transfer.best.victim > 0", bare)


def test_an_attack_may_be_called_as_the_word_is():
    found = taken("stolen.auc > 0.5", attacks=["stolen"])
    assert found.where == ("membership", "stolen", "auc")


def test_a_theft_that_failed_or_was_not_tried_cannot_be_evaluated():
    condition = taken("stolen.best.benign.final.of_accuracy.low > 0.8")
    number = {"benign": {"final": {"of_accuracy": {"not_evaluable": "no hit"}}}}
    for entry, said in [
        ({"thieves": {"best": {"not_evaluable": "it failed"}}}, "it failed"),
        ({"thieves": {"best": number}}, "no hit"),
        ({"thieves": {}, "not_evaluable": "recorded"}, "recorded"),
        ({"thieves": {}}, "not part of this model's audit"),
    ]:
        verdict = judge(condition, {"models": {"robust": {"extraction": entry}}, "failures": []})
        assert (verdict.holds, verdict.reason) == (None, said)


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
