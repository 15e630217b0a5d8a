"""What robustness is measured under, and what two attacks on the same rows say."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.attacks.evasion import PGD, AutoAttack
from trilemma.core.balls import L2, Linf
from trilemma.core.errors import BadInput
from trilemma.experiments.declared import Own, Thorough, choose
from trilemma.experiments.evaluation import MASKED, compare
from trilemma.experiments.specs import experiment

BALL = {"kind": "Linf", "radius": 0.3}
NAMES = ("PGD-20", "AutoAttack")


def answers(right, member):
    """Two classes, label 0, answered as `right` says."""
    table = np.where(np.asarray(right)[:, None], [[0.9, 0.1]], [[0.2, 0.8]])
    label = np.zeros(len(table), dtype=np.int64)
    return {"member": np.asarray(member), "label": label, "log_probabilities": np.log(table)}


@given(st.data())
def test_the_comparison_counts_the_same_rows(data):
    n = data.draw(st.integers(2, 60))
    flags = st.lists(st.booleans(), min_size=n, max_size=n).map(np.array)
    member = data.draw(flags)
    member[:2] = True, False
    gradient = data.draw(flags)
    row = np.unique([0, 1, *data.draw(st.lists(st.integers(0, n - 1)))])
    costly = data.draw(flags)[row]
    found = compare(answers(gradient, member), {**answers(costly, member[row]), "row": row}, NAMES)
    gaps = []
    for part, side in (("train", True), ("test", False)):
        of = [i for i, r in enumerate(row) if member[r] == side]
        right = sum(costly[i] for i in of)
        assert found["accuracy"][part]["value"] == pytest.approx(right / len(of))
        assert found["accuracy"][part]["low"] <= right / len(of) <= found["accuracy"][part]["high"]
        gaps.append((sum(int(gradient[row[i]]) for i in of) - right, len(of)))
        assert found["masking"]["details"]["rows"][part] == len(of)
    warned = any(100 * more > MASKED * of for more, of in gaps)
    assert found["masking"]["status"] == ("warn" if warned else "pass")


@pytest.mark.parametrize(
    ("rows", "missed", "status"),
    [(20, 1, "pass"), (19, 1, "warn"), (100, 5, "pass"), (100, 6, "warn"), (20, 0, "pass")],
)
@pytest.mark.parametrize("part", [True, False])
def test_exactly_five_points_are_no_warning_and_one_row_more_is(rows, missed, status, part):
    member = np.arange(2 * rows) < rows
    costly = np.ones(2 * rows, dtype=bool)
    costly[np.flatnonzero(member == part)[:missed]] = False
    gradient = answers(np.ones(2 * rows, dtype=bool), member)
    thorough = {**answers(costly, member), "row": np.arange(2 * rows)}
    assert compare(gradient, thorough, NAMES)["masking"]["status"] == status
    # what the costly attack misses is no sign of masked gradients
    gradient, thorough = answers(costly, member), {**gradient, "row": thorough["row"]}
    assert compare(gradient, thorough, NAMES)["masking"]["status"] == "pass"


TRAINED = {"recipe": {"kind": "MLP", "epochs": 1}}
ROBUST = {
    **TRAINED,
    "objective": {"kind": "Adversarial", "attack": {"kind": "PGD", "ball": BALL, "steps": 3}},
}
WEAK = {"kind": "PGD", "ball": {"kind": "L2", "radius": 0.5}, "steps": 2}
BENIGN = {"confidence": {"kind": "Confidence"}}
SPEC = {"name": "a", "data": {"kind": "Digits", "members": 40, "nonmembers": 30}}


def spec(model=TRAINED, attacks=BENIGN, **more):
    return {**SPEC, "models": {"m": model}, "attacks": attacks, **more}


@pytest.mark.parametrize(
    ("declared_", "expected"),
    [
        (spec(), None),
        (spec(ROBUST), PGD(ball=Linf(0.3), steps=20)),
        (
            spec(ROBUST, {"i_a": {"kind": "AdversarialConfidence", "attack": WEAK}}),
            PGD(ball=L2(0.5), steps=20),
        ),
        (spec(ROBUST, robustness=WEAK), PGD(ball=L2(0.5), steps=2)),
    ],
)
def test_accuracy_is_measured_under_pgd_20_in_the_first_declared_ball(declared_, expected):
    assert experiment(declared_).measured_under() == expected


def test_autoattack_is_held_against_no_less_than_pgd_20_in_the_same_ball():
    assert experiment(spec(ROBUST)).thoroughly() is None
    usual, costly = experiment(spec(ROBUST, thorough=True)).thoroughly()
    assert usual == PGD(ball=Linf(0.3), steps=20)
    assert costly == AutoAttack(ball=Linf(0.3))
    usual, costly = experiment(spec(ROBUST, robustness=WEAK, thorough=True)).thoroughly()
    assert usual == PGD(ball=L2(0.5), steps=20)
    assert costly == AutoAttack(ball=L2(0.5))
    strong = {**WEAK, "steps": 50}
    usual, _ = experiment(spec(ROBUST, robustness=strong, thorough=True)).thoroughly()
    assert usual == PGD(ball=L2(0.5), steps=50)


@pytest.mark.parametrize(
    ("declared_", "said"),
    [
        (spec(thorough=True), "thorough: there is no ball"),
        (spec(ROBUST, thorough="often"), "thorough: .*bool.*; got 'often'"),
        (spec(ROBUST, thorough=True, thorough_rows=0), "thorough_rows: .*greater .*; got 0"),
        (spec(attacks={"accuracy": {"kind": "Confidence"}}), "attacks.accuracy: is what"),
    ],
)
def test_what_cannot_be_measured_is_refused(declared_, said):
    with pytest.raises(BadInput, match=said):
        experiment(declared_)


def test_the_command_line_adds_to_what_a_file_declares(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(json.dumps(spec(ROBUST)))
    assert "thorough" not in choose(path, Own(), [], [])
    assert choose(path, Own(), [], [], Thorough(asked=True))["thorough"] is True
    table = choose(path, Own(), [], [], Thorough(rows=7))
    assert (table["thorough"], table["thorough_rows"]) == (True, 7)
    with pytest.raises(BadInput, match="--thorough: does not apply to --predictions"):
        choose(None, Own(), [tmp_path / "a.npz"], [], Thorough(rows=7))
