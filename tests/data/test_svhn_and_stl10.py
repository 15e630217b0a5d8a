"""SVHN's cropped digits and STL-10's labelled images as published, in miniature."""

import io
import struct
import tarfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix

from trilemma.core.errors import BadInput
from trilemma.data import STL10, SVHN, load, places
from trilemma.data.catalogue import known, locate

RNG = np.random.default_rng(0)
TRAIN, TEST = "train_32x32.mat", "test_32x32.mat"
FOLDER = "stl10_binary"
NAMES = b"airplane\nbird\ncar\ncat\ndeer\ndog\nhorse\nmonkey\nship\ntruck\n"
UNREAD = b"\x07" * 3


def noise(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def asymmetric(side):
    """One image (rows, columns, channels) that no turn, flip or exchange of axes leaves alone.

    Red is bright in the first row, green in the last column, blue in one pixel of the third row.
    """
    image = np.zeros((side, side, 3), dtype=np.uint8)
    image[0, :, 0] = 200
    image[:, -1, 1] = 100
    image[2, 5, 2] = 50
    return image


def seen(loaded):
    """Where the picture of `asymmetric` is bright: rows and columns of each channel."""
    return [np.argwhere(channel).tolist() for channel in loaded.stored[0]]


def bright(side):
    return [
        [[0, column] for column in range(side)],
        [[row, side - 1] for row in range(side)],
        [[2, 5]],
    ]


def column(*labels):
    return np.array(labels, dtype=np.uint8)[:, None]


def svhn(folder, *, compressed=True, **changed):
    """Both files; `changed` replaces variables of the training file, None takes one out."""
    train = {"X": noise(32, 32, 3, 4), "y": column(10, 1, 9, 3)} | changed
    train = {name: value for name, value in train.items() if value is not None}
    test = {"X": noise(32, 32, 3, 3), "y": column(2, 10, 5)}
    savemat(folder / TRAIN, train, do_compression=compressed)
    savemat(folder / TEST, test, do_compression=compressed)
    return train, test


@pytest.mark.parametrize("compressed", [True, False])
def test_the_cropped_digits_of_svhn(nowhere, compressed):
    train, test = svhn(nowhere, compressed=compressed, unknown=np.ones(3))
    loaded = load(SVHN())
    assert loaded.x.shape == (7, 3, 32, 32)
    assert loaded.y.tolist() == [0, 1, 9, 3, 2, 0, 5]
    assert loaded.y.dtype == np.int64
    assert loaded.part.tolist() == [0] * 4 + [1] * 3
    assert loaded.class_names == tuple("0123456789")
    for row in range(7):
        pixels = train["X"][..., row] if row < 4 else test["X"][..., row - 4]
        np.testing.assert_array_equal(loaded.stored[row], np.moveaxis(pixels, 2, 0))
    np.testing.assert_array_equal(loaded.x[:], loaded.stored.astype(np.float32) / np.float32(255))
    assert loaded.info.deviation == "4 of 73,257 training and 3 of 26,032 test rows"


def test_an_image_of_svhn_stands_upright(nowhere):
    svhn(nowhere, X=np.stack([asymmetric(32), noise(32, 32, 3)], axis=3), y=column(1, 2))
    assert seen(load(SVHN())) == bright(32)


def element(kind, content):
    """A tagged piece of a MATLAB file, filled up to eight bytes."""
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matlab(**variables):
    """A MATLAB 5 file written by hand from its description, values in the order they are given."""
    content = b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + struct.pack("<H", 0x0100) + b"IM"
    for name, (sides, values) in variables.items():
        flags = element(6, struct.pack("<II", 9, 0))  # an array of unsigned bytes
        shape = element(5, struct.pack(f"<{len(sides)}i", *sides))
        content += element(
            14, flags + shape + element(1, name.encode()) + element(2, bytes(values))
        )
    return content


def test_rows_run_fastest_in_a_matlab_file(nowhere):
    images = [asymmetric(32), noise(32, 32, 3)]
    values = b"".join(
        bytes(image[:, place, channel])
        for image in images
        for channel in range(3)
        for place in range(32)
    )
    content = matlab(X=((32, 32, 3, 2), values), y=((2, 1), [10, 4]))
    for name in (TRAIN, TEST):
        (nowhere / name).write_bytes(content)
    loaded = load(SVHN())
    assert seen(loaded) == bright(32)
    assert loaded.y.tolist() == [0, 4, 0, 4]
    np.testing.assert_array_equal(loaded.stored[1], images[1].transpose(2, 0, 1))


def test_labels_of_svhn_may_be_numbers_of_any_kind(nowhere):
    svhn(nowhere, y=column(10, 1, 9, 3).astype(np.float64))
    assert load(SVHN()).y[:4].tolist() == [0, 1, 9, 3]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"X": None}, "lacks the variable X"),
        ({"y": None}, "lacks the variable y"),
        ({"X": None, "y": None, "z": 1}, "lacks the variable X and y"),
        ({"X": np.zeros((32, 32, 3, 4))}, "X holds float64, not bytes"),
        ({"X": np.zeros((32, 32, 3, 4), dtype=np.int8)}, "X holds int8, not bytes"),
        ({"X": np.array([["cell"]], dtype=object)}, "X holds object, not bytes"),
        ({"X": noise(32, 32, 4)}, r"X has the shape \(32, 32, 4\) instead of"),
        ({"X": noise(32, 32, 4, 3)}, r"X has the shape \(32, 32, 4, 3\) instead of"),
        ({"X": noise(4, 32, 32, 3)}, r"X has the shape \(4, 32, 32, 3\) instead of"),
        ({"X": noise(32, 32, 3, 0)}, r"X has the shape \(32, 32, 3, 0\) instead of"),
        ({"y": "text"}, "y holds <U4, not numbers"),
        ({"y": csc_matrix(column(1, 2, 3, 4))}, r"y holds csc_\w+, not numbers"),
        ({"y": column(1, 2, 3)}, r"holds 4 images, and y has the shape \(3, 1\)"),
        ({"y": column(1, 2, 3, 4, 5)}, r"holds 4 images, and y has the shape \(5, 1\)"),
        ({"y": np.ones((4, 2), dtype=np.uint8)}, r"y has the shape \(4, 2\)"),
        ({"y": column(1, 0, 2, 3)}, "has the label 0 where 1 to 10 are allowed"),
        ({"y": column(1, 11, 2, 3)}, "has the label 11 where 1 to 10 are allowed"),
        ({"y": column(1, 2, 3, 4) + 0.5}, r"has the label 1\.5 where 1 to 10 are allowed"),
        ({"y": column(1, 2, 3, 4) * np.nan}, "has the label nan where 1 to 10 are allowed"),
    ],
)
def test_damaged_svhn_is_refused(nowhere, changed, message):
    svhn(nowhere, **changed)
    with pytest.raises(BadInput, match=message) as error:
        load(SVHN())
    assert TRAIN in str(error.value)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kept", [0, 100, 130, 150, 2_000, -1_000, -1])
def test_a_cut_file_of_svhn_is_refused(nowhere, kept, compressed):
    svhn(nowhere, compressed=compressed)
    path = nowhere / TEST
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BadInput, match=TEST):
        load(SVHN())


@pytest.mark.parametrize("content", [b"<html>not found</html>" * 100, b"\x89HDF\r\n\x1a\n" * 100])
def test_what_is_no_matlab_file_is_refused(nowhere, content):
    svhn(nowhere)
    (nowhere / TRAIN).write_bytes(content)
    with pytest.raises(BadInput, match="is not a whole MATLAB file of version 5"):
        load(SVHN())


def test_one_file_of_svhn_is_not_the_set(nowhere):
    svhn(nowhere)
    assert locate(known("svhn")).paths == (nowhere / TRAIN, nowhere / TEST)
    (nowhere / TEST).unlink()
    assert locate(known("svhn")) is None


def columns(images):
    """Images (n, rows, columns, channels) in the order of STL-10's files, byte by byte."""
    return b"".join(
        bytes(image[:, place, channel])
        for image in images
        for channel in range(3)
        for place in range(96)
    )


def stl10(**changed):
    """Pixels and the files; `changed` replaces a file's content, None takes it out."""
    images = [asymmetric(96), *noise(4, 96, 96, 3)]
    files = {
        "test_X.bin": columns(images[3:]),
        "test_y.bin": bytes([10, 1]),
        "train_X.bin": columns(images[:3]),
        "train_y.bin": bytes([1, 10, 4]),
        "class_names.txt": NAMES,
        "fold_indices.txt": b"0 1\n",
        "unlabeled_X.bin": UNREAD,
    }
    files |= {name.replace("__", "."): content for name, content in changed.items()}
    return images, {name: content for name, content in files.items() if content is not None}


def write(folder, files, *, packed):
    if not packed:
        (folder / FOLDER).mkdir()
        for name, content in files.items():
            (folder / FOLDER / name).write_bytes(content)
        return
    with tarfile.open(folder / f"{FOLDER}.tar.gz", "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{FOLDER}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("packed", [True, False])
def test_the_binary_version_of_stl10(nowhere, packed):
    images, files = stl10()
    write(nowhere, files, packed=packed)
    loaded = load(STL10())
    np.testing.assert_array_equal(loaded.stored, np.stack(images).transpose(0, 3, 1, 2))
    assert seen(loaded) == bright(96)
    assert loaded.y.tolist() == [0, 9, 3, 9, 0]
    assert loaded.y.dtype == np.int64
    assert loaded.part.tolist() == [0] * 3 + [1] * 2
    assert loaded.class_names == tuple(NAMES.decode().split())
    assert loaded.info.deviation == "3 of 5,000 training and 2 of 8,000 test rows"
    assert loaded.info.notes == ()


def test_the_order_of_files_in_the_archive_does_not_matter(nowhere):
    images, files = stl10()
    write(nowhere, dict(sorted(files.items(), reverse=True)), packed=True)
    np.testing.assert_array_equal(load(STL10()).stored[4], images[4].transpose(2, 0, 1))


@pytest.mark.parametrize("size", [8, 32, 64])
def test_resized_images_of_stl10_stand_upright(nowhere, size):
    images, files = stl10()
    write(nowhere, files, packed=False)
    loaded = load(STL10(size=size))
    assert loaded.x.shape == (5, 3, size, size)
    for row, image in enumerate(images):
        expected = Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(loaded.stored[row].transpose(1, 2, 0), np.asarray(expected))
    red, green, _ = loaded.stored[0].astype(float)
    assert red[0].mean() > 10 > red[2:].mean()
    assert green[:, -1].mean() > 5 > green[:, :-2].mean()
    assert loaded.info.notes == (f"96x96 images resized to {size}x{size} (Lanczos)",)
    assert loaded.y.tolist() == [0, 9, 3, 9, 0]


def test_a_plain_image_keeps_its_colour_at_any_size(nowhere):
    plain = np.broadcast_to(np.array([10, 20, 30], dtype=np.uint8), (3, 96, 96, 3))
    write(nowhere, stl10(train_X__bin=columns(plain))[1], packed=False)
    small = load(STL10(size=32)).stored[0]
    np.testing.assert_array_equal(small.reshape(3, -1), np.tile([[10], [20], [30]], (1, 1_024)))


@pytest.mark.parametrize("size", [0, 7, True])
def test_sizes_below_8_are_refused(size):
    with pytest.raises(BadInput, match="size"):
        STL10(size=size)


RECORD = 3 * 96 * 96


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_X__bin": None}, "lacks train_X.bin"),
        ({"test_y__bin": None, "test_X__bin": None}, "lacks test_X.bin, test_y.bin"),
        ({"class_names__txt": None}, "lacks class_names.txt"),
        ({"class_names__txt": b""}, "class_names.txt holds nothing instead of airplane, bird"),
        ({"class_names__txt": NAMES[::-1]}, "class_names.txt holds kcurt, "),
        ({"class_names__txt": NAMES + b"boat\n"}, "truck, boat instead of"),
        ({"train_X__bin": b""}, "train_X.bin holds 0 bytes, which is no number of 96x96"),
        ({"train_X__bin": bytes(3 * RECORD - 1)}, "train_X.bin holds 82,943 bytes"),
        ({"test_X__bin": bytes(2 * RECORD + 1)}, "test_X.bin holds 55,297 bytes"),
        ({"train_X__bin": bytes(2 * RECORD)}, "train holds 2 images for 3 labels"),
        ({"test_y__bin": bytes([1, 2, 3])}, "test holds 2 images for 3 labels"),
        ({"test_y__bin": b""}, "test holds 2 images for 0 labels"),
        ({"train_y__bin": bytes([1, 0, 2])}, "train_y.bin holds the label 0 where 1 to 10 are"),
        ({"test_y__bin": bytes([1, 11])}, "test_y.bin holds the label 11 where 1 to 10 are"),
    ],
)
def test_damaged_stl10_is_refused(nowhere, changed, message, packed):
    write(nowhere, stl10(**changed)[1], packed=packed)
    with pytest.raises(BadInput, match=message) as error:
        load(STL10())
    assert FOLDER in str(error.value)


@pytest.mark.parametrize("kept", [0, 5_000, 100_000])
def test_a_cut_archive_of_stl10_is_refused(nowhere, kept):
    write(nowhere, stl10()[1], packed=True)
    path = nowhere / f"{FOLDER}.tar.gz"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BadInput, match=r"stl10_binary\.tar\.gz: is damaged"):
        load(STL10())


def test_the_unlabelled_images_behind_the_last_needed_file_are_not_looked_at(nowhere):
    _, files = stl10(unlabeled_X__bin=bytes(noise(300_000)))
    write(nowhere, files, packed=True)
    path = nowhere / f"{FOLDER}.tar.gz"
    whole = load(STL10()).stored
    path.write_bytes(path.read_bytes()[:-200_000])
    np.testing.assert_array_equal(load(STL10()).stored, whole)


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(
    ("config", "files", "found"),
    [(SVHN(), (TRAIN, TEST), "md5:e26dedc"), (STL10(), (f"{FOLDER}.tar.gz",), "md5:91f7769")],
)
def test_downloaded_files_must_have_the_published_checksums(config, files, found):
    folder = places.cache_folder() / config.ENTRY
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).write_bytes(b"flipped")
    with pytest.raises(BadInput, match=rf"has the checksum md5:\w{{32}} instead of {found}"):
        load(config)
