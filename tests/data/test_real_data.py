"""The prepared files and the sets that ship with a dependency: counts, checksums, presets."""

import hashlib

import numpy as np
import pytest

from trilemma.data import (
    CIFAR10,
    GTSRB,
    HAR,
    LFW19,
    BankChurners,
    BreastCancer,
    CIFAR10First4000,
    Cryptojacker,
    Digits,
    FashionMNIST,
    Insurance,
    Raw,
    SocialHoneypot,
    TinyImageNet,
    TwitterSpamURL,
    YaleB,
    load,
    source_digest,
    split,
)
from trilemma.data.catalogue import known, listing, locate

SMALL = (  # class, rows, official (training, test), rows that repeat an earlier one
    (Digits(), 1_797, None, 0),
    (BreastCancer(scaling=Raw()), 569, None, 0),
    (CIFAR10First4000(), 4_000, None, 0),
    (GTSRB(), 21_230, (8_600, 12_630), None),
    (LFW19(), 1_867, None, 0),
    (YaleB(), 2_414, None, 0),
    (Cryptojacker(scaling=Raw()), 4_000, (2_800, 1_200), None),
    (SocialHoneypot(scaling=Raw()), 40_000, (36_000, 4_000), None),
    (TwitterSpamURL(scaling=Raw()), 63_401, None, 63_401 - 16_391),
    (BankChurners(scaling=Raw()), 10_127, None, 0),
    (Insurance(scaling=Raw()), 1_338, None, None),
)


OPTIONAL = ("fashion_mnist", "cifar100", "svhn", "stl10", "har")  # which need not be here


def ident(value):
    return type(value).__name__


@pytest.mark.parametrize(("config", "rows", "parts", "repeated"), SMALL, ids=ident)
def test_the_prepared_files_hold_what_their_entries_say(data_folder, config, rows, parts, repeated):
    loaded = load(config)
    entry = known(config.ENTRY)
    assert len(loaded) == rows
    assert loaded.classes == entry.classes
    assert loaded.x.shape[1:] == entry.shape
    assert np.unique(loaded.y).tolist() == list(range(entry.classes))
    assert loaded.y.dtype == np.int64
    held = None if loaded.part is None else tuple(np.bincount(loaded.part).tolist())
    assert held == parts
    sample = loaded.x[: min(100, rows)]
    assert sample.dtype == np.float32
    assert np.isfinite(sample).all()
    if len(entry.shape) == 3:
        assert sample.min() >= 0
        assert 0.5 < sample.max() <= 1
    if repeated is not None:
        assert rows - len(np.unique(loaded.row_hashes)) == repeated
    assert loaded.info.licence
    assert len(loaded.info.fingerprint) == 32


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (GTSRB(), "8,600 of the 39,209 training images"),
        (LFW19(), "150x150"),
        (YaleB(), "box average"),
        (TwitterSpamURL(), "only the official test file"),
        (Insurance(), "not the 3,630-row table"),
    ],
    ids=ident,
)
@pytest.mark.usefixtures("data_folder")
def test_departures_from_the_canonical_release_travel_along(config, word):
    assert word in load(config).info.deviation


@pytest.mark.parametrize("config", [Cryptojacker(), SocialHoneypot()], ids=ident)
@pytest.mark.usefixtures("data_folder")
def test_tables_whose_values_are_the_canonical_ones_depart_in_nothing(config):
    assert load(config).info.deviation == ""


def test_the_security_tables_repeat_what_is_known_of_them(data_folder):
    loaded = load(Cryptojacker(scaling=Raw()))
    train, test = (loaded.row_hashes[loaded.part == part] for part in (0, 1))
    assert len(train) - len(np.unique(train)) == 806
    assert np.isin(test, train).sum() == 313
    assert np.bincount(loaded.y[loaded.part == 0]).tolist() == [1_408, 1_392]
    loaded = load(SocialHoneypot(scaling=Raw()))
    train, test = (loaded.row_hashes[loaded.part == part] for part in (0, 1))
    assert len(train) - len(np.unique(train)) == 15
    assert np.isin(test, train).sum() == 2


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        (YaleB(preset="song"), (1_900, 514, 0, 0)),
        (LFW19(preset="li_zhang_m0"), (350, 100, 1_417, 0)),
        (LFW19(preset="li_zhang_m5"), (100, 100, 1_417, 0)),
        (GTSRB(preset="li_zhang_m2"), (400, 500, 7_500, 0)),
        (Cryptojacker(preset="qin"), (2_800, 1_150, 0, 50)),
        (SocialHoneypot(preset="qin", drop_duplicates=True), (27_986, 11_944, 0, 50)),
        (BankChurners(preset="qin"), (7_088, 2_988, 0, 50)),
        (Insurance(preset="qin"), (937, 351, 0, 50)),
        (TwitterSpamURL(preset="qin", drop_duplicates=True), (11_474, 4_867, 0, 50)),
    ],
    ids=ident,
)
@pytest.mark.usefixtures("data_folder")
def test_presets_give_the_published_sizes_or_say_what_is_less(config, sizes):
    loaded = load(config)
    parts = split(loaded, config, 0)
    names = ("members", "nonmembers", "shadow", "auxiliary")
    assert tuple(len(getattr(parts, name)) for name in names) == sizes
    published = config.published().sizes
    shrunk = any(
        getattr(published, name) not in (None, size)
        for name, size in zip(names, sizes, strict=True)
    )
    if config.published().per_class is None:
        assert shrunk == any("instead of" in note for note in parts.report.notes)
    if config.preset == "qin":
        assert len(parts.partial_seed) == 50
        assert np.isin(parts.partial_seed, parts.members).all()


def test_yale_members_are_fifty_images_of_each_of_38_people(data_folder):
    loaded = load(YaleB())
    parts = split(loaded, YaleB(preset="song"), 0)
    assert np.bincount(loaded.y[parts.members]).tolist() == [50] * 38
    assert len(np.unique(loaded.row_hashes)) == 2_414


def test_fashion_mnist_has_the_official_pixels(data_folder):
    if locate(known("fashion_mnist")) is None:
        pytest.skip("missing data: install dataset-fashion-mnist")
    loaded = load(FashionMNIST())
    assert loaded.info.deviation == ""
    assert loaded.x.shape == (70_000, 1, 28, 28)
    digest = hashlib.sha256(b"\0\0\x08\x03\0\0\x27\x10\0\0\0\x1c\0\0\0\x1c")
    digest.update(loaded.stored[60_000:].tobytes())
    assert digest.hexdigest() == "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    assert np.bincount(loaded.y[:60_000]).tolist() == [6_000] * 10
    config = FashionMNIST(members=2_000, nonmembers=2_000)
    parts = split(loaded, config, 0)
    assert np.bincount(loaded.y[parts.members]).tolist() == [200] * 10
    assert parts.members.max() < 60_000 <= parts.nonmembers.min()


def test_har_has_the_published_counts(data_folder):
    if locate(known("har")) is None:
        pytest.skip("missing data: put UCI HAR Dataset.zip into the folder of the data")
    loaded = load(HAR(preset="song"))
    assert loaded.info.deviation == ""
    assert np.bincount(loaded.y[:7_352]).tolist() == [1_226, 1_073, 986, 1_286, 1_374, 1_407]
    assert np.bincount(loaded.y[7_352:]).tolist() == [496, 471, 420, 491, 532, 537]
    assert any("different people (21 and 9)" in note for note in loaded.info.notes)
    parts = split(loaded, HAR(preset="song"), 0)
    assert (len(parts.members), len(parts.nonmembers)) == (7_352, 2_947)


@pytest.mark.slow
@pytest.mark.usefixtures("data_folder")
def test_cifar10_decodes_to_the_recorded_pixels_and_splits_as_published():
    loaded = load(CIFAR10())
    assert "re-encoded as JPEG" in loaded.info.deviation
    assert "decodes other" not in loaded.info.deviation
    assert np.bincount(loaded.part).tolist() == [50_000, 10_000]
    lossless = load(CIFAR10First4000())
    np.testing.assert_array_equal(lossless.y, loaded.y[:4_000])
    error = np.abs(lossless.x[:] - loaded.x[:4_000]).mean() * 255
    assert 5.7 < error < 5.9
    sizes = {
        "song": (50_000, 10_000, 0, 0),
        "li": (50_000, 5_000, 0, 5_000),
        "song_1000_per_class": (10_000, 10_000, 0, 0),
        "li_zhang_m0": (3_000, 1_000, 46_000, 0),
        "li_zhang_m5": (100, 1_000, 46_000, 0),
    }
    for preset, expected in sizes.items():
        parts = split(loaded, CIFAR10(preset=preset), 0)
        names = ("members", "nonmembers", "shadow", "auxiliary")
        assert tuple(len(getattr(parts, name)) for name in names) == expected
        if preset == "song_1000_per_class":
            assert np.bincount(loaded.y[parts.members]).tolist() == [1_000] * 10
    parts = split(loaded, CIFAR10(preset="li", victim_training_rows=1_000), 0)
    assert len(parts.victim_training_rows) == 1_000
    assert sum(parts.report.duplicates.across.values()) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("data_folder")
def test_tiny_imagenet_decodes_to_the_recorded_pixels():
    loaded = load(TinyImageNet())
    assert "decodes other" not in loaded.info.deviation
    assert np.bincount(loaded.part).tolist() == [20_000, 5_000]
    assert np.bincount(loaded.y[:20_000]).tolist() == [100] * 200


@pytest.mark.usefixtures("data_folder")
def test_the_listing_finds_every_set():
    for line in listing():
        if line.entry.name not in OPTIONAL:
            assert line.found is not None, line.entry.name
            assert line.get == ""


@pytest.mark.usefixtures("data_folder")
def test_source_digests_tell_sets_apart():
    configs = [config for config, *_ in SMALL]
    digests = {source_digest(config) for config in configs}
    assert len(digests) == len(configs)
