"""Recorded predictions as CSV and Parquet say the same as the archive of the same numbers."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from trilemma.core.errors import BadInput
from trilemma.experiments.recorded import answers, memory, read_recorded, scores

RNG = np.random.default_rng(0)
MEMBER = np.array([True, False, True, True, False])
LABEL = np.array([0, 2, 1, 2, 1])
BENIGN = RNG.dirichlet(np.ones(3), 5)
ADVERSARIAL = RNG.dirichlet(np.ones(3), 5)


def columns(dtype=np.float64):
    return {
        "member": MEMBER,
        "label": LABEL,
        **{f"p{j}": BENIGN[:, j].astype(dtype) for j in range(3)},
        **{f"adversarial_p{j}": ADVERSARIAL[:, j].astype(dtype) for j in range(3)},
    }


def save_parquet(path, table):
    parquet.write_table(pa.table(table), path)


def save_csv(path, table):
    csv.write_csv(pa.table(table), path)


WRITERS = pytest.mark.parametrize("write", [save_parquet, save_csv])


@WRITERS
def test_a_table_says_what_the_archive_says(tmp_path, write):
    write(tmp_path / "table", columns())
    np.savez(
        tmp_path / "archive.npz",
        output_train_benign=BENIGN[MEMBER],
        output_test_benign=BENIGN[~MEMBER],
        output_train_adversarial=ADVERSARIAL[MEMBER],
        output_test_adversarial=ADVERSARIAL[~MEMBER],
        train_label=LABEL[MEMBER],
        test_label=LABEL[~MEMBER],
    )
    table, archive = (read_recorded(tmp_path / name) for name in ("table", "archive.npz"))
    assert (table.name, table.classes, table.notes) == ("table", 3, archive.notes)
    for which in ("benign", "adversarial"):
        first, second = answers(table, which), answers(archive, which)
        assert first.keys() == second.keys()
        for key in first:
            np.testing.assert_array_equal(first[key], second[key])


@WRITERS
def test_confidences_alone(tmp_path, write):
    confidence = RNG.random(5)
    table = {"member": MEMBER, "confidence": confidence, "confidence_adversarial": confidence / 2}
    write(tmp_path / "table", table)
    recorded = read_recorded(tmp_path / "table")
    assert recorded.classes is None
    np.testing.assert_array_equal(scores(recorded, "benign")[0], confidence[MEMBER])
    np.testing.assert_array_equal(scores(recorded, "adversarial")[1], confidence[~MEMBER] / 2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_parquet_keeps_the_recorded_precision(tmp_path, dtype):
    save_parquet(tmp_path / "table", columns(dtype))
    recorded = read_recorded(tmp_path / "table")
    assert recorded.benign.members.dtype == dtype
    np.testing.assert_array_equal(recorded.benign.members, BENIGN[MEMBER].astype(dtype))


WORDS = [("true", "false"), ("True", "FALSE"), ("yes", "no"), ("1", "0"), ("train", "test")]
WORDS += [(" member", "non-member "), (1, 0), (1.0, 0.0), (np.int8(1), np.int8(0))]


@pytest.mark.parametrize("words", WORDS)
@WRITERS
def test_sides_may_be_named_in_many_ways(tmp_path, words, write):
    column = pa.array([words[0] if inside else words[1] for inside in MEMBER])
    write(tmp_path / "table", columns() | {"member": column})
    np.testing.assert_array_equal(read_recorded(tmp_path / "table").benign.members, BENIGN[MEMBER])


def test_categories_are_words_too(tmp_path):
    column = pa.array(np.where(MEMBER, "train", "test")).dictionary_encode()
    label = pa.array(LABEL.astype(str)).dictionary_encode()
    save_parquet(tmp_path / "table", columns() | {"member": column, "label": label})
    recorded = read_recorded(tmp_path / "table")
    np.testing.assert_array_equal(recorded.labels.members, LABEL[MEMBER])


LABELS = [LABEL.astype(t) for t in ("u1", "i2", "f4", "f8")] + [LABEL.astype(str)]


@pytest.mark.parametrize("labels", [*LABELS, np.char.add(LABEL.astype(str), ".0")])
@WRITERS
def test_labels_may_be_of_any_whole_type(tmp_path, labels, write):
    write(tmp_path / "table", columns() | {"label": labels})
    np.testing.assert_array_equal(
        read_recorded(tmp_path / "table").labels.nonmembers, LABEL[~MEMBER]
    )


@WRITERS
def test_neither_the_order_nor_the_spelling_of_the_columns_matters(tmp_path, write):
    table = {
        " P_2": BENIGN[:, 2],
        "Label": LABEL,
        "p0": BENIGN[:, 0],
        "MEMBER": MEMBER,
        "p01": BENIGN[:, 1],
    }
    write(tmp_path / "table", table)
    np.testing.assert_array_equal(read_recorded(tmp_path / "table").benign.members, BENIGN[MEMBER])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv_dialects(tmp_path, delimiter, encoding, newline):
    rows = ["member,confidence,größe", "yes,0.125,a", 'no,1e-3,"b"', "no,1,c", ""]
    text = newline.join(rows).replace(",", delimiter)
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    recorded = read_recorded(tmp_path / "t.csv")
    np.testing.assert_array_equal(recorded.benign.members, [0.125])
    np.testing.assert_array_equal(recorded.benign.nonmembers, [1e-3, 1])
    assert recorded.notes == ("Ignored in the file: größe.",)


def test_a_decimal_comma_between_semicolons(tmp_path):
    (tmp_path / "t.csv").write_text("member;confidence\ntrue;0,125\nfalse;1\n")
    assert scores(read_recorded(tmp_path / "t.csv"), "benign")[0] == [0.125]


def test_a_column_of_whole_numbers_at_the_start_is_still_one_of_probabilities(tmp_path):
    rows = ["member,confidence", *["true,1"] * 200_000, "false,0.5"]  # longer than a block
    (tmp_path / "t.csv").write_text("\n".join(rows))
    assert scores(read_recorded(tmp_path / "t.csv"), "benign")[1] == [0.5]


@WRITERS
def test_other_columns_are_told_but_not_the_row_numbers_of_pandas(tmp_path, write):
    extra = {"Unnamed: 0": np.arange(5), "labels": LABEL, "remark": list("abcde")}
    write(tmp_path / "table", columns() | extra)
    assert read_recorded(tmp_path / "table").notes[0] == (
        "Ignored in the file: labels, remark (did you mean label for labels?)."
    )


def without(*names):
    return {name: values for name, values in columns().items() if name not in names}


P = ("p0", "p1", "p2")
A = ("adversarial_p0", "adversarial_p1", "adversarial_p2")
BAD = {
    "no member": (without("member"), "lacks member; found label, p0"),
    "no label": (without("label") | {"Lable": LABEL}, "lacks label; .*did you mean label"),
    "no probabilities": (without(*P, *A), "lacks confidence; found member, label"),
    "a gap": (without("p1"), "has columns p0 to p2, but none for class 1"),
    "from 1": (without("p0", *A), "has columns p1 to p2, but none for class 0"),
    "fewer adversarial": (without("adversarial_p2"), "3 columns of benign but 2 of adversarial"),
    "one column": (without("p1", "p2", *A), "column p0: has one number a row"),
    "only members": (columns() | {"member": [True] * 5}, "all 5 rows are members. Add rows of non"),
    "only others": (columns() | {"member": [0] * 5}, "all 5 rows are non-members"),
    "a third side": (
        columns() | {"member": ["train", "test", "valid", "train", "test"]},
        "column member: row 2 is 'valid'",
    ),
    "label": (columns() | {"label": [0, 1, 2, 3, 1]}, "column label: row 3 is 3, but 3 columns"),
    "names": (columns() | {"label": list("abcab")}, "column label: row 0 is 'a', not a number"),
    "sum": (columns() | {"p1": BENIGN[:, 1] / 2}, "column p0 to p2: row . sums to"),
    "NaN": (columns() | {"p1": [0.1, 0.2, np.nan, 0.1, 0.2]}, "row 2|rows are not finite"),
    "gap": (columns() | {"p1": [0.1, 0.2, None, 0.1, 0.2]}, "column p1: row 2 is empty"),
    "no label in a row": (columns() | {"label": [0, 1, None, 1, 2]}, "column label: row 2 is"),
    "confidence": (
        {"member": MEMBER, "confidence": [0.1, 0.2, 3, 0.1, 0.2]},
        "row 2 is 3, outside",
    ),
}


@WRITERS
@pytest.mark.parametrize(("table", "message"), BAD.values(), ids=BAD)
def test_tables_that_are_no_record_are_refused(tmp_path, write, table, message):
    write(tmp_path / "table", table)
    with pytest.raises(BadInput, match=message) as caught:
        read_recorded(tmp_path / "table")
    assert str(caught.value).startswith(str(tmp_path / "table"))
    assert caught.value.fix


@pytest.mark.xfail(strict=True, reason="negative control: the table that all cases start from")
@WRITERS
def test_a_good_table_is_refused(tmp_path, write):
    write(tmp_path / "table", columns())
    with pytest.raises(BadInput):
        read_recorded(tmp_path / "table")


def test_text_in_the_place_of_numbers(tmp_path):
    (tmp_path / "t.csv").write_text("member,confidence\ntrue,0.5\nfalse,high\n")
    with pytest.raises(BadInput, match=r"cannot be read as a table .*'high'"):
        read_recorded(tmp_path / "t.csv")
    save_parquet(tmp_path / "t.parquet", {"member": MEMBER, "confidence": list("abcde")})
    with pytest.raises(BadInput, match="column confidence: has type string"):
        read_recorded(tmp_path / "t.parquet")
    save_parquet(tmp_path / "t.parquet", {"member": [[1]] * 5, "confidence": BENIGN[:, 0]})
    with pytest.raises(BadInput, match="column member: has type list"):
        read_recorded(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("member,confidence\n", "has no rows"),
        ("member,confidence\ntrue,0.5\nfalse\n", "cannot be read as a table .*Expected 2 columns"),
        ("member,confidence,Member\ntrue,0.5,1\n", "has column 'member' twice"),
        ("true,0.5\nfalse,0.25\n", "lacks member, confidence; found true, 0.5"),
        ("member,p0,p00,p1,label\n1,0.5,0.5,0.5,0\n", "has p0 and p00"),
        ("\n\n \n", "is empty"),
    ],
)
def test_texts_that_are_no_table(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(BadInput, match=message):
        read_recorded(tmp_path / "t.csv")


@WRITERS
def test_a_table_larger_than_memory_is_refused_before_it_is_read(tmp_path, write, monkeypatch):
    write(tmp_path / "table", columns())
    monkeypatch.setattr(memory, "memory", lambda: 100)
    with pytest.raises(BadInput, match="more than half of this machine's memory"):
        read_recorded(tmp_path / "table")


def test_the_memory_of_this_machine_is_some(monkeypatch, tmp_path):
    assert memory.memory() > 2**20
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "CGROUP", limit)
    machine = memory.memory()
    limit.write_text("max\n")
    assert memory.memory() == machine
    limit.write_text("1048576\n")
    assert memory.memory() == 1048576
