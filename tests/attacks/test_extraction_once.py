"""Thieves who remember answers: what is known costs nothing, whatever the limit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_extraction import BALL, D, Dies, K, Victim, pool, student, weights
from torch import nn

from trilemma.attacks.evasion import UncertainExamples
from trilemma.attacks.extraction import BEST, Adaptive, Vanilla, extract
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.oracles import Ledger, Local
from trilemma.training import Checkpoint, Kept

PLAIN = Vanilla(epochs=6, batch=4)


def stolen(limit, path=None, config=PLAIN, victim=None):
    learner, victim = student(), victim or Victim()
    found = extract(Ledger(victim, limit, path, once=True), pool(), learner, config, rng=seeded(3))
    return found, learner, victim


def test_a_limit_of_all_that_is_new_is_no_limit():
    free, learnt, _ = stolen(1000)
    tight, same, victim = stolen(10)
    assert free.spent == tight.spent == sum(map(len, victim.asked)) == 10
    assert len(tight.history) == 6
    assert torch.equal(weights(learnt), weights(same))


@pytest.mark.parametrize("limit", [1, 3, 7, 9])
def test_a_smaller_one_is_spent_and_what_is_known_goes_on_being_learnt(limit):
    found, _, victim = stolen(limit)
    assert found.spent == sum(map(len, victim.asked)) == limit
    assert len(found.history) == 6
    assert found.history[-1].loss < found.history[0].loss


def test_who_makes_its_queries_is_held_to_the_limit_too():
    examples = UncertainExamples(ball=BALL, steps=2)
    found, _, victim = stolen(17, config=BEST(epochs=6, batch=4, examples=examples))
    assert found.spent == sum(map(len, victim.asked)) == 17
    assert {each.spent for each in found.history[2:]} <= {17}


@pytest.mark.parametrize("limit", [7, 10])
@pytest.mark.parametrize("after", [1, 2, 4, 7])
def test_killed_it_ends_at_the_same_student(limit, after, tmp_path):
    whole, undisturbed, _ = stolen(limit)
    victim, learner, rng, steps = Victim(), student(), seeded(3), []
    learn = learner.learn

    def deadly(*args):
        if len(steps) == after:
            raise Dies
        steps.append(1)
        return learn(*args)

    learner.learn = deadly

    def keeper(learner, rng):
        return Kept(Checkpoint(tmp_path, every_seconds=0.0), "this theft", learner, rng)

    oracle = Ledger(victim, limit, tmp_path / "ledger", once=True)
    with pytest.raises(Dies):
        extract(oracle, pool(), learner, PLAIN, rng=rng, keeper=keeper(learner, rng))
    oracle.close()
    again, rng = student(), seeded(3)
    oracle = Ledger(victim, limit, tmp_path / "ledger", once=True)
    found = extract(oracle, pool(), again, PLAIN, rng=rng, keeper=keeper(again, rng))
    assert torch.equal(weights(again), weights(undisturbed))
    assert found.spent == sum(map(len, victim.asked)) == limit
    assert found.history == whole.history


@given(st.lists(st.integers(0, 6), max_size=12), st.lists(st.integers(0, 6), max_size=12))
@settings(max_examples=50, deadline=None)
def test_a_call_may_have_what_is_known_and_the_first_new_ones(before, rows):
    known, asked = ({*before}, torch.tensor(rows, dtype=torch.float32).unsqueeze(1))
    oracle = Ledger(Local(nn.Linear(1, 2).requires_grad_(False), classes=2), 9, once=True)
    oracle(torch.tensor(before, dtype=torch.float32).reshape(-1, 1))
    able = oracle.payable(asked)
    new = list(dict.fromkeys(row for row in rows if row not in known))[: oracle.left]
    assert able.tolist() == [row in known or row in new for row in rows]
    oracle(asked[able])  # and the limit holds
    assert oracle.spent == len(known) + len(new)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"oracle": nn.Linear(D, K)}, r"oracle: is a Linear. Give Local\(model, classes"),
        ({"pool": pool().numpy()}, "pool: is a ndarray. Give a tensor, as by torch.from_numpy"),
        ({"learner": nn.Linear(D, K)}, "learner: is a Linear. Give a Student"),
        ({"config": Vanilla}, "config: is Vanilla, which is no method. Give one of BEST"),
        ({"config": Adaptive()}, "config: is Adaptive, which is no method"),
        ({"rng": 0}, r"rng: is a int. Give a generator: seeded\(0\)"),
    ],
)
def test_what_users_of_pytorch_get_wrong_first_is_named(monkeypatch, change, said):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    good = {"oracle": Victim(), "pool": pool(), "learner": student(), "config": PLAIN}
    asked = {**good, "rng": seeded(0), **change}
    with pytest.raises(BadInput, match=said):
        extract(asked["oracle"], asked["pool"], asked["learner"], asked["config"], rng=asked["rng"])
