"""Guards of a model: what they notice of thieves and of users, and what it costs a thief."""

import json
from functools import cache
from typing import get_args

import pytest
import torch
from sklearn.datasets import load_digits

from trilemma.attacks.evasion import UncertainExamples
from trilemma.attacks.extraction import BEST, CloudLeak, FeatureFool, Vanilla, extract
from trilemma.core.balls import Linf
from trilemma.core.errors import BadInput, Refused
from trilemma.core.generators import seeded
from trilemma.core.keys import digest
from trilemma.experiments.decode import decode
from trilemma.experiments.guarding import guarded
from trilemma.experiments.guards import CalibratedSEAT, CalibratedWork, Detector, Encoder, Guard
from trilemma.experiments.watching import WATCHES
from trilemma.oracles import Local, Oracle, TopLabel
from trilemma.oracles.detectors import (
    PRADA,
    Cumulative,
    Entropy,
    GNMax,
    SimilarityEncoder,
    leakage,
    threshold_at,
)
from trilemma.training import MLP, Adam, Student

ASKED = {"epochs": 4, "batch": 40}
STEPS = UncertainExamples(ball=Linf(0.1), steps=4)
THIEF = BEST(examples=STEPS, **ASKED)
OFTEN = Guard(detector=PRADA(every=10))
WORK = CalibratedWork(hashes=20.0, patience=50.0)
GROWING = CalibratedWork(hashes=20.0, patience=50.0, pricing=Cumulative())
DETECTORS = [PRADA(every=10), CalibratedSEAT(), WORK, GROWING]
every = pytest.mark.parametrize(
    "detector", DETECTORS, ids=["PRADA", "SEAT", "work", "growing work"]
)

DIGITS = load_digits()
X = torch.from_numpy(DIGITS.data).float() / 16
MEANS = torch.stack(
    [X[:600][torch.from_numpy(DIGITS.target[:600]) == y].mean(0) for y in range(10)]
)
OWN, POOL, NORMAL = X[:600], X[600:900], X[900:1300]


def _logits(x):
    """Each row's by itself, to the last bit."""
    return -(x.unsqueeze(1) - MEANS).square().sum(2)


VICTIM = Local(_logits, classes=10)


def service(guard, seed=1):
    return guarded(guard, VICTIM, NORMAL, own=OWN, seed=seed)


@cache
def stolen(guard, thief=THIEF, seed=1):
    oracle = service(guard, seed)
    learner = Student(MLP(hidden=(16,)), (64,), 10, 0)
    return extract(TopLabel(oracle), POOL, learner, thief, rng=seeded(2)), oracle.told()


def untimed(told):
    return {name: each for name, each in told.items() if name != "timed"}


def test_every_detector_can_be_set_up_and_declared():
    assert set(WATCHES) == set(get_args(Detector))
    table = {
        "detector": {"kind": "CalibratedSEAT", "rate": "1/50", "encoder": {"features": 8}},
        "accounts": 3,
    }
    found = decode(table, Guard)
    assert found == Guard(
        detector=CalibratedSEAT(rate=0.02, encoder=Encoder(features=8)), accounts=3
    )
    table = {"detector": {"kind": "CalibratedWork", "measure": {"kind": "GNMax"}, "slow_down": 3}}
    assert decode(table, Guard).detector == CalibratedWork(measure=GNMax(), slow_down=3.0)
    assert decode({"detector": {"kind": "PRADA", "delta": 0.95}}, Guard).detector.delta == 0.95
    with pytest.raises(BadInput, match=r"detector\.rate"):
        decode({"detector": {"kind": "CalibratedSEAT", "rate": 1.0}}, Guard)
    with pytest.raises(BadInput, match="accounts"):
        decode({"detector": {"kind": "PRADA"}, "accounts": 0}, Guard)
    keys = {digest(each) for each in (*(Guard(detector=d) for d in DETECTORS), found)}
    assert len(keys) == 5


@every
def test_it_is_an_oracle_that_answers_as_the_model_until_something_is_noticed(detector):
    oracle = service(Guard(detector=detector))
    assert isinstance(oracle, Oracle)
    assert oracle.classes == 10
    assert oracle(POOL[:0]).shape == (0, 10)
    torch.testing.assert_close(oracle(POOL[:50]), VICTIM(POOL[:50]), rtol=0, atol=1e-12)


@every
def test_what_is_told_is_json_and_the_same_again(detector):
    (first, told), (again, other) = (
        each(Guard(detector=detector)) for each in (stolen, stolen.__wrapped__)
    )
    assert json.loads(json.dumps(told)) == told
    assert untimed(told) == untimed(other)
    assert first.history == again.history
    assert told["detector"] == type(detector).__name__


@every
def test_how_queries_are_split_into_calls_changes_nothing(detector):
    x = torch.cat([POOL[:100], (POOL[:100] + 0.01).clamp(0, 1), POOL[100:120]])
    told = []
    for size in (220, 37):
        oracle = service(Guard(detector=detector, accounts=2, per_account=150))
        for part in x.split(size):
            oracle(part)
        told.append(untimed(oracle.told()))
    assert told[0]["accounts"] == 2
    assert told[0] == told[1]


@every
def test_few_rows_of_normal_users_are_refused(detector):
    with pytest.raises(BadInput, match="of normal users are 3"):
        guarded(Guard(detector=detector), VICTIM, NORMAL[:3], own=OWN, seed=1)


# PRADA.


@pytest.mark.parametrize(
    "thief", [THIEF, CloudLeak(examples=FeatureFool(ball=Linf(0.1), steps=4), **ASKED)]
)
def test_prada_notices_thieves_and_no_user(thief):
    done, told = stolen(OFTEN, thief)
    assert done.stopped == ""
    assert told["thief"]["queries"] == done.spent == 1200
    assert 100 < told["thief"]["alarm_at"] < 1100
    assert 0 < told["thief"]["wrong"] < 1
    assert told["user"] == {"queries": 200, "alarm_at": None, "wrong": 0.0}


def test_the_wrong_answers_are_counted():
    oracle, x = service(OFTEN), torch.cat([POOL] * 3)
    wrong = oracle(x).argmax(1) != VICTIM(x).argmax(1)
    told = oracle.told()["thief"]
    assert told["wrong"] == wrong.double().mean().item() > 0
    first = 1 + int(wrong.nonzero()[0])
    assert told["alarm_at"] == first


def test_accounts_that_are_left_in_time_are_not_noticed_by_prada():
    """It tests more than 100 distances; the last account is used up."""
    many = Guard(detector=PRADA(every=10), accounts=13, per_account=100)
    _, told = stolen(many)
    assert told["accounts"] == 12
    assert told["thief"] == {"queries": 1200, "alarm_at": None, "wrong": 0.0}
    few = Guard(detector=PRADA(every=10), accounts=2, per_account=100)
    _, told = stolen(few)
    assert told["accounts"] == 2
    assert told["thief"]["alarm_at"] > 200  # of the thief's, not of the second account's


# SEAT.


def test_more_accounts_take_a_thief_further_past_seat():
    found = [stolen(Guard(detector=CalibratedSEAT(pairs=20), accounts=n)) for n in (1, 2, 50)]
    told = [each for _, each in found]
    assert [each["thief"]["banned"] for each in told[:2]] == [1, 2]
    assert [bool(done.stopped) for done, _ in found] == [True, True, False]
    answered = [each["thief"]["queries"] for each in told]
    assert answered[0] < answered[1] < answered[2] == 1200
    assert told[0]["thief"]["pairs"] == 21
    assert found[0][0].stopped.startswith("account banned: 21 similar pairs")
    lengths = [len(done.history) for done, _ in found]
    assert lengths[0] <= lengths[1] < lengths[2] == 4
    for each in told:
        assert each["user"]["banned"] == 0
        assert each["threshold"] == threshold_at(NORMAL[::2], rate=0.01)


def test_leaving_an_account_before_the_ban_needs_no_more_of_them_to_be_banned():
    guard = Guard(detector=CalibratedSEAT(pairs=20), accounts=50, per_account=100)
    done, told = stolen(guard)
    assert done.stopped == ""
    assert told["thief"]["banned"] == 0
    assert told["accounts"] == 12


def test_a_threshold_that_is_given_is_taken():
    _, told = stolen(Guard(detector=CalibratedSEAT(threshold=0.0, pairs=10**6)), Vanilla(**ASKED))
    assert told["threshold"] == 0.0
    assert told["thief"]["pairs"] == 900  # the second to fourth time
    assert told["user"]["pairs"] == 0


def test_the_encoder_is_trained_on_the_models_own_rows_and_notices_pushed_copies():
    """Noise beyond the nearest pixels: the same rate for users, more of the copies known."""
    encoder = Encoder(
        recipe=MLP(hidden=(128,), epochs=20, batch=100, optimiser=Adam(learning_rate=2e-3)),
        loss=SimilarityEncoder(margin=1.0, ball=Linf(0.13), steps=3),
        features=32,
    )
    noise = 0.13 * torch.randn(100, 64, generator=seeded(0)).sign()
    x = torch.cat([POOL[:100], (POOL[:100] + noise).clamp(0, 1)])
    found = []
    for each in (None, encoder):
        detector = CalibratedSEAT(pairs=1000, rate=0.05, encoder=each)
        oracle = service(Guard(detector=detector))
        oracle(x)
        found.append(oracle.told())
    assert found[0]["thief"]["pairs"] < 30
    assert found[1]["thief"]["pairs"] > 60
    assert all(each["user"]["pairs"] <= 0.1 * 200 for each in found)
    detector = CalibratedSEAT(rate=0.05, encoder=encoder)
    again, other = (service(Guard(detector=detector), seed).watch.config for seed in (1, 2))
    assert again.threshold == found[1]["threshold"] != other.threshold


# Proof of work.


def test_work_per_query_is_dearer_for_who_asks_where_answers_are_uncertain():
    (done, told), (_, clean) = (
        stolen(Guard(detector=WORK), each) for each in (THIEF, Vanilla(**ASKED))
    )
    assert done.stopped == ""
    rate = {name: told[name]["work"] / told[name]["queries"] for name in ("thief", "user")}
    assert rate["user"] == pytest.approx(1, abs=0.3)  # other rows than those of the calibration
    assert rate["thief"] > 1.15 * rate["user"]
    assert clean["thief"]["work"] / 1200 == pytest.approx(rate["user"], rel=0.25)
    assert told["thief"]["hashes"] == pytest.approx(told["thief"]["work"], rel=0.2)
    assert told["thief"]["slow_down"] == pytest.approx(1 + told["thief"]["hashes"] / 1200)
    assert told["thief"]["refused"] == 0


def test_growing_work_grows_faster_for_a_thief_than_for_a_user_until_it_is_refused():
    done, told = stolen(Guard(detector=GROWING))
    assert done.stopped.startswith("proof of work refused")
    assert told["thief"]["refused"] == 1
    curve = told["curve"]
    assert [each["queries"] for each in curve] == sorted({each["queries"] for each in curve})
    assert curve[-1]["queries"] == told["thief"]["queries"] < 1200
    assert curve[-1]["thief"] == pytest.approx(told["thief"]["work"])
    ratio = [each["thief"] / each["user"] for each in curve]
    half = len(ratio) // 2
    assert ratio[half] < ratio[-1]
    assert ratio[-1] > 2
    assert told["user"]["work"] == pytest.approx(200)


def test_partner_a_user_and_a_clean_thief_who_asks_rarely_pay_as_is_normal():
    _, told = stolen(Guard(detector=GROWING), Vanilla(epochs=1, batch=40))
    assert told["thief"]["work"] == pytest.approx(told["thief"]["queries"], rel=0.05)
    assert told["curve"][-1]["user"] == pytest.approx(300, rel=0.05)


def test_accounts_pay_less_in_all_where_work_grows():
    one, several = (
        stolen(Guard(detector=GROWING, accounts=n, per_account=each))[1]["thief"]
        for n, each in ((1, None), (30, 60))
    )
    assert several["queries"] == 1200 > one["queries"]
    assert several["work"] / several["queries"] < one["work"] / one["queries"]


def test_what_is_timed_is_that_of_puzzles_of_full_size():
    _, told = stolen(Guard(detector=WORK), Vanilla(epochs=1, batch=40))
    timed = told["timed"]
    assert timed["hashes"] == pytest.approx(timed["seconds"] * timed["hashes_per_second"])
    assert timed["user"] > 1
    full = 300 * timed["seconds"] * (1 + told["thief"]["work"] / 300)
    assert timed["thief_seconds"] == pytest.approx(full)


def test_an_account_that_is_closed_says_so_to_whoever_asks_on():
    oracle = service(Guard(detector=CalibratedSEAT(threshold=0.0, pairs=0), accounts=2))
    with pytest.raises(Refused):
        oracle(torch.cat([POOL[:5]] * 4))
    with pytest.raises(Refused):
        oracle(POOL[:1])
    told = oracle.told()
    assert told["thief"] == {"queries": 10, "pairs": 2, "banned": 2}


@pytest.mark.parametrize("measure", [Entropy(), GNMax()])
def test_a_detector_is_calibrated_by_each_second_normal_row(measure):
    watch = service(Guard(detector=CalibratedWork(measure=measure))).watch
    expected = leakage(VICTIM(NORMAL[::2]), measure).mean().item()
    assert watch.normal.mean == pytest.approx(expected)
