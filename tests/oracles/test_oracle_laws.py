"""The laws of every oracle, each with one that breaks it; the meter, the label alone, the pace."""

import pickle
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trilemma.core import pace as paces
from trilemma.core.errors import BadInput, BudgetExceeded, TrilemmaError
from trilemma.core.generators import seeded
from trilemma.oracles import Local, Metered, Oracle, TopLabel, ready


def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)
        model = nn.Sequential(*layers).double()
        model(torch.randn(50, 4, dtype=torch.float64))  # so that it normalises by something
    return model


def rows(n=7):
    return torch.randn(n, 4, generator=seeded(1), dtype=torch.float64)


def local(batch=None):
    return Local(net(), classes=3, batch=batch)


@dataclass
class Counting:
    """An oracle that notes the rows of each call."""

    inner: Oracle
    calls: list[int] = field(default_factory=list)

    @property
    def classes(self):
        return self.inner.classes

    def __call__(self, x):
        self.calls.append(len(x))
        return self.inner(x)


@dataclass(frozen=True)
class Altered:
    """Negative control: an oracle around an oracle, with one law broken."""

    inner: Oracle
    classes: int = 3


class Unnormalised(Altered):
    def __call__(self, x):
        return 2 * self.inner(x)


class Writing(Altered):
    def __call__(self, x):
        return self.inner(x.mul_(2))


class Reversing(Altered):
    def __call__(self, x):
        return self.inner(x.flip(0))


class Neighbourly(Altered):
    def __call__(self, x):
        return self.inner(x - x.mean(0))


class Attached(Altered):
    def __call__(self, x):
        return self.inner.model(x).softmax(1)


class Inferring(Altered):
    def __call__(self, x):
        with torch.inference_mode():
            return self.inner(x)


ORACLES = [
    pytest.param(local, id="Local"),
    pytest.param(lambda: local(batch=2), id="Local in small batches"),
    pytest.param(lambda: TopLabel(local()), id="TopLabel"),
    pytest.param(lambda: Metered(local(), limit=10**6), id="Metered"),
    pytest.param(lambda: Metered(TopLabel(local(batch=3)), limit=10**6), id="Metered TopLabel"),
    pytest.param(lambda: TopLabel(Metered(local(), limit=10**6)), id="TopLabel Metered"),
]


def laws(*broken):
    """Every oracle, and those that break the law."""
    mark = pytest.mark.xfail(raises=(AssertionError, RuntimeError), strict=True)
    controls = [
        pytest.param(lambda kind=kind: kind(local()), id=kind.__name__, marks=mark)
        for kind in broken
    ]
    return pytest.mark.parametrize("make", [*ORACLES, *controls])


@laws(Unnormalised)
def test_law_answers_are_distributions(make):
    oracle = make()
    assert isinstance(oracle, Oracle)
    for n in (0, 1, 7):
        answer = oracle(rows(n))
        assert answer.shape == (n, oracle.classes)
        assert answer.dtype == torch.float64
        assert (answer >= 0).all()
        torch.testing.assert_close(answer.sum(1), torch.ones(n, dtype=answer.dtype))


@laws(Writing)
def test_law_inputs_are_left_as_they_were(make):
    x = rows()
    make()(x)
    assert torch.equal(x, rows())


@laws(Reversing, Neighbourly)
def test_law_answers_keep_the_order_and_depend_on_no_neighbour(make):
    oracle, x = make(), rows()
    alone = torch.cat([oracle(x[[i]]) for i in range(7)])
    torch.testing.assert_close(oracle(x), alone)
    torch.testing.assert_close(oracle(x.flip(0)).flip(0), alone)
    torch.testing.assert_close(oracle(x[[3, 3, 0]]), alone[[3, 3, 0]])


@laws(Attached)
def test_law_no_gradient_leads_back_to_the_model(make):
    x = rows().requires_grad_()
    assert not make()(x).requires_grad


@laws(Inferring)
def test_law_a_student_trains_on_the_answers(make):
    student = nn.Linear(4, 3).double()
    nn.functional.cross_entropy(student(rows()), make()(rows())).backward()
    assert student.weight.grad.abs().sum() > 0


def model_of(oracle):
    return oracle.model if isinstance(oracle, Local) else model_of(oracle.inner)


@laws()
def test_law_the_model_is_asked_in_eval_mode_and_comes_back_as_it_went(make):
    oracle = make()
    model = model_of(oracle).train()
    model[0].eval()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    first = oracle(rows())
    assert torch.equal(first, oracle(rows()))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


# The meter.


@given(limit=st.integers(0, 40), sizes=st.lists(st.integers(0, 12), max_size=12))
def test_a_meter_answers_what_fits_and_sends_nothing_of_what_does_not(limit, sizes):
    inner = Counting(local())
    oracle, spent, sent = Metered(inner, limit), 0, []
    for n in sizes:
        if spent + n <= limit:
            assert torch.equal(oracle(rows(n)), inner.inner(rows(n)))
            spent, sent = spent + n, [*sent, n]
        else:
            with pytest.raises(BudgetExceeded) as error:
                oracle(rows(n))
            assert vars(error.value) == {"asked": n, "spent": spent, "limit": limit}
        assert oracle.spent == spent
    assert inner.calls == sent


def test_the_refusal_says_what_was_asked_and_what_is_left():
    oracle = Metered(local(), limit=10)
    oracle(rows(4))
    with pytest.raises(BudgetExceeded, match=r"7 more queries asked with 6 of 10 left") as error:
        oracle(rows(7))
    assert isinstance(error.value, TrilemmaError)
    again = pickle.loads(pickle.dumps(error.value))
    assert (str(again), again.asked, again.spent, again.limit) == (str(error.value), 7, 4, 10)


def test_a_negative_limit_is_refused():
    with pytest.raises(BadInput, match=r"limit: is -1"):
        Metered(local(), limit=-1)


def test_meters_around_each_other_stop_at_the_narrower():
    """What the inner one refuses was not answered; the outer one is the caller's own count."""
    inner = Metered(local(), limit=5)
    outer = Metered(TopLabel(inner), limit=100)
    outer(rows(3))
    with pytest.raises(BudgetExceeded, match=r"with 2 of 5 left"):
        outer(rows(3))
    assert inner.spent == 3


# The label alone.


@given(logits=st.lists(st.sampled_from([-1.0, 0.0, 2.0]), min_size=2, max_size=6))
def test_all_is_on_the_first_of_the_most_probable(logits):
    answer = TopLabel(Local(nn.Identity(), classes=len(logits)))(torch.tensor([logits]))
    assert answer.tolist() == [[float(i == logits.index(max(logits))) for i in range(len(logits))]]


@given(seed=st.integers(0, 2**32 - 1))
def test_the_label_alone_is_that_of_the_oracle_within(seed):
    oracle, x = local(), torch.randn(5, 4, generator=seeded(seed), dtype=torch.float64)
    assert torch.equal(TopLabel(oracle)(x).argmax(1), oracle(x).argmax(1))
    assert torch.equal(TopLabel(TopLabel(oracle))(x), TopLabel(oracle)(x))


# How an oracle is asked fastest.


@pytest.mark.parametrize("questions", [1, 10 * paces.WORTH])
@laws()
def test_the_pace_is_that_of_the_model_and_costs_no_query(make, questions, monkeypatch):
    monkeypatch.setattr(paces, "_FOUND", {})
    monkeypatch.setattr(paces, "PATIENCE", 0.05)
    oracle = Metered(make(), limit=10)
    model = model_of(oracle).train()
    model[0].eval()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with ready(oracle, rows(), questions=questions) as pace:
        assert not any(module.training for module in model.modules())
        assert pace.rows >= 1
    assert bool(paces._FOUND) == (questions > 1)  # it was measured, and the model asked for that
    assert oracle.spent == 0
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@laws()
def test_the_caller_may_decide_the_pace(make):
    with ready(make(), rows(), questions=10 * paces.WORTH, batch=5) as pace:
        assert pace.rows == 5


@dataclass(frozen=True)
class Remote:
    """Whatever it answers with is not here."""

    classes: int = 3

    def __call__(self, x):
        raise AssertionError("it was asked")


def test_what_is_not_in_this_process_is_asked_at_the_usual_pace():
    for oracle in (Remote(), Metered(Remote(), limit=0)):
        with ready(oracle, rows(), questions=10 * paces.WORTH) as pace:
            assert pace.rows == paces.usual(rows()).rows
        with ready(oracle, rows(), questions=1, batch=3) as pace:
            assert pace.rows == 3


def test_the_model_comes_back_as_it_went_when_what_is_inside_fails():
    oracle = local()
    oracle.model.train()
    with pytest.raises(BudgetExceeded), ready(oracle, rows(), questions=1):
        Metered(oracle, limit=0)(rows())
    assert all(module.training for module in oracle.model.modules())
