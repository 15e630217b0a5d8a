"""UCI HAR in the form its publisher gives it, built here in miniature."""

import numpy as np
import pytest
from har_like import FOLDER, OUTER, encoded, har_files, lines, number, write_har_like, zipped

from trilemma.core.errors import BadInput
from trilemma.data import HAR, UnitRange, load, places, source_digest, split
from trilemma.data.catalogue import listing
from trilemma.data.readers.har import ACTIVITIES, FEATURES, INNER, NEEDED
from trilemma.experiments.audit import audit
from trilemma.experiments.selftests import blind
from trilemma.experiments.store import Store


def unpacked(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(content))


def as_zip(folder, files):
    (folder / INNER).write_bytes(zipped(files))


def as_served(folder, files):
    inner = {"UCI HAR Dataset.names": "README", INNER: zipped(files)}
    (folder / OUTER).write_bytes(zipped(inner))


def served_unpacked(folder, files):
    unpacked(folder, {f"{OUTER.removesuffix('.zip')}/{INNER}": zipped(files)})


FORMS = (as_zip, as_served, unpacked, served_unpacked)


def values(text):
    return np.array([[float(word) for word in line.split()] for line in text.splitlines()])


@pytest.mark.parametrize("put", FORMS)
def test_every_form_holds_what_was_written(nowhere, put):
    files = har_files(train=13, test=7)
    put(nowhere, files)
    loaded = load(HAR())
    x = [values(files[f"{FOLDER}/{part}/X_{part}.txt"]) for part in ("train", "test")]
    y = [values(files[f"{FOLDER}/{part}/y_{part}.txt"])[:, 0] for part in ("train", "test")]
    np.testing.assert_array_equal(loaded.x[:], np.concatenate(x).astype(np.float32))
    np.testing.assert_array_equal(loaded.y, np.concatenate(y).astype(int) - 1)
    assert loaded.x.shape == (20, FEATURES)
    assert loaded.part.tolist() == [0] * 13 + [1] * 7
    assert loaded.class_names == ACTIVITIES
    assert loaded.feature_names[1] == loaded.feature_names[478] == "tBodyAcc-1()"
    assert loaded.info.deviation == "13 of 7,352 training and 7 of 2,947 test rows"


def test_the_form_and_the_order_of_the_files_do_not_matter(tmp_path, monkeypatch):
    files = har_files()
    backwards = dict(reversed(files.items()))
    found = set()
    for place, (put, held) in enumerate([(put, files) for put in FORMS] + [(as_zip, backwards)]):
        folder = tmp_path / str(place)
        folder.mkdir()
        put(folder, held)
        monkeypatch.setenv("TRILEMMA_DATA", str(folder))
        found |= {load(HAR()).info.fingerprint, load(HAR()).info.fingerprint}
    assert len(found) == 1
    as_zip(folder, har_files(seed=1))
    assert load(HAR()).info.fingerprint not in found


def changed(part, of, change):
    """The miniature files, one of them changed."""
    files = har_files()
    name = f"{FOLDER}/{part}/{of}_{part}.txt" if part else f"{FOLDER}/{of}.txt"
    return {**files, name: change(files[name])}


def test_numbers_are_read_as_published(nowhere):
    start = "  2.8858451e-001 -2.0294171e-002  1.0000000e+000  0.0000000e+000"
    as_zip(nowhere, changed("train", "X", lambda text: start + text[len(start) :]))
    expected = np.array([0.28858451, -0.020294171, 1, 0], dtype=np.float32)
    np.testing.assert_array_equal(load(HAR()).x[0][:4], expected)


def test_other_ends_of_lines_are_fine(nowhere):
    as_zip(nowhere, har_files())
    first = load(HAR()).info.fingerprint
    as_zip(nowhere, {name: text.replace("\n", " \r\n") for name, text in har_files().items()})
    assert load(HAR()).info.fingerprint == first


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("put", [as_served, unpacked])
def test_a_file_that_is_not_there_is_named(nowhere, put, name):
    files = har_files()
    del files[f"{FOLDER}/{name}"]
    put(nowhere, files)
    with pytest.raises(BadInput, match=f"lacks {name}"):
        load(HAR())


@pytest.mark.parametrize("name", [INNER, OUTER])
def test_a_zip_of_something_else_lacks_everything(nowhere, name):
    (nowhere / name).write_bytes(zipped({"photo.jpg": b"x"}))
    with pytest.raises(BadInput, match=r"lacks activity_labels.txt, features.txt, train/X"):
        load(HAR())


def test_two_copies_are_refused(nowhere):
    files = har_files()
    unpacked(nowhere / FOLDER, files)
    unpacked(nowhere, files)
    with pytest.raises(BadInput, match="more than once"):
        load(HAR())


def first(new):
    """The first number replaced."""
    return lambda text: number(new) + text[16:]


def cut(text):
    """The last number of the first row taken away."""
    rows = text.splitlines()
    return "\n".join([rows[0][:-16], *rows[1:]])


def narrow(text):
    return "\n".join(row[:-16] for row in text.splitlines())


TRANSITIONS = "".join(f"{place} {name}\n" for place, name in enumerate(ACTIVITIES[::-1], start=1))

DAMAGES = (
    ("train", "X", cut, r"X_train.txt is not a table of numbers \(.*changed from 560 to 561.*\)"),
    ("train", "X", narrow, "X_train.txt has 560 columns, not 561"),
    ("test", "X", lambda text: "word" + text[4:], r"X_test.txt is not a table of numbers \(.*'w"),
    ("test", "X", lambda text: "\xff" + text, "X_test.txt is not a table of numbers"),
    ("test", "X", lambda text: "# " + text, "X_test.txt is not a table of numbers"),
    ("test", "X", lambda text: "", "X_test.txt holds no rows"),
    ("test", "X", lambda text: " \n", "X_test.txt holds no rows"),
    ("train", "X", lambda text: f"{'nan':>16}{text[16:]}", "1 values that are not finite"),
    ("train", "X", lambda text: f"{'-inf':>16}{text[16:]}", "1 values that are not finite"),
    ("train", "X", lambda text: f"{'1e400':>16}{text[16:]}", "1 values that are not finite"),
    ("train", "X", first(-1.5), r"1 values outside \[-1, 1\], up to 1\.5 in size"),
    ("train", "X", first(1.00001), r"1 values outside \[-1, 1\]"),
    ("test", "y", lambda text: "0" + text[1:], "y_test.txt holds 0, not 1 to 6"),
    ("test", "y", lambda text: "7" + text[1:], "y_test.txt holds 7, not 1 to 6"),
    ("test", "y", lambda text: "1.5" + text[1:], "y_test.txt holds 1.5, not 1 to 6"),
    ("test", "y", lambda text: "nan" + text[1:], "y_test.txt holds nan, not 1 to 6"),
    ("test", "y", lambda text: "1 1" + text[1:], "y_test.txt is not a table of numbers"),
    ("test", "y", lambda text: text.replace("\n", " 1\n"), "y_test.txt has 2 columns, not 1"),
    ("test", "y", lambda text: "", "y_test.txt holds no rows"),
    ("test", "y", lambda text: text + "1\n", "6 rows of features, 7 labels and 6 subjects"),
    ("train", "X", lambda text: text + text.splitlines()[0], "13 rows of features, 12 labels"),
    ("train", "subject", lambda text: text[2:], "12 rows of features, 12 labels and 11 subj"),
    ("train", "subject", lambda text: "31" + text[1:], "subject_train.txt holds 31, not 1 to 30"),
    ("", "activity_labels", lambda text: TRANSITIONS, "has the activities LAYING, STANDING"),
    ("", "activity_labels", lambda text: text + "7 SIT\n", "not a list of 6 numbered names"),
    ("", "activity_labels", lambda text: "", "not a list of 6 numbered names"),
    ("", "features", lambda text: text.replace("561 ", "562 "), "not a list of 561 numbered"),
    ("", "features", lambda text: text.replace("1 tBodyAcc-0()", "1", 1), "not a list of 561"),
    ("", "features", lambda text: text[: text.index("\n561")], "not a list of 561 numbered"),
)


@pytest.mark.parametrize(("part", "of", "change", "message"), DAMAGES)
def test_damaged_files_are_refused(nowhere, part, of, change, message):
    as_zip(nowhere, changed(part, of, change))
    with pytest.raises(BadInput, match=message) as error:
        load(HAR())
    assert str(nowhere) in str(error.value)


def test_what_rounding_leaves_outside_comes_to_the_edge(nowhere):
    as_zip(nowhere, changed("train", "X", first(1.0000005)))
    assert load(HAR()).x[0][0] == 1


@pytest.mark.parametrize("put", [as_zip, as_served])
def test_a_cut_zip_is_refused(nowhere, put):
    put(nowhere, har_files())
    (path,) = nowhere.iterdir()
    path.write_bytes(path.read_bytes()[:5_000])
    with pytest.raises(BadInput, match="is damaged"):
        load(HAR())


def test_a_damaged_zip_within_a_zip_is_named(nowhere):
    (nowhere / OUTER).write_bytes(zipped({INNER: zipped(har_files())[:5_000]}))
    with pytest.raises(BadInput, match=f"smartphones.zip: {INNER}: is damaged"):
        load(HAR())


def test_an_encrypted_zip_is_refused(nowhere):
    content = bytearray(zipped(har_files()))
    start = 0
    while (start := content.find(b"PK\1\2", start) + 1) > 0:
        content[start + 7] |= 1  # what a directory's entry says of its file
    (nowhere / INNER).write_bytes(content)
    with pytest.raises(BadInput, match="encrypted"):
        load(HAR())


def test_what_was_downloaded_once_is_checked_by_its_bytes(nowhere):
    folder = places.cache_folder() / "har"
    folder.mkdir(parents=True)
    as_served(folder, har_files())
    with pytest.raises(BadInput, match=r"has the checksum sha256:\w{64} instead of sha256:c00b8"):
        load(HAR())


def test_parts_of_different_people_are_pointed_out(nowhere):
    write_har_like(nowhere)
    assert any("different people (5 and 3)" in note for note in load(HAR()).info.notes)


def test_people_in_both_parts_are_a_deviation(nowhere):
    as_zip(nowhere, changed("test", "subject", lambda text: lines([1] * 3 + [2] * 3)))
    info = load(HAR()).info
    assert "people whose rows are in both official parts: 1" in info.deviation
    assert not any("different people" in note for note in info.notes)


def test_the_papers_split_is_the_official_one(nowhere):
    write_har_like(nowhere, train=30, test=18)
    config = HAR(preset="song")
    parts = split(load(config), config, 0)
    assert sorted(parts.members) == list(range(30))
    assert sorted(parts.nonmembers) == list(range(30, 48))
    assert "Song et al. 2019, section 7.3.1" in parts.report.rule


def test_the_blind_classifier_sees_the_people(nowhere):
    """The official split leaks by itself; a split of all rows does not."""
    write_har_like(nowhere, train=120, test=120)
    loaded = load(HAR())
    found = {}
    for config in (HAR(preset="song"), HAR(pooled=True)):
        parts = split(loaded, config, 0)
        sides = (loaded.x[parts.members], loaded.y[parts.members])
        others = (loaded.x[parts.nonmembers], loaded.y[parts.nonmembers])
        found[config.preset] = blind(*sides, *others, seed=0)["status"]
    assert found == {"song": "warn", None: "pass"}


def test_values_keep_their_scale_unless_another_is_asked_for(nowhere):
    write_har_like(nowhere)
    assert (load(HAR()).x[:].min(), load(HAR()).x[:].max()) == (-1, 1)
    scaled = load(HAR(scaling=UnitRange())).x[:]
    assert (scaled.min(), scaled.max()) == (0, 1)


def test_it_is_listed_and_says_how_to_get_it(nowhere):
    (line,) = (line for line in listing() if line.entry.name == "har")
    assert line.found is None
    assert line.size == 61_005_872
    assert "Downloaded when first used (61 MB); the UCI HAR Dataset.zip within" in line.get
    path = write_har_like(nowhere)
    (line,) = (line for line in listing() if line.entry.name == "har")
    assert (line.found.how, line.size) == ("$TRILEMMA_DATA", path.stat().st_size)


def test_the_files_count_in_the_key(nowhere):
    write_har_like(nowhere)
    digests = [source_digest(HAR()), source_digest(HAR(preset="song"))]
    write_har_like(nowhere, seed=1)
    assert digests[0] == digests[1] != source_digest(HAR())


EXPERIMENT = {
    "name": "har",
    "data": {"kind": "HAR", "preset": "song"},
    "models": {"robust": {"recipe": {"kind": "MLP", "hidden": [16], "epochs": 2}}},
    "attacks": {
        "confidence": {"kind": "Confidence"},
        "adversarial": {
            "kind": "AdversarialConfidence",
            "attack": {"kind": "PGD", "ball": {"kind": "Linf", "radius": 0.05}, "steps": 2},
        },
    },
}


def test_an_experiment_that_declares_the_box_runs(nowhere, tmp_path):
    write_har_like(nowhere)
    document = audit({**EXPERIMENT, "box": {"low": -1, "high": 1}}, Store(tmp_path / "store"))
    assert document["status"] == "complete"
    assert document["provenance"]["data"]["split"]["sizes"] == {"members": 120, "nonmembers": 60}


def test_an_experiment_that_forgets_the_box_is_told(nowhere, tmp_path):
    write_har_like(nowhere)
    said = r"180 of 180 rows lie outside .* \[0.0, 1.0\]: they span \[-1, 1\].* declare the box"
    with pytest.raises(BadInput, match=said):
        audit(EXPERIMENT, Store(tmp_path / "store"))
