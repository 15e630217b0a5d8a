"""A victim that refuses ends a theft with what was learnt before, and nothing is asked after it."""

import pytest
import torch
from test_extraction import METHODS, Victim, pool, student, weights
from test_extraction_rounds import THIEVES, grouped

from trilemma.attacks.extraction import ActiveThief, KnockoffNets, Vanilla, extract
from trilemma.core.errors import AccountBanned, BudgetExceeded, Refused, WorkRefused
from trilemma.core.generators import seeded
from trilemma.oracles import Ledger
from trilemma.oracles.detectors import SEAT, SeatAccount
from trilemma.training import Kept
from trilemma.training.checkpoints import Checkpoint

every = pytest.mark.parametrize("config", METHODS.values(), ids=lambda each: type(each).__name__)


class Refusing(Victim):
    """Answers so many calls."""

    def __init__(self, calls, error=None):
        super().__init__()
        self.calls, self.refused = calls, 0
        self.error = error or AccountBanned(asked=4, answered=1, pairs=3, allowed=2)

    def __call__(self, x):
        if len(self.asked) == self.calls:
            self.refused += 1
            raise self.error
        return super().__call__(x)


def limited(config, queries):
    return type(config)(**{**vars(config), "queries": queries})


# A pass of ten rows is batches of 4, 4 and 2.
@every
@pytest.mark.parametrize(("calls", "answered", "spent"), [(1, 4, 8), (2, 8, 10), (4, 14, 18)])
def test_the_student_is_that_of_a_thief_who_asked_no_more(config, calls, answered, spent):
    victim, learner, other = Refusing(calls), student(), student()
    stolen = extract(victim, pool(), learner, config, rng=seeded(3))
    less = extract(Victim(), pool(), other, limited(config, answered), rng=seeded(3))
    assert torch.equal(weights(learner), weights(other))
    assert victim.refused == 1
    assert stolen.spent == spent
    assert stolen.stopped.startswith("account banned: 3 similar pairs")
    assert [each.loss for each in stolen.history] == [each.loss for each in less.history]
    assert stolen.history[-1].spent == spent
    assert less.stopped == ""


@every
def test_a_pass_in_which_nothing_was_learnt_is_none(config):
    learner, untaught = student(), weights(student())
    stolen = extract(Refusing(0), pool(), learner, config, rng=seeded(3))
    assert stolen.history == ()
    assert torch.equal(weights(learner), untaught)
    whole = extract(Refusing(3), pool(), student(), config, rng=seeded(3))
    assert [each.spent for each in whole.history] == [10]
    assert whole.spent == 14
    assert whole.stopped


@pytest.mark.parametrize("name", THIEVES)
@pytest.mark.parametrize("calls", [0, 1, 2])
def test_what_searches_a_pool_learns_once_more_and_ends(name, calls):
    victim, learner = Refusing(calls), student()
    stolen = extract(victim, grouped(), learner, THIEVES[name], rng=seeded(3))
    assert victim.refused == 1
    assert stolen.stopped
    known = sum(map(len, victim.asked))
    assert stolen.spent > known
    assert len(stolen.history) == (0 if calls == 0 else stolen_rounds(THIEVES[name], known)) * 2


def stolen_rounds(config, known):
    """After which a student learnt: each whole one, and the one that was broken off."""
    ends = [round(10 * number / config.rounds) for number in range(1, config.rounds + 1)]
    return sum(end < known for end in ends) + 1


def test_after_a_round_that_brought_nothing_the_student_stays_as_it_was():
    config = ActiveThief(epochs=2, batch=5, rounds=2)
    learner, other = student(), student()
    stolen = extract(Refusing(1), pool(), learner, config, rng=seeded(3))
    assert len(stolen.history) == 2
    once = KnockoffNets(epochs=2, batch=5, queries=5)  # ActiveThief's first round is random, too
    extract(Victim(), pool(), other, once, rng=seeded(3))
    assert torch.equal(weights(learner), weights(other))


def test_taken_up_again_it_is_refused_again_and_the_student_stays(tmp_path):
    def stolen(learner, victim):
        oracle, rng = Ledger(victim, 20, tmp_path / "ledger"), seeded(3)
        keeper = Kept(Checkpoint(tmp_path, every_seconds=0.0), "this theft", learner, rng)
        try:
            return extract(oracle, pool(), learner, METHODS[Vanilla], rng=rng, keeper=keeper)
        finally:
            oracle.close()

    first, again = student(), student()
    before = stolen(first, Refusing(2))
    after = stolen(again, Refusing(0))
    assert torch.equal(weights(first), weights(again))
    assert after.history == before.history
    assert after.stopped == before.stopped != ""
    assert before.spent == 10 < after.spent <= 20


def test_a_real_account_ends_it():
    account = SeatAccount(Victim(), SEAT(threshold=0.0, pairs=0))
    stolen = extract(account, pool(), student(), METHODS[Vanilla], rng=seeded(3))
    assert stolen.stopped.startswith("account banned: 1 similar pairs")
    assert [each.spent for each in stolen.history] == [10]  # the second pass repeats the first


def test_both_refusals_are_refusals_and_nothing_else_is():
    work = WorkRefused(asked=4, answered=0, work=1e9, patience=1e6)
    stolen = extract(Refusing(1, work), pool(), student(), METHODS[Vanilla], rng=seeded(3))
    assert stolen.stopped.startswith("proof of work refused")
    assert issubclass(AccountBanned, Refused)
    for error in (BudgetExceeded(asked=1, spent=1, limit=1), RuntimeError("broken")):
        for config in (METHODS[Vanilla], THIEVES["knockoff"]):
            with pytest.raises(type(error)):
                extract(Refusing(1, error), grouped(), student(), config, rng=seeded(3))
