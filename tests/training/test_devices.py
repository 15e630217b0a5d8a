"""Several devices: real processes end where one does; what cannot be had is said."""

import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput, MissingExtra, TrainingDiverged
from trilemma.training import (
    MLP,
    Adversarial,
    Checkpoint,
    Devices,
    DomainAdaptation,
    Natural,
    Validation,
    launch,
    train,
)
from trilemma.training.devices import VARIABLE, devices_here, read_devices

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

from shares import ATTACK, OBJECTIVES, digits, fails, network, several, steps  # noqa: E402

TWO, ONE = (Devices(count=n, accelerator="cpu") for n in (2, 1))
RECIPE = MLP(epochs=6, batch=16, hidden=(12,), warmup=1, ramp=1)
ROBUST = 2 * Adversarial(attack=ATTACK)


def rows(first, last):
    x, y = digits(last, torch.float32)
    return Dataset(x[first:], y[first:])


def go(**more):
    held_out = Validation(data=rows(70, 101), attack=ATTACK)
    return train(RECIPE, ROBUST, rows(0, 70), 5, classes=10, validation=held_out, **more)


def close(one, other, **tolerance):
    torch.testing.assert_close(one.model.state_dict(), other.model.state_dict(), **tolerance)


def test_two_processes_end_where_one_does():
    """To the rounding of float64, and of float32."""
    pytest.importorskip("lightning_fabric")
    names = ("natural", "adversarial", "interval", "hardly mixed")
    told = []
    found = launch(TWO, several, names, digits(), progress=lambda *how_far: told.append(how_far))
    for name in names:
        for dtype, rtol in ((torch.float64, 1e-9), (torch.float32, 1e-3)):
            alone, losses, state = steps(OBJECTIVES[name], network(dtype))
            weights, said, stands = found[name, str(dtype)]
            torch.testing.assert_close(weights, alone, rtol=rtol, atol=rtol / 100)
            assert said == pytest.approx(losses, rel=rtol)
            assert torch.equal(stands, state)
    assert told == [(n + 1, len(names), name) for n, name in enumerate(names)]


@pytest.mark.slow
def test_a_training_on_two_devices_is_that_on_one(tmp_path):
    alone, told = go(), []
    shared = go(devices=TWO, progress=lambda *how_far: told.append(how_far[:2]))
    close(shared, alone, rtol=1e-3, atol=1e-5)
    for one, other in zip(shared.history, alone.history, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert one.by_row == pytest.approx(other.by_row, rel=1e-4)
        assert one.robust_accuracy == other.robust_accuracy
    assert told == [(epoch, 6) for epoch in range(1, 7)]
    assert not shared.model.training
    assert all(w.device.type == "cpu" and w.requires_grad for w in shared.model.parameters())


class Stopped(Exception):
    """What a test raises where a process would be killed."""


@pytest.mark.slow
def test_what_one_process_began_several_end_and_the_other_way_round(tmp_path):
    pytest.importorskip("lightning_fabric")
    alone, often = go(), partial(Checkpoint, every_seconds=0.0)

    def stop(done, total, note):
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        go(checkpoint=often(tmp_path), progress=stop)
    told = []
    shared = go(checkpoint=often(tmp_path), devices=TWO, progress=lambda *how: told.append(how[0]))
    assert told == [4, 5, 6]
    close(shared, alone, rtol=1e-3, atol=1e-5)
    again = go(checkpoint=often(tmp_path))  # what the two saved last is the whole training
    assert again.history == shared.history
    close(again, shared, rtol=0, atol=0)


def test_one_device_of_choice_needs_no_other_process(tmp_path):
    pytest.importorskip("lightning_fabric")
    told = []
    chosen = go(devices=ONE, progress=lambda *how_far: told.append(how_far[0]))
    close(chosen, go(), rtol=0, atol=0)
    assert told == list(range(1, 7))
    with pytest.raises(Stopped):
        go(devices=ONE, progress=lambda *_: (_ for _ in ()).throw(Stopped))
    mixed = Natural() + DomainAdaptation(attack=ATTACK)  # there is nothing to share
    assert train(MLP(epochs=1), mixed, rows(0, 40), 0, classes=10, devices=ONE).history


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_one_process_ends_all_and_comes_back_as_it_was(rank):
    with pytest.raises(TrainingDiverged, match="at step 7"):
        launch(TWO, fails, rank)


@pytest.mark.slow
def test_a_report_that_fails_is_not_lost():
    def broken(done, total, note):
        raise Stopped

    with pytest.raises(Stopped):
        launch(TWO, several, ("natural",), digits(), progress=broken)


# refusals, before any process is started


def test_a_batch_that_cannot_be_shared_is_refused():
    mixed = Natural() + DomainAdaptation(attack=ATTACK)
    with pytest.raises(BadInput, match="DomainAdaptation is no mean over the rows"):
        train(RECIPE, mixed, rows(0, 70), 5, classes=10, devices=TWO)
    recipe = MLP(epochs=1, dropout=0.5)
    with pytest.raises(BadInput, match=r"Dropout \(\d\) draws by a row's place"):
        train(recipe, Natural(), rows(0, 70), 5, classes=10, devices=TWO)


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    said = r"needs lightning-fabric, .*: pip install 'trilemma\[devices\]'"
    for devices in (ONE, TWO):
        with pytest.raises(MissingExtra, match=said):
            go(devices=devices)
    monkeypatch.setenv(VARIABLE, "2")
    with pytest.raises(MissingExtra, match=said):
        devices_here()


def test_devices_that_are_not_here_are_bad_input():
    pytest.importorskip("lightning_fabric")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    for count in (1, 2):
        with pytest.raises(BadInput, match=f"devices: {count} x cuda is not to be had here"):
            go(devices=Devices(count=count, accelerator="cuda"))


def test_a_process_that_may_start_none_says_so(monkeypatch):
    pytest.importorskip("lightning_fabric")
    monkeypatch.setattr("multiprocessing.process._current_process._config", {"daemon": True})
    with pytest.raises(BadInput, match=r"2 need as many processes.*--no-nanny"):
        go(devices=TWO)


@pytest.mark.parametrize(
    "text", ["0", "-1", "two", "cuda", "cuda:1", "2xgpu", "2.0", "0xcpu", "1 2"]
)
def test_what_names_no_devices_is_refused(text, monkeypatch):
    with pytest.raises(BadInput, match="devices: got"):
        read_devices(text)
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(BadInput, match="devices: got"):
        devices_here()


def test_the_environment_may_say_nothing(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert devices_here() is None
    monkeypatch.setenv(VARIABLE, " ")
    assert devices_here() is None
