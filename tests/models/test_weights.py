"""Weights on disk: what is written is read, whole or not at all, and nothing runs."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from trilemma.core.errors import BadInput
from trilemma.models import load_weights, read_weights, save_weights, small_cnn


def net(seed=0, hidden=5):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, 2))


def test_what_is_written_is_read(tmp_path):
    saved, fresh = net(0), net(1)
    save_weights(tmp_path / "w.safetensors", saved)
    load_weights(fresh, tmp_path / "w.safetensors")
    for name, value in fresh.state_dict().items():
        assert torch.equal(value, saved.state_dict()[name])


def test_any_reader_of_safetensors_reads_the_file(tmp_path):
    """Also where the memory lies channels-last."""
    with torch.random.fork_rng():
        model = small_cnn((1, 8, 8), 10)
    save_weights(tmp_path / "w.safetensors", model)
    found = load_file(tmp_path / "w.safetensors")
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())


def test_memory_layout_survives_loading(tmp_path):
    with torch.random.fork_rng():
        first, second = small_cnn((1, 8, 8), 10), small_cnn((1, 8, 8), 10)
    save_weights(tmp_path / "w", first)
    load_weights(second, tmp_path / "w")
    assert second[2].weight.is_contiguous(memory_format=torch.channels_last)


def test_shared_weights_are_saved_and_loaded(tmp_path):
    def tied():
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model

    first, second = tied(), tied()
    save_weights(tmp_path / "w", first)
    load_weights(second, tmp_path / "w")
    assert torch.equal(second[1].weight, first[0].weight)
    once = {name: value for name, value in first.state_dict().items() if name != "1.weight"}
    save_weights(tmp_path / "once", once)
    load_weights(second, tmp_path / "once")


class Bomb:
    """Leaves a mark where its pickle is opened."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".pkl", ".safetensors"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5, "torch", "torch, as before 1.6"])
def test_a_pickle_is_refused_by_its_content_and_never_opened(
    tmp_path, monkeypatch, suffix, protocol
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"w{suffix}"
    if isinstance(protocol, int):
        path.write_bytes(pickle.dumps(Bomb(), protocol=protocol))
    else:
        torch.save(Bomb(), path, _use_new_zipfile_serialization=protocol == "torch")
    with pytest.raises(BadInput, match=r"(pickle|torch\.save).*convert") as caught:
        load_weights(net(), path)
    assert str(path) in str(caught.value)
    assert not Path("exploded").exists()


@pytest.mark.parametrize("length", [0x280, 0x380, 0x480, 0x580])
def test_a_header_as_long_as_a_pickle_begins_is_no_pickle(tmp_path, length):
    """The file's first bytes are its header's length: \\x80\\x05 is also 1408."""
    path = tmp_path / "w"
    save_weights(path, {"w": torch.ones(2)}, facts={"pad": ""})
    short = int.from_bytes(path.read_bytes()[:8], "little")
    save_weights(path, {"w": torch.ones(2)}, facts={"pad": " " * (length - short)})
    assert path.read_bytes().startswith(length.to_bytes(8, "little"))
    assert torch.equal(read_weights(path)["w"], torch.ones(2))


def _oldest_pickle(path):
    path.write_bytes(pickle.dumps({"w": 1}, protocol=0))


def _npz(path):
    with path.open("wb") as file:
        np.savez(file, w=np.zeros(3))


def _cut(path):
    save_weights(path, net())
    path.write_bytes(path.read_bytes()[:-7])


def _header_lies(path):
    path.write_bytes((10**15).to_bytes(8, "little") + b"{}")


def _zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")


@pytest.mark.parametrize(
    "make",
    [
        _oldest_pickle,
        _npz,
        _cut,
        _header_lies,
        _zip,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"0" * 99),
        lambda path: path.write_text("weights"),
        lambda path: path.mkdir(),
        lambda path: None,
    ],
)
def test_what_is_not_whole_safetensors_is_refused(tmp_path, make):
    path = tmp_path / "w.safetensors"
    make(path)
    with pytest.raises(BadInput, match=r"w\.safetensors"):
        read_weights(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("2.bias"), r"missing: 2\.bias\)"),
        (lambda state: state.update(extra=torch.zeros(1)), r"unexpected: extra\)"),
        (
            lambda state: state.update({"0.bias": torch.zeros(4)}),
            r"of the wrong shape: 0\.bias \(4,\) instead of \(5,\)",
        ),
        (
            lambda state: (
                state.pop("0.bias"),
                state.pop("0.weight"),
                state.update(v=torch.ones(2)),
            ),
            r"missing: 0\.weight, 0\.bias; unexpected: v",
        ),
    ],
)
def test_weights_of_another_architecture_are_named_and_change_nothing(tmp_path, change, said):
    state, model = net(0).state_dict(), net(1)
    change(state)
    save_weights(tmp_path / "w", state)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(BadInput, match=said):
        load_weights(model, tmp_path / "w")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "w"
    save_weights(path, net(0))
    old = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_weights(path, net(1))
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
