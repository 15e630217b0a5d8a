"""How a model is asked: the measurement changes speed, never results by more than rounding."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trilemma.core import pace
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.core.pace import Pace, asking, pace_of, usual


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(pace, "_FOUND", {})


def net():
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten()).double()


def images(n=5, channels=2):
    return torch.rand(n, channels, 6, 6, generator=seeded(0), dtype=torch.float64)


@given(rows=st.integers(1, 9), n=st.integers(0, 40))
def test_calls_cover_every_row_once_and_are_full_but_for_the_last(rows, n):
    calls = [list(range(n))[each] for each in Pace(rows).slices(n)]
    assert [row for call in calls for row in call] == list(range(n))
    assert all(len(call) == rows for call in calls[:-1])


@pytest.mark.parametrize("channels", [1, 2])
def test_inputs_lie_channels_last_and_are_the_same(channels):
    x = images(channels=channels)
    laid = Pace(4).lay(x)
    assert torch.equal(laid, x)
    assert laid.stride() == (36 * channels, 1, 6 * channels, channels)
    assert Pace(4).lay(laid).data_ptr() == laid.data_ptr()
    assert torch.equal(Pace(4, channels_last=False).lay(laid), x)


def test_the_model_answers_alike_however_inputs_lie():
    model, x = net().eval(), images()
    torch.testing.assert_close(model(Pace(4).lay(x)), model(x.contiguous()), rtol=1e-12, atol=1e-12)


def test_little_work_is_not_measured():
    assert pace_of(net(), images(), gradients=True, questions=10) == usual(images())
    assert not pace._FOUND


def test_models_of_one_make_are_measured_once():
    x, calls = images(), []

    class Counting(nn.Conv2d):
        def forward(self, x):
            calls.append(len(x))
            return super().forward(x)

    def model():
        return nn.Sequential(Counting(2, 3, 3), nn.Flatten()).double()

    found = pace_of(model(), x, gradients=True, questions=10**6)
    first = len(calls)
    assert found.rows in pace.SIZES["cpu"]
    assert set(calls) >= {found.rows}
    assert pace_of(model(), 1 - x, gradients=True, questions=10**6) == found
    assert len(calls) == first
    pace_of(model(), x, gradients=False, questions=10**6)
    assert len(calls) > first


def taken(monkeypatch, seconds):
    """The rows a call where a row takes so long in a call of each size."""

    def table(model, x, asked, gradients):
        return seconds[asked.rows]

    monkeypatch.setattr(pace, "_FOUND", {})
    monkeypatch.setattr(pace, "_seconds", table)
    x = torch.rand(4, 3, generator=seeded(0))
    return pace_of(nn.Linear(3, 2), x, gradients=True, questions=10**6).rows


@pytest.mark.parametrize("fast", pace.SIZES["cpu"])
def test_the_fastest_pace_is_taken(monkeypatch, fast):
    slow = dict.fromkeys(pace.SIZES["cpu"], 1e-3)
    assert taken(monkeypatch, {**slow, fast: 1e-4}) == fast


@pytest.mark.parametrize("slow", pace.SIZES["cpu"])
def test_the_slow_pace_is_not_taken(monkeypatch, slow):
    quick = dict.fromkeys(pace.SIZES["cpu"], 1e-4)
    assert taken(monkeypatch, {**quick, slow: 1e-3}) != slow


def test_the_work_around_a_call_counts_for_larger_ones(monkeypatch):
    """Where a row costs the same in each; and where it costs a little more than in a small one."""
    sizes = pace.SIZES["cpu"]
    assert taken(monkeypatch, dict.fromkeys(sizes, 1e-5)) == max(sizes)
    larger = {rows: 1e-5 * (1 + rows / 1000) for rows in sizes}
    assert taken(monkeypatch, larger) == max(sizes)
    monkeypatch.setattr(pace, "AROUND", 0)
    assert taken(monkeypatch, larger) == min(sizes)


def test_of_calls_as_fast_the_larger_are_taken(monkeypatch):
    monkeypatch.setattr(pace, "AROUND", 0)
    close = {rows: 1e-4 * (1.02 if rows == 128 else 1) for rows in pace.SIZES["cpu"]}
    assert taken(monkeypatch, {**close, 256: 1.2e-4}) == 128
    assert taken(monkeypatch, {**close, 128: 1.1e-4, 256: 1.2e-4}) == 64


def test_a_measurement_leaves_no_trace():
    model, x = net().train(), images()
    model[0].eval()
    seen = x.clone()
    with asking(model, x, gradients=True, questions=10**6):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model] == [False, True, True, True]
    assert model.training
    assert torch.equal(x, seen)
    assert all(each.grad is None for each in model.parameters())


def test_the_caller_may_decide():
    with asking(net(), images(), gradients=True, questions=10**6, batch=7) as found:
        assert found == Pace(7)
    assert not pace._FOUND


@pytest.mark.parametrize("batch", [0, -1])
def test_a_call_has_a_row_at_least(batch):
    """With none, rows would come back as they lay in memory."""
    with pytest.raises(BadInput, match=f"batch: must be 1 row a call at least; got {batch}"):
        Pace(batch)
    model = net().train()
    asked = asking(model, images(), gradients=True, questions=1, batch=batch)
    with pytest.raises(BadInput, match="batch"), asked:
        pytest.fail("it was entered")
    assert model.training


def test_what_is_no_module_is_asked_as_usual():
    assert pace_of(lambda z: z, images(), gradients=True, questions=10**6) == usual(images())
