"""Laws of the store: what goes in comes out; an entry is whole or absent; nothing is unpickled."""

import errno
import json
import pickle
import shutil
import stat
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from toys import same

from trilemma.core.errors import BadInput
from trilemma.experiments import entries
from trilemma.experiments.artifact import Artifact, pack
from trilemma.experiments.faults import StoreFull
from trilemma.experiments.store import DamagedEntry, NotStored, Store, default_root

KEY, OTHER = "0123456789abcdef" * 2, "f" * 32
SMALL = Artifact({"x": np.arange(6.0).reshape(2, 3)}, {"classes": 3})
TABLE = Artifact({"member": np.array([True, False]), "name": np.array(["a", "bé"])})


@pytest.mark.parametrize(
    ("artifact", "files"),
    [
        (Artifact(), {"facts.json"}),
        (SMALL, {"facts.json", "arrays.safetensors"}),
        (TABLE, {"facts.json", "table.parquet"}),
    ],
)
def test_each_kind_of_data_has_its_format(
    artifact: Artifact, files: set[str], store: Store
) -> None:
    store.write(KEY, artifact)
    folder = store.root / KEY[:2] / KEY
    assert {path.name for path in folder.iterdir()} == files | {"manifest.json"}
    assert same(store.read(KEY), artifact)


def test_an_empty_store_has_nothing_and_makes_nothing(store: Store) -> None:
    assert not store.has(KEY)
    assert not store.sound(KEY)
    assert list(store.entries()) == []
    assert store.size() == 0
    with pytest.raises(NotStored, match=KEY):
        store.read(KEY)
    store.remove(KEY)
    store.sweep()
    assert not store.root.exists()


def test_a_key_is_a_key(store: Store) -> None:
    for bad in ("", "../../etc", KEY[:-1], KEY.upper()):
        with pytest.raises(ValueError, match="32 hexadecimal"):
            store.has(bad)


def test_entries_tell_what_they_are(store: Store) -> None:
    store.write(KEY, SMALL, {"stage": "Split", "label": "split", "seconds": 1.5})
    store.write(OTHER, TABLE)
    first, second = store.entries()
    assert (first.key, second.key) == (KEY, OTHER)
    assert first.about == {"stage": "Split", "label": "split", "seconds": 1.5}
    assert first.created.endswith("Z")
    assert 0 < first.size < store.size()
    store.remove(KEY)
    assert [each.key for each in store.entries()] == [OTHER]
    assert not store.has(KEY)


def test_the_first_of_two_writers_wins(store: Store) -> None:
    store.write(KEY, SMALL)
    store.write(KEY, TABLE)
    assert same(store.read(KEY), SMALL)
    assert list((store.root / "incoming").iterdir()) == []


def test_many_writers_and_readers_at_once(store: Store) -> None:
    seen: list[bool] = []

    def work() -> None:
        store.write(KEY, SMALL)
        seen.append(same(store.read(KEY), SMALL))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert seen == [True] * 8
    assert list((store.root / "incoming").iterdir()) == []


def files_of(artifact: Artifact) -> list[str]:
    return [*pack(artifact), "manifest.json"]


def spoil(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "longer":
        path.write_bytes(content + b" ")
    elif how == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
        path.mkdir()


DAMAGES = [
    (artifact, name, how)
    for artifact in (SMALL, TABLE)
    for name in files_of(artifact)
    for how in ("missing", "truncated", "empty", "longer", "flipped", "a folder")
    if (name, how) != ("manifest.json", "longer")  # a blank after JSON means nothing
]


@pytest.mark.parametrize(("artifact", "name", "how"), DAMAGES)
def test_damage_is_found_and_set_aside(
    store: Store, artifact: Artifact, name: str, how: str
) -> None:
    store.write(KEY, artifact)
    store.write(OTHER, artifact)
    spoil(store.root / KEY[:2] / KEY / name, how)
    with pytest.raises(DamagedEntry, match=name) as caught:
        store.read(KEY)
    assert caught.value.aside == store.root / "damaged" / f"{KEY}-1"
    assert caught.value.aside.is_dir()
    assert not store.has(KEY)
    assert same(store.read(OTHER), artifact)
    store.write(KEY, artifact)
    assert same(store.read(KEY), artifact)


def test_a_flipped_bit_of_the_manifest_is_found_or_means_nothing(store: Store) -> None:
    found = 0
    for position in range(0, 100, 7):
        store.write(KEY, SMALL, {"label": "x"})
        path = store.root / KEY[:2] / KEY / "manifest.json"
        content = bytearray(path.read_bytes())
        meant = json.loads(content)
        content[position * len(content) // 100] ^= 2
        path.write_bytes(content)
        try:
            if store.sound(KEY):
                assert json.loads(content) == meant
                store.remove(KEY)
        except DamagedEntry:
            found += 1
    assert found > 7


def test_damage_upon_damage_is_numbered(store: Store) -> None:
    for number in (1, 2, 3):
        store.write(KEY, SMALL)
        spoil(store.root / KEY[:2] / KEY / "facts.json", "flipped")
        with pytest.raises(DamagedEntry) as caught:
            store.sound(KEY)
        assert caught.value.aside is not None
        assert caught.value.aside.name == f"{KEY}-{number}"


def test_a_writer_replaces_a_damaged_entry(store: Store) -> None:
    store.write(KEY, SMALL)
    spoil(store.root / KEY[:2] / KEY / "manifest.json", "missing")
    assert not store.has(KEY)
    store.write(KEY, TABLE)
    assert same(store.read(KEY), TABLE)


def test_an_entry_under_a_wrong_name_is_damaged(store: Store) -> None:
    store.write(KEY, SMALL)
    folder = store.root / OTHER[:2] / OTHER
    folder.parent.mkdir()
    shutil.copytree(store.root / KEY[:2] / KEY, folder)
    with pytest.raises(DamagedEntry, match=f"is that of {KEY}"):
        store.read(OTHER)


def test_nothing_is_unpickled(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise AssertionError("the store must not unpickle")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(np, "load", refuse)
    for key, artifact in ((KEY, SMALL), (OTHER, TABLE)):
        store.write(key, artifact)
        assert same(store.read(key), artifact)


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_at_any_file_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, at: int, error: int
) -> None:
    store.write(OTHER, SMALL)
    calls = iter(range(100))

    def full(descriptor: int) -> None:
        if next(calls) == at:
            raise OSError(error, "full")

    monkeypatch.setattr(entries.os, "fsync", full)
    if at < 4:  # facts, arrays, manifest, their folder
        with pytest.raises(StoreFull, match="intact") as caught:
            store.write(KEY, SMALL)
        assert str(store.root) in str(caught.value)
        assert caught.value.needed > 0
        assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
        assert not store.has(KEY)
    monkeypatch.undo()
    assert list((store.root / "incoming").iterdir()) == []
    assert same(store.read(OTHER), SMALL)
    store.write(KEY, SMALL)
    assert same(store.read(KEY), SMALL)


def test_a_lock_is_exclusive_and_says_so(store: Store) -> None:
    events: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        with store.lock(KEY, on_wait=waiting.set):
            events.append("second")

    with store.lock(KEY, on_wait=lambda: events.append("no wait")):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(20)
        with store.lock(OTHER):
            events.append("first")
    thread.join()
    assert events == ["first", "second"]


def test_scratch_survives_until_it_is_cleared(store: Store) -> None:
    (store.scratch(KEY) / "checkpoint").write_text("7")
    assert (store.scratch(KEY) / "checkpoint").read_text() == "7"
    store.clear_scratch(KEY)
    assert list(store.scratch(KEY).iterdir()) == []


def test_a_sweep_takes_what_was_left_long_ago(store: Store) -> None:
    store.prepare()
    store.scratch(KEY)
    left = store.root / "incoming" / f"{KEY}-1-abc"
    left.mkdir()
    store.write(OTHER, SMALL)
    store.sweep()
    assert left.is_dir()
    store.sweep(older_than=-1.0)
    assert not left.exists()
    assert (store.root / "scratch" / KEY).is_dir()
    store.sweep(older_than=-1.0, checkpoints=True)
    assert not (store.root / "scratch" / KEY).exists()
    assert same(store.read(OTHER), SMALL)


def test_a_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("mine")
    with pytest.raises(BadInput, match=r"cannot be used.*TRILEMMA_STORE"):
        Store(tmp_path / "store").prepare()


def test_a_store_without_permission_is_refused(store: Store) -> None:
    store.prepare()
    room = store.root / "incoming"
    room.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        try:
            (room / "trial").mkdir()
        except PermissionError:
            with pytest.raises(BadInput, match="cannot be used"):
                store.prepare()
        else:
            (room / "trial").rmdir()  # a superuser may write anywhere
            store.prepare()
    finally:
        room.chmod(stat.S_IRWXU)


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"TRILEMMA_STORE": "/s", "XDG_CACHE_HOME": "/c"}, "/s"),
        ("linux", {"XDG_CACHE_HOME": "/c"}, "/c/trilemma/store"),
        ("linux", {}, "~/.cache/trilemma/store"),
        ("darwin", {"XDG_CACHE_HOME": "/c"}, "~/Library/Caches/trilemma/store"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/trilemma/store"),
        ("win32", {}, "~/AppData/Local/trilemma/store"),
        ("linux", {"TRILEMMA_STORE": "~/s"}, "~/s"),
    ],
)
def test_the_default_folder(
    platform: str, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TRILEMMA_STORE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert default_root() == Path(expected).expanduser()
    assert Store().root == default_root().absolute()


def test_errors_come_back_whole_from_another_process() -> None:
    for error in (
        NotStored(KEY, Path("s")),
        DamagedEntry(KEY, Path("s"), "why", Path("s/damaged/1")),
        StoreFull(Path("s"), 5, 3),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
