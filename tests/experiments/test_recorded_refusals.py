"""What recorded predictions must not be: each refusal names the thing, the value and the fix."""

import contextlib
import os
import pickle
import struct
import warnings
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from trilemma.core.errors import BadInput
from trilemma.experiments.recorded import memory, read_recorded

TABLE = np.array([[0.75, 0.125, 0.125], [0.25, 0.5, 0.25]])
LOGITS = np.array([[3.0, -1.0, 0.5], [0.2, 4.0, -2.0]])
FORM = {
    "output_train": TABLE,
    "output_test": TABLE[::-1],
    "train_label": np.array([0, 1]),
    "test_label": np.array([1, 0]),
}
CONFIDENCES = {"confidence_train": np.array([0.5, 1.0]), "confidence_test": np.array([0.25])}


def replaced(row, column, value):
    table = TABLE.copy()
    table[row, column] = value
    return table


OUTPUTS = {
    "NaN": (replaced(1, 2, np.nan), r"output_train: row 1 has nan \(1 of 2 rows are not finite"),
    "infinity": (replaced(0, 0, np.inf), "output_train: row 0 has inf"),
    "logits": (LOGITS, r"row 1 has 4 in column 1, .*look like logits: apply softmax first"),
    "log-probabilities": (np.log(TABLE), "look like log-probabilities: apply exp first"),
    "percentages": (100 * TABLE, "look like percentages: divide by 100"),
    "sigmoids": (TABLE + 0.2, r"row 0 sums to 1.6, not to 1 within .* \(2 of 2 rows do not\)"),
    "half": (TABLE / 2, "sums to 0.5, not to 1"),
    "one row": (
        np.vstack([TABLE] * 5 + [[[0.9, 0.3, -0.2]]]),
        "row 10 has -0.2 in column 2.*most rows are probabilities, this one is not",
    ),
    "predicted labels": (np.array([0, 1]), "one number a row.*numpy.column_stack"),
    "sigmoid of two classes": (TABLE[:, :1], "one number a row.*numpy.column_stack"),
    "counts": (np.array([[3, 0, 1], [2, 2, 9]]), "whole numbers from 0 to 9.*by its sum"),
    "image": (np.zeros((2, 3, 4, 4)), r"has shape \(2, 3, 4, 4\)"),
    "empty": (np.zeros((0, 3)), r"output_train: is empty \(shape \(0, 3\)\)"),
    "transposed": (TABLE.T, r"shape \(3, 2\) for 2 labels. Transpose it"),
    "text": (TABLE.astype(str), "has type <U32, which is no plain number"),
    "complex": (TABLE.astype(complex), "has type complex128"),
    "objects": (np.array([TABLE, None], dtype=object), "holds Python objects .a pickle."),
    "other width": (
        np.full((2, 4), 0.25),
        r"output_test: has shape \(2, 3\), output_train_benign \(2, 4\): the numbers of classes",
    ),
    "other length": (TABLE[[0, 1, 0]], r"train_label: has shape \(2,\) for 3 rows"),
}
LABELS = {
    "too large": ([0, 7], "train_label: row 1 is 7, but 3 columns .* allow labels 0 to 2"),
    "from 1": ([1, 3], "row 1 is 3, .*seem to count from 1: subtract 1"),
    "negative": ([-1, 0], "row 0 is -1"),
    "fraction": ([0.5, 1], "row 0 is 0.5, not a whole number"),
    "NaN": ([0, np.nan], "train_label: row 1 has nan"),
    "soft": ([[0.5, 0.5, 0], [1, 0, 0]], r"row 0 of shape \(2, 3\) is not one-hot"),
    "names": (["cat", "dog"], "has type <U3, which is no plain number"),
    "too many": ([0, 1, 0, 1], r"has shape \(4,\) for 2 rows of 3 probabilities"),
}
KEYS = {
    "typing error": (
        {"outptu_train": TABLE} | {k: v for k, v in FORM.items() if k != "output_train"},
        "lacks output_train_benign; found outp.*did you mean output_train for outptu_train",
    ),
    "other names": ({"x": TABLE, "y": np.array([0, 1])}, "lacks output_train_benign, .*found x, y"),
    "no labels": ({"output_train": TABLE, "output_test": TABLE}, "lacks train_label, test_label"),
    "one confidence": ({"confidence_train": np.ones(2)}, "lacks confidence_test; found conf"),
    "half adversarial": (
        FORM | {"output_train_adversarial": TABLE},
        "has output_train_adversarial but not output_test_adversarial.*both or neither",
    ),
    "adversarial rows": (
        FORM | {"output_train_adversarial": TABLE[:1], "output_test_adversarial": TABLE},
        r"adversarial: has shape \(1, 3\), output_train_benign \(2, 3\).*same rows",
    ),
    "adversarial width": (
        FORM
        | {
            "output_train_adversarial": np.full((2, 2), 0.5),
            "output_test_adversarial": np.full((2, 2), 0.5),
        },
        r"adversarial: has shape \(2, 2\), output_train_benign \(2, 3\)",
    ),
    "confidence above 1": (
        CONFIDENCES | {"confidence_train": np.array([0.5, 2.5])},
        r"confidence_train: row 1 is 2.5, outside of \[0, 1\].*numpy.exp\(-loss\)",
    ),
    "confidence NaN": (
        CONFIDENCES | {"confidence_test": np.array([np.nan])},
        "confidence_test: row 0 has nan",
    ),
    "confidence table": (
        CONFIDENCES | {"confidence_train": TABLE},
        r"confidence_train: has shape \(2, 3\)",
    ),
    "no confidence": (CONFIDENCES | {"confidence_test": np.array([])}, "confidence_test: is empty"),
    "adversarial confidences": (
        CONFIDENCES
        | {
            "confidence_adversarial_train": np.ones(3),
            "confidence_adversarial_test": np.ones(1),
        },
        r"confidence_adversarial_train: has shape \(3,\), confidence_train \(2,\)",
    ),
}
CASES = {
    **{f"output: {k}": (FORM | {"output_train": v}, m) for k, (v, m) in OUTPUTS.items()},
    **{f"label: {k}": (FORM | {"train_label": np.array(v)}, m) for k, (v, m) in LABELS.items()},
    **{f"keys: {k}": case for k, case in KEYS.items()},
}


def refusal(path):
    """The message, after the laws that all refusals share."""
    with pytest.raises(BadInput) as caught:
        read_recorded(path)
    message = str(caught.value)
    assert message.startswith(str(path))  # which file
    assert "\n" not in message  # one sentence or two
    assert caught.value.fix  # what to do
    return message


@pytest.mark.parametrize(("arrays", "message"), CASES.values(), ids=CASES)
def test_arrays_that_are_no_record_are_refused(tmp_path, arrays, message):
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(BadInput, match=message):
        read_recorded(path)
    refusal(path)


@pytest.mark.xfail(strict=True, reason="negative control: a good file is not refused")
def test_the_form_that_all_cases_start_from_is_refused(tmp_path):
    np.savez(tmp_path / "good.npz", **FORM)
    refusal(tmp_path / "good.npz")


def archive(tmp_path):
    path = tmp_path / "file.npz"
    np.savez(path, **FORM)
    return path


def test_a_file_that_is_not_there(tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.npz")


def test_a_folder(tmp_path):
    assert "is a folder" in refusal(tmp_path)


def test_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refusal(tmp_path / "pipe")


def test_a_file_without_permission(tmp_path, monkeypatch):
    path = archive(tmp_path)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)  # the tests may run as root
    assert "cannot be read (Permission denied)" in refusal(path)


def test_a_path_that_no_file_can_have(tmp_path):
    assert "cannot be read (File name too long)" in refusal(tmp_path / ("x" * 300))
    with pytest.raises(BadInput, match="null byte"):
        read_recorded("a\0b")


FOREIGN = {
    "empty": (b"", "is empty"),
    "blank": (b"\n \n", "is empty"),
    "pickle": (pickle.dumps(FORM), "is a pickle, which is never loaded"),
    "pickle 2": (pickle.dumps(FORM, protocol=2), "is a pickle, which is never loaded"),
    "npy": (b"\x93NUMPY\x01\x00", "is a single array"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
    "gzip": (b"\x1f\x8b\x08\x00", "is compressed"),
    "UTF-16": ("member,label".encode("utf-16"), "is text in UTF-16"),
    "Latin 1": ("größe,member\n".encode("latin-1"), "not UTF-8"),
    "JSON": (b'{"output_train": []}', "is JSON"),
    "image": (b"\x89PNG\r\n\x1a\n\0\0\0", "is in no known format"),
    "zip's first bytes": (b"PK\x03\x04 and no more", "is damaged"),
    "Parquet's first bytes": (b"PAR1 and no more", "cannot be read as a table"),
    "prose": (b"Dear colleague,\nhere they are.\n", "lacks member, confidence; found Dear coll"),
}


@pytest.mark.parametrize(("content", "message"), FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_what_is_something_else_is_called_by_its_name(tmp_path, content, message, suffix):
    path = tmp_path / f"file.{suffix}"
    path.write_bytes(content)
    assert message in refusal(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_archive(tmp_path, share):
    path = archive(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "is damaged" in refusal(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_flipped_byte_in_the_values(tmp_path, compressed):
    path = tmp_path / "flipped.npz"
    table = np.full((500, 3), 1 / 3)
    arrays = FORM | {"output_train": table, "train_label": np.zeros(500, int)}
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    whole = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as opened:
        info = opened.getinfo("output_train.npy")
    whole[info.header_offset + 40 + info.compress_size * 2 // 3] ^= 0x41
    path.write_bytes(whole)
    assert "is damaged" in refusal(path)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["stored", "compressed", "csv", "parquet"]))
def test_damage_anywhere_is_a_refusal_or_does_not_matter(tmp_path_factory, data, kind):
    path = tmp_path_factory.mktemp("damage") / "file"
    if kind == "csv":
        path.write_text("member,confidence\ntrue,0.5\nfalse,0.25\n")
    elif kind == "parquet":
        parquet.write_table(pa.table({"member": [True, False], "confidence": [0.5, 0.25]}), path)
    else:
        with path.open("wb") as file:
            (np.savez if kind == "stored" else np.savez_compressed)(file, **FORM)
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del whole[place:]
    else:
        whole[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, about headers of Python 2
        with contextlib.suppress(BadInput):  # and nothing else
            read_recorded(path)


def test_archives_of_other_programs(tmp_path):
    for entry, message in {
        "archive/data.pkl": "a file of torch.save",
        "[Content_Types].xml": "an Office document",
        "readme.txt": "an archive without arrays",
    }.items():
        path = tmp_path / "other.zip"
        with zipfile.ZipFile(path, "w") as opened:
            opened.writestr(entry, "x")
        assert message in refusal(path)
    with zipfile.ZipFile(path, "w"):
        pass
    assert "an empty archive" in refusal(path)


def npy(shape, dtype="<f8", content=b""):
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


@pytest.mark.parametrize("shape", [(10**9, 10**9), (2, 4), (-2, -3), (1, 1)])
def test_a_header_that_declares_another_size_than_there_is(tmp_path, shape):
    path = archive(tmp_path)
    with zipfile.ZipFile(path, "w") as opened:
        for name in FORM:
            opened.writestr(f"{name}.npy", npy(shape, content=bytes(48)))
    assert "is damaged: its header declares" in refusal(path)


def test_an_archive_larger_than_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    zeros = np.zeros((1_000_000, 3), np.float32)
    np.savez_compressed(path, **FORM | {"output_train": zeros})
    assert path.stat().st_size < zeros.nbytes / 500
    monkeypatch.setattr(memory, "memory", lambda: zeros.nbytes)
    assert "more than half of this machine's memory" in refusal(path)


def test_an_encrypted_archive(tmp_path):
    path = archive(tmp_path)
    whole = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag in both directories
        place = whole.find(magic)
        while place >= 0:
            whole[place + offset] |= 1
            place = whole.find(magic, place + 4)
    path.write_bytes(whole)
    assert "is encrypted" in refusal(path)
