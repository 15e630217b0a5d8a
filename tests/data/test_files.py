"""The user's own rows: what is read, what is done to them, what is refused."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trilemma.core.errors import BadInput
from trilemma.data import Files, load, source_digest, split
from trilemma.data.files import read_table

RNG = np.random.default_rng(0)


def npz(folder, name="members.npz", **arrays):
    path = folder / name
    np.savez(path, **arrays)
    return str(path)


def csv(folder, text, name="members.csv"):
    path = folder / name
    path.write_text(text)
    return str(path)


def toy(n=12, start=0, classes=3):
    return {
        "x": np.arange(start, start + n * 2, dtype=np.float64).reshape(n, 2),
        "y": np.arange(n) % classes,
    }


def images(folder, sizes=((4, 4),), classes=("cat", "dog"), mode="RGB", seed=0):
    rng = np.random.default_rng(seed)
    for label in classes:
        (folder / label).mkdir(parents=True)
        for number in range(3):
            width, height = sizes[number % len(sizes)]
            channels = (3,) if mode == "RGB" else ()
            pixels = rng.integers(0, 256, (height, width, *channels), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return str(folder)


def test_npz_parts_become_one_pool_with_declared_rows(tmp_path):
    members, nonmembers = npz(tmp_path, **toy()), npz(tmp_path, "non.npz", **toy(8, 100))
    config = Files(members=members, nonmembers=nonmembers)
    loaded = load(config)
    parts = split(loaded, config, seed=0)
    np.testing.assert_array_equal(loaded.x[parts.members], toy()["x"])
    np.testing.assert_array_equal(loaded.x[parts.nonmembers], toy(8, 100)["x"])
    assert loaded.x[parts.members].dtype == np.float32
    assert loaded.y.dtype == np.int64
    assert loaded.classes == 3
    assert parts.report.sizes == {"members": 12, "nonmembers": 8}
    assert loaded.info.name == "members"
    assert len(loaded.info.fingerprint) == 32


def test_csv_parquet_and_npz_of_the_same_rows_are_the_same_rows(tmp_path):
    x, y = RNG.normal(size=(10, 2)).astype(np.float32), np.arange(10) % 2
    table = pa.table({"a": x[:, 0], "label": y, "b": x[:, 1]})
    pq.write_table(table, tmp_path / "rows.parquet")
    lines = [f"{a!r},{label},{b!r}" for (a, b), label in zip(x.tolist(), y, strict=True)]
    csv(tmp_path, "a,label,b\n" + "\n".join(lines), "rows.csv")
    npz(tmp_path, "rows.npz", x=x, y=y)
    tables = [read_table(tmp_path / f"rows.{suffix}") for suffix in ("npz", "csv", "parquet")]
    for table in tables:
        np.testing.assert_array_equal(table.x, x)
        np.testing.assert_array_equal(table.y, y)
    assert tables[1].columns == ("a", "b")


@pytest.mark.parametrize("name", ["label", "target", "y", "kind"])
def test_the_label_column_is_found_or_named(tmp_path, name):
    path = csv(tmp_path, f"a,{name}\n1.5,0\n2.5,1\n")
    table = read_table(path, "kind" if name == "kind" else None)
    assert table.y.tolist() == [0, 1]
    assert table.columns == ("a",)


def test_text_labels_get_the_same_index_in_every_part(tmp_path):
    members = csv(tmp_path, "a,label\n1,dog\n2,cat\n")
    nonmembers = csv(tmp_path, "a,label\n3,emu\n4,dog\n", "non.csv")
    loaded = load(Files(members=members, nonmembers=nonmembers))
    assert loaded.class_names == ("cat", "dog", "emu")
    assert loaded.y.tolist() == [1, 0, 2, 1]


def test_columns_are_matched_by_name(tmp_path):
    members = csv(tmp_path, "a,b,label\n1,2,0\n3,4,1\n")
    nonmembers = csv(tmp_path, "b,label,a\n6,0,5\n", "non.csv")
    loaded = load(Files(members=members, nonmembers=nonmembers))
    assert loaded.x[2].tolist() == [5, 6]
    assert loaded.feature_names == ("a", "b")


def test_folders_of_images_are_classes(tmp_path):
    config = Files(
        members=images(tmp_path / "in", seed=1), nonmembers=images(tmp_path / "out", seed=2)
    )
    loaded = load(config)
    assert loaded.x.shape == (12, 3, 4, 4)
    assert loaded.class_names == ("cat", "dog")
    assert loaded.y.tolist() == [0, 0, 0, 1, 1, 1] * 2
    pixels = np.asarray(Image.open(tmp_path / "in" / "dog" / "0.png"), dtype=np.float32)
    np.testing.assert_allclose(loaded.x[3], pixels.transpose(2, 0, 1) / 255)
    assert "bytes 0..255 divided by 255" in loaded.info.notes


def test_grey_folders_have_one_channel_and_numbers_are_class_indices(tmp_path):
    folder = images(tmp_path / "in", classes=("2", "10"), mode="L")
    table = read_table(folder)
    assert table.x.shape == (6, 1, 4, 4)
    assert sorted(set(table.y.tolist())) == [2, 10]


@pytest.mark.parametrize(
    ("x", "shape", "note"),
    [
        (np.full((4, 6, 6, 3), 255, np.uint8), (4, 3, 6, 6), "channels moved to the front"),
        (np.full((4, 3, 6, 6), 255, np.uint8), (4, 3, 6, 6), "divided by 255"),
        (np.full((4, 6, 6), 255, np.uint8), (4, 1, 6, 6), "got one: (N, H, W) -> (N, 1, H, W)"),
        (np.full((4, 6, 6, 1), 1.0), (4, 1, 6, 6), "channels moved to the front"),
        (np.full((4, 3, 8, 3), 1.0), (4, 3, 8, 3), "are taken as (C, H, W)"),
        (np.full((4, 5), 1, np.uint8), (4, 5), None),
        (np.full((4, 5, 6), 1.0), (4, 5, 6), None),
    ],
)
def test_channel_order_and_bytes_are_told(tmp_path, x, shape, note):
    table = read_table(npz(tmp_path, x=x, y=np.arange(4) % 2))
    assert table.x.shape == shape
    np.testing.assert_array_equal(table.x, 1.0)
    assert (note is None) == (table.notes == ())
    assert note is None or any(note in each for each in table.notes)


def test_one_dimensional_and_column_labels_are_the_same(tmp_path):
    flat = read_table(npz(tmp_path, x=np.eye(3), y=np.array([0.0, 1.0, 2.0])))
    column = read_table(npz(tmp_path, x=np.eye(3), y=np.array([[0], [1], [2]])))
    assert flat.y.tolist() == column.y.tolist() == [0, 1, 2]


def with_value(row, column, value):
    x = toy()["x"]
    x[row, column] = value
    return x


NPZ_REFUSALS = {
    "nan": ({"x": with_value(3, 1, np.nan)}, "row 3, column 1 is nan (1 such values)"),
    "inf": ({"x": with_value(0, 0, -np.inf)}, "row 0, column 0 is -inf"),
    "too large": ({"x": with_value(2, 0, 1e300)}, "row 2, column 0 is 1e+300"),
    "objects": ({"x": np.array([[1, "a"]] * 12, dtype=object)}, "holds Python objects (pickles)"),
    "text": ({"x": np.array([["a"]] * 12)}, "x holds <U1, not numbers"),
    "complex": ({"x": np.ones((12, 1)) * 1j}, "x holds complex128, not numbers"),
    "half labels": ({"y": np.arange(12) / 2}, "row 1 has the label 0.5 (6 such labels)"),
    "negative": ({"y": np.arange(12) - 2}, "row 0 has the label -2 (2 such labels)"),
    "prices": ({"y": np.arange(12) * 1e5}, "row 1 has the label 100000.0 in a table of 12 rows"),
    "nan label": ({"y": np.array([0, np.nan] * 6)}, "row 1 has the label nan (6 such labels)"),
    "one-hot": ({"y": np.eye(12)}, "y.argmax(axis=1)"),
    "lengths": ({"y": np.zeros(11, dtype=int)}, "x has 12 rows, y has 11"),
    "flat": ({"x": np.zeros(12)}, "x has the shape (12,)"),
    "empty": ({"x": np.zeros((0, 2)), "y": np.zeros(0, dtype=int)}, "holds no rows"),
}


@pytest.mark.parametrize("case", NPZ_REFUSALS)
def test_bad_values_are_refused_with_their_place(tmp_path, case):
    arrays, message = NPZ_REFUSALS[case]
    path = npz(tmp_path, **{**toy(), **arrays})
    with pytest.raises(BadInput) as error:
        read_table(path)
    assert message in str(error.value)
    assert str(error.value).startswith(path)


CSV_REFUSALS = {
    "no label": ("a,b\n1,2\n", "has no label column label or target or y; it has a, b"),
    "text feature": ("a,label\nred,0\nblue,1\n", "column 'a' holds string ('red'), not numbers"),
    "gap": ("a,label\n1,0\n,1\n", "row 1, column 'a' is empty (1 such values)"),
    "nan": ("a,b,label\n1,2,0\n1,nan,1\n", "row 1, column 'b' is "),
    "label gap": ("a,label\n1,0\n2,\n", "row 1 has no label in column 'label'"),
    "only labels": ("label\n0\n1\n", "has no column beside the labels 'label'"),
    "twice": ("a,a,label\n1,2,0\n", "has columns of the same name: a"),
    "ragged": ("a,label\n1,0\n1,2,3\n", "cannot be read"),
    "empty": ("", "cannot be read"),
}


@pytest.mark.parametrize("case", CSV_REFUSALS)
def test_bad_tables_are_refused(tmp_path, case):
    text, message = CSV_REFUSALS[case]
    with pytest.raises(BadInput) as error:
        read_table(csv(tmp_path, text))
    assert message in str(error.value)


def test_a_pickle_by_another_name_is_not_opened(tmp_path):
    path = tmp_path / "members.npz"
    path.write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(BadInput, match="pickles"):
        read_table(path)


def test_damaged_and_unknown_files_are_refused(tmp_path):
    path = tmp_path / "members.npz"
    np.savez_compressed(path, **toy(500))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BadInput, match="is not a whole"):
        read_table(path)
    other = tmp_path / "members.xls"
    other.touch()
    with pytest.raises(BadInput, match=r"has the suffix '.xls'. Give a .npz with x and y"):
        read_table(other)
    with pytest.raises(BadInput, match="does not exist"):
        read_table(tmp_path / "nowhere.npz")
    with pytest.raises(BadInput, match="needs the arrays x and y; it has a"):
        read_table(npz(tmp_path, "other.npz", a=np.zeros(3)))


def test_images_of_two_sizes_are_refused_by_name(tmp_path):
    folder = images(tmp_path / "in", sizes=((4, 4), (5, 4)))
    with pytest.raises(BadInput, match=r"1.png: is 5x4 where 0.png is 4x4"):
        read_table(folder)


def test_broken_images_and_empty_folders_are_refused(tmp_path):
    folder = images(tmp_path / "in")
    (tmp_path / "in" / "cat" / "0.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"0.png: is not an image that can be read"):
        read_table(folder)
    (tmp_path / "flat").mkdir()
    with pytest.raises(BadInput, match="has no folders"):
        read_table(tmp_path / "flat")
    (tmp_path / "flat" / "cat").mkdir()
    with pytest.raises(BadInput, match="has no images"):
        read_table(tmp_path / "flat")


def test_deep_images_are_refused_because_converting_would_clip_them(tmp_path):
    folder = images(tmp_path / "in")
    deep = Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16))
    deep.save(tmp_path / "in" / "cat" / "0.png")
    with pytest.raises(BadInput, match=r"0.png: has more than 8 bits a channel"):
        read_table(folder)


def test_categories_booleans_and_whole_numbers_are_numbers(tmp_path):
    table = pa.table(
        {
            "a": pa.array([True, False]),
            "b": pa.array([3, 4], type=pa.int8()).dictionary_encode(),
            "label": pa.array(["x", "y"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    held = read_table(tmp_path / "rows.parquet")
    assert held.x.tolist() == [[1, 3], [0, 4]]
    assert held.y.tolist() == ["x", "y"]


def overlapping(tmp_path, **extra):
    second = toy(8, 100)
    second["x"][:3] = toy()["x"][:3]
    return Files(
        members=npz(tmp_path, **toy()), nonmembers=npz(tmp_path, "non.npz", **second), **extra
    )


def test_members_among_the_non_members_are_counted_and_refused(tmp_path):
    config = overlapping(tmp_path)
    with pytest.raises(BadInput, match="3 of 8 non-members are members as well"):
        split(load(config), config, 0)


def test_overlap_is_allowed_by_name_or_dropped(tmp_path):
    config = overlapping(tmp_path, allow_overlap=True)
    parts = split(load(config), config, 0)
    assert parts.report.duplicates.across == {"members/nonmembers": 3}
    assert parts.report.notes == ("3 non-members are members as well",)
    config = overlapping(tmp_path, drop_duplicates=True)
    parts = split(load(config), config, 0)
    assert parts.report.sizes == {"members": 12, "nonmembers": 5}
    assert parts.report.duplicates.dropped == 3


def test_parts_that_do_not_fit_together_are_refused(tmp_path):
    members = npz(tmp_path, **toy())
    with pytest.raises(BadInput, match=r"has rows of shape \(3,\), members.npz of \(2,\)"):
        load(Files(members=members, nonmembers=npz(tmp_path, "n.npz", x=np.eye(3), y=[0, 1, 2])))
    with pytest.raises(BadInput, match=r"labels are names, those of members.npz are numbers"):
        load(Files(members=members, nonmembers=npz(tmp_path, "n.npz", x=np.eye(2), y=["a", "b"])))
    first = csv(tmp_path, "a,b,label\n1,2,0\n3,4,1\n")
    second = csv(tmp_path, "a,c,label\n1,2,0\n", "n.csv")
    with pytest.raises(BadInput, match=r"missing: b; extra: c"):
        load(Files(members=first, nonmembers=second))


def test_fewer_than_two_classes_are_refused(tmp_path):
    rows = {"x": np.arange(6.0).reshape(3, 2), "y": np.zeros(3, dtype=int)}
    other = {"x": np.arange(6.0, 12.0).reshape(3, 2), "y": np.zeros(3, dtype=int)}
    config = Files(members=npz(tmp_path, **rows), nonmembers=npz(tmp_path, "n.npz", **other))
    with pytest.raises(BadInput, match="every row has the label 0"):
        load(config)


def counted(tmp_path, members, nonmembers, classes):
    return Files(
        members=npz(tmp_path, x=np.eye(len(members)), y=members),
        nonmembers=npz(tmp_path, "n.npz", x=2 * np.eye(len(members)), y=nonmembers),
        classes=classes,
    )


@pytest.mark.parametrize(("classes", "expected"), [(None, 3), (3, 3), (7, 7)])
def test_a_model_may_tell_more_classes_apart_than_the_labels_name(tmp_path, classes, expected):
    loaded = load(counted(tmp_path, [0, 2], [1, 0], classes))
    assert loaded.classes == expected
    assert loaded.y.tolist() == [0, 2, 1, 0]


def test_the_declared_number_of_classes_bounds_the_labels_and_nothing_else_does(tmp_path):
    assert load(counted(tmp_path, [0, 4_999], [0, 1], 5_000)).classes == 5_000
    with pytest.raises(BadInput, match=r"n.npz: row 1 has the label 3 where `classes` is 3"):
        load(counted(tmp_path, [0, 1], [0, 3], 3))
    with pytest.raises(BadInput, match=r"label 5000 in a table of 2 rows.*below 1000"):
        load(counted(tmp_path, [0, 5_000], [0, 1], None))


def test_numbers_written_as_text_are_bounded_too(tmp_path):
    folder = images(tmp_path / "in", classes=("0", "12"))
    assert sorted(set(read_table(folder, classes=13).y.tolist())) == [0, 12]
    with pytest.raises(BadInput, match=r"row 3 has the label 12 where `classes` is 12"):
        read_table(folder, classes=12)
    with pytest.raises(BadInput, match=r"has the label 9{20} in a table of 6 rows"):
        read_table(images(tmp_path / "long", classes=("0", "9" * 20)))


def test_names_cannot_be_numbered_where_a_class_is_missing(tmp_path):
    def named(classes):
        members = csv(tmp_path, "a,label\n1,dog\n2,cat\n")
        nonmembers = csv(tmp_path, "a,label\n3,emu\n4,dog\n", "non.csv")
        return load(Files(members=members, nonmembers=nonmembers, classes=classes))

    assert named(3).class_names == ("cat", "dog", "emu")
    with pytest.raises(BadInput, match=r"name 3 classes \(cat, dog, emu\) where `classes` is 2"):
        named(2)
    with pytest.raises(BadInput, match=r"where `classes` is 4. Give class indices"):
        named(4)


@pytest.mark.parametrize("classes", [1, 0, -3, True])
def test_a_model_tells_at_least_two_classes_apart(classes):
    with pytest.raises(BadInput, match="classes: must be a whole number >= 2"):
        Files(members="m.npz", nonmembers="n.npz", classes=classes)


def test_suffixes_count_in_either_case(tmp_path):
    expected = toy()
    npz(tmp_path, "rows.npz", **expected)
    (tmp_path / "rows.npz").rename(tmp_path / "A.NPZ")
    lines = [f"{a},{b},{label}" for (a, b), label in zip(*expected.values(), strict=True)]
    csv(tmp_path, "a,b,label\n" + "\n".join(lines), "B.Csv")
    (a, b), y = expected["x"].T, expected["y"]
    for name in ("C.pq", "D.PARQUET"):
        pq.write_table(pa.table({"a": a, "b": b, "label": y}), tmp_path / name)
    for name in ("A.NPZ", "B.Csv", "C.pq", "D.PARQUET"):
        table = read_table(tmp_path / name)
        np.testing.assert_array_equal(table.x, expected["x"])
        np.testing.assert_array_equal(table.y, expected["y"])


def test_a_path_may_start_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    npz(tmp_path, **toy())
    npz(tmp_path, "n.npz", **toy(4, 90))
    at_home = Files(members="~/members.npz", nonmembers="~/n.npz")
    written_out = Files(members=str(tmp_path / "members.npz"), nonmembers=str(tmp_path / "n.npz"))
    assert at_home.paths() == written_out.paths()
    assert load(at_home).info == load(written_out).info
    assert source_digest(at_home) == source_digest(written_out)


def test_the_source_digest_follows_the_content(tmp_path):
    config = Files(members=npz(tmp_path, **toy()), nonmembers=npz(tmp_path, "n.npz", **toy(4, 90)))
    before = source_digest(config)
    assert source_digest(config) == before
    npz(tmp_path, "n.npz", **toy(4, 91))
    assert source_digest(config) != before
    folders = Files(members=images(tmp_path / "a"), nonmembers=images(tmp_path / "b", seed=1))
    before = source_digest(folders)
    (tmp_path / "a" / "cat" / "0.png").unlink()
    assert source_digest(folders) != before
