"""Image sets in the form their publishers give them, built here in miniature."""

import gzip
import io
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from cifar100_like import FOLDER, cifar100_files
from PIL import Image

from trilemma.core.errors import BadInput
from trilemma.data import (
    CIFAR10,
    CIFAR100,
    GTSRB,
    LFW19,
    CIFAR10First4000,
    FashionMNIST,
    TinyImageNet,
    YaleB,
    load,
)
from trilemma.data.readers.halving import halved

RNG = np.random.default_rng(0)


def encoded(pixels, kind):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def noise(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def tarred(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def unpacked(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


FASHION = {
    "train-images-idx3-ubyte": noise(6, 28, 28),
    "train-labels-idx1-ubyte": np.arange(6, dtype=np.uint8),
    "t10k-images-idx3-ubyte": noise(4, 28, 28),
    "t10k-labels-idx1-ubyte": np.arange(4, dtype=np.uint8),
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_mnist_idx_files(nowhere, suffix):
    for name, array in FASHION.items():
        content = idx(array)
        (nowhere / (name + suffix)).write_bytes(gzip.compress(content) if suffix else content)
    loaded = load(FashionMNIST())
    expected = np.concatenate(
        [FASHION["train-images-idx3-ubyte"], FASHION["t10k-images-idx3-ubyte"]]
    )
    np.testing.assert_array_equal(loaded.x[:], expected[:, None].astype(np.float32) / 255)
    assert loaded.y.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    assert loaded.part.tolist() == [0] * 6 + [1] * 4
    assert loaded.info.deviation == "6 of 60,000 training and 4 of 10,000 test rows"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(idx(FASHION["train-images-idx3-ubyte"]))[:-20], "is not a whole gzip file"),
        (b"not gzip", "is not a whole gzip file"),
        (gzip.compress(b"\0\0\x0d\x01"), "is not an idx file of unsigned bytes"),
        (gzip.compress(idx(noise(6, 28, 28))[:-1]), "bytes where its header says 4720"),
        (gzip.compress(idx(noise(5, 28, 28))), "holds 5 images for 6 labels"),
    ],
)
def test_damaged_idx_files_are_refused(nowhere, content, message):
    for name, array in FASHION.items():
        (nowhere / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    (nowhere / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(BadInput) as error:
        load(FashionMNIST())
    assert message in str(error.value)
    assert "train-images-idx3-ubyte.gz" in str(error.value)


def cifar_files(rows=3):
    pixels = {
        name: noise(rows, 3, 32, 32)
        for name in (*[f"data_batch_{n}" for n in range(1, 6)], "test_batch")
    }
    labels = {name: RNG.integers(0, 10, rows, dtype=np.uint8) for name in pixels}
    files = {
        f"cifar-10-batches-bin/{name}.bin": np.concatenate(
            [labels[name][:, None], pixels[name].reshape(rows, -1)], axis=1
        ).tobytes()
        for name in pixels
    }
    files["cifar-10-batches-bin/batches.meta.txt"] = b"airplane\n"
    return pixels, labels, files


@pytest.mark.parametrize("pack", [tarred, None])
def test_the_binary_version_of_cifar10(nowhere, pack):
    pixels, labels, files = cifar_files()
    if pack:
        shuffled = dict(sorted(files.items(), reverse=True))
        pack(nowhere / "cifar-10-binary.tar.gz", shuffled)
    else:
        unpacked(nowhere, files)
    loaded = load(CIFAR10())
    expected = np.concatenate(list(pixels.values())).astype(np.float32) / 255
    np.testing.assert_array_equal(loaded.x[:], expected)
    np.testing.assert_array_equal(loaded.y, np.concatenate(list(labels.values())))
    assert loaded.part.tolist() == [0] * 15 + [1] * 3
    first = load(CIFAR10First4000())
    np.testing.assert_array_equal(first.y, loaded.y[:4_000])
    assert first.part is None


def test_binary_beside_pickles_is_read(nowhere):
    unpacked(nowhere, cifar_files()[2])
    (nowhere / "cifar-10-python.tar.gz").touch()
    assert len(load(CIFAR10())) == 18


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data_batch_2.bin", None, "lacks data_batch_2.bin"),
        ("data_batch_2.bin", b"\0" * 3072, "is not made of 3073-byte records"),
        ("data_batch_2.bin", b"\x0a" + b"\0" * 3072, "with labels below 10"),
    ],
)
def test_damaged_cifar_is_refused(nowhere, name, content, message):
    files = cifar_files()[2]
    del files[f"cifar-10-batches-bin/{name}"]
    if content:
        files[f"cifar-10-batches-bin/{name}"] = content
    tarred(nowhere / "cifar-10-binary.tar.gz", files)
    with pytest.raises(BadInput, match=message):
        load(CIFAR10())


def test_a_cut_archive_is_refused(nowhere):
    path = nowhere / "cifar-10-binary.tar.gz"
    tarred(path, cifar_files()[2])
    path.write_bytes(path.read_bytes()[:5_000])
    with pytest.raises(BadInput, match="is damaged"):
        load(CIFAR10())


@pytest.mark.parametrize("pack", [tarred, None])
def test_the_class_of_cifar100_is_the_fine_label(nowhere, pack):
    pixels, fine = noise(8, 3, 32, 32), np.array([99, 0, 41, 7, 99, 20, 19, 0])
    files = cifar100_files(pixels, fine, test=3)
    if pack:
        pack(nowhere / "cifar-100-binary.tar.gz", dict(sorted(files.items())))
    else:
        unpacked(nowhere, files)
    loaded = load(CIFAR100())
    np.testing.assert_array_equal(loaded.x[:], pixels.astype(np.float32) / 255)
    np.testing.assert_array_equal(loaded.y, fine)
    assert loaded.part.tolist() == [0] * 5 + [1] * 3
    assert loaded.class_names[:2] == ("class_000", "class_001")
    assert loaded.classes == 100
    assert loaded.info.deviation == "5 of 50,000 training and 3 of 10,000 test rows"


def test_each_cifar_is_read_from_its_own_files(nowhere):
    unpacked(nowhere, cifar_files()[2])
    unpacked(nowhere, cifar100_files(noise(4, 3, 32, 32), np.arange(4), test=2))
    (nowhere / "cifar-100-python.tar.gz").touch()
    assert len(load(CIFAR10())) == 18
    assert len(load(CIFAR100())) == 4


PIXELS = b"\0" * 3072


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test.bin", None, "lacks test.bin"),
        ("fine_label_names.txt", None, "lacks fine_label_names.txt"),
        ("fine_label_names.txt", b"apple\n" * 100, "holds 1 names instead of 100"),
        ("train.bin", b"\0" + PIXELS, "train.bin is not made of 3074-byte records"),
        ("train.bin", b"\x13\x64" + PIXELS, "with labels below 20 and 100"),
        ("test.bin", b"\x14\x63" + PIXELS, "test.bin .* with labels below 20 and 100"),
    ],
)
def test_damaged_cifar100_is_refused(nowhere, name, content, message):
    files = cifar100_files(noise(4, 3, 32, 32), np.arange(4), test=2)
    del files[f"{FOLDER}/{name}"]
    if content:
        files[f"{FOLDER}/{name}"] = content
    tarred(nowhere / "cifar-100-binary.tar.gz", files)
    with pytest.raises(BadInput, match=message):
        load(CIFAR100())


def test_the_largest_labels_of_cifar100_are_read(nowhere):
    files = cifar100_files(noise(4, 3, 32, 32), np.arange(4), test=2)
    files[f"{FOLDER}/train.bin"] = b"\x13\x63" + PIXELS
    unpacked(nowhere, files)
    assert load(CIFAR100()).y[0] == 99


CSV_HEADER = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n"


def gtsrb(sign):
    """Two training folders, three test images: a plain sign in a frame of noise."""
    frame = noise(30, 20, 3)
    frame[5:25, 4:16] = sign
    ppm = encoded(frame, "PPM")
    row = ";20;30;4;5;15;24;"
    training = {
        "GTSRB/Final_Training/Images/00000/00000_00000.ppm": ppm,
        "GTSRB/Final_Training/Images/00000/GT-00000.csv": f"{CSV_HEADER}00000_00000.ppm{row}0\n",
        "GTSRB/Final_Training/Images/00017/00000_00000.ppm": ppm,
        "GTSRB/Final_Training/Images/00017/GT-00017.csv": f"{CSV_HEADER}00000_00000.ppm{row}17\n",
    }
    names = [f"{number:05d}.ppm" for number in range(3)]
    test = {f"GTSRB/Final_Test/Images/{name}": ppm for name in names}
    test["GTSRB/Final_Test/Images/GT-final_test.test.csv"] = "Filename;Width;Height\n"
    labels = CSV_HEADER + "".join(f"{name}{row}{5 + n}\n" for n, name in enumerate(names))
    return training, test, {"GT-final_test.csv": labels}


def write_gtsrb(folder, parts):
    names = ("GTSRB_Final_Training_Images", "GTSRB_Final_Test_Images", "GTSRB_Final_Test_GT")
    for name, files in zip(names, parts, strict=True):
        zipped(folder / f"{name}.zip", files)


def test_the_official_gtsrb_archives(nowhere):
    write_gtsrb(nowhere, gtsrb((10, 20, 30)))
    loaded = load(GTSRB(size=16))
    assert loaded.x.shape == (5, 3, 16, 16)
    assert loaded.y.tolist() == [0, 17, 5, 6, 7]
    assert loaded.part.tolist() == [0, 0, 1, 1, 1]
    expected = np.array([10, 20, 30], dtype=np.float32)[:, None, None] / np.float32(255)
    np.testing.assert_array_equal(loaded.x[0], np.broadcast_to(expected, (3, 16, 16)))
    assert loaded.classes == 43


def test_unpacked_gtsrb_is_the_same(nowhere):
    for files in gtsrb((1, 2, 3)):
        unpacked(nowhere, files)
    assert load(GTSRB()).y.tolist() == [0, 17, 5, 6, 7]


def test_gtsrb_images_without_labels_are_refused(nowhere):
    training, test, labels = gtsrb((1, 2, 3))
    test["GTSRB/Final_Test/Images/00099.ppm"] = test["GTSRB/Final_Test/Images/00000.ppm"]
    write_gtsrb(nowhere, (training, test, labels))
    with pytest.raises(BadInput, match=r"00099.ppm has no label"):
        load(GTSRB())


def tiny_imagenet(nowhere):
    """An archive of three images; the colours of its first and third."""
    grey, colour = noise(64, 64), noise(64, 64, 3)
    root = "tiny-imagenet-200/"
    files = {
        f"{root}wnids.txt": "n02\nn01\n",
        f"{root}words.txt": "n01\tgoldfish\nn02\tsalamander\nn03\tother\n",
        f"{root}train/n01/n01_boxes.txt": "n01_0.JPEG\t0\t10\t63\t58\n",
        f"{root}train/n01/images/n01_0.JPEG": encoded(colour, "JPEG"),
        f"{root}train/n02/images/n02_0.JPEG": encoded(grey, "JPEG"),
        f"{root}val/val_annotations.txt": "val_0.JPEG\tn02\t0\t32\t44\t62\n",
        f"{root}val/images/val_0.JPEG": encoded(colour, "JPEG"),
        f"{root}test/images/test_0.JPEG": encoded(colour, "JPEG"),
    }
    zipped(nowhere / "tiny-imagenet-200.zip", files)
    decoded = np.asarray(Image.open(io.BytesIO(encoded(colour, "JPEG"))))
    return decoded.transpose(2, 0, 1)


def test_the_tiny_imagenet_archive(nowhere):
    colours = tiny_imagenet(nowhere)
    loaded = load(TinyImageNet())
    assert loaded.x.shape == (3, 3, 64, 64)
    assert loaded.y.tolist() == [0, 1, 1]
    assert loaded.part.tolist() == [0, 0, 1]
    assert loaded.class_names == ("goldfish", "salamander")
    np.testing.assert_array_equal(loaded.x[0], colours.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("halvings", [1, 2, 3])
def test_tiny_imagenet_at_half_its_size(nowhere, halvings):
    colours = tiny_imagenet(nowhere)
    small = load(TinyImageNet(halvings=halvings))
    side, block = 64 >> halvings, 1 << halvings
    assert small.x.shape == (3, 3, side, side)
    means = colours.reshape(3, side, block, side, block).mean(axis=(2, 4))
    for row in (0, 2):
        np.testing.assert_allclose(small.stored[row], means, atol=0.5 * halvings)  # each rounds
    if halvings == 1:
        np.testing.assert_array_equal(small.stored[0], np.floor(means + 0.5))
    assert small.info.notes[-1].endswith(f"{2 * side}x{2 * side} images halved by box average")
    assert len(small.info.notes) == len(load(TinyImageNet()).info.notes) + halvings
    assert small.y.tolist() == [0, 1, 1]


def test_lfw_keeps_people_with_more_than_forty_images(nowhere):
    image = np.zeros((250, 250, 3), dtype=np.uint8)
    image[62:187, 62:187] = (200, 100, 50)
    content = encoded(image, "PNG")  # the reader does not care about the kind
    files = {
        f"lfw_funneled/{person}/{person}_{number:04d}.jpg": content
        for person, count in (("Zoe", 42), ("Ann", 41), ("Bob", 40))
        for number in range(1, count + 1)
    }
    tarred(nowhere / "lfw-funneled.tgz", files)
    loaded = load(LFW19())
    assert loaded.class_names == ("Ann", "Zoe")
    assert np.bincount(loaded.y).tolist() == [41, 42]
    assert loaded.x.shape[1:] == (3, 64, 64)
    face = loaded.x[0][:, 1:-1, 1:-1] * 255
    np.testing.assert_allclose(face, np.broadcast_to([[[200]], [[100]], [[50]]], face.shape))


def test_the_cropped_yale_archive(nowhere):
    pixels = {name: noise(192, 168) for name in ("A+000E+00", "A+000E+20")}
    files = {}
    for person in ("yaleB11", "yaleB02"):
        for name, image in pixels.items():
            files[f"CroppedYale/{person}/{person}_P00{name}.pgm"] = encoded(image, "PPM")
        files[f"CroppedYale/{person}/{person}_P00_Ambient.pgm"] = encoded(noise(480, 640), "PPM")
        files[f"CroppedYale/{person}/{person}_P00A+070E+45.pgm.bad"] = b"bad"
        files[f"CroppedYale/{person}/{person}_P00.info"] = b"text"
    zipped(nowhere / "CroppedYale.zip", files)
    loaded = load(YaleB())
    assert loaded.class_names == ("yaleB02", "yaleB11")
    assert loaded.y.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(loaded.stored[0, 0], halved(pixels["A+000E+00"]))
    full = load(YaleB(full_size=True))
    np.testing.assert_array_equal(full.stored[1, 0], pixels["A+000E+20"])
    small = load(YaleB(halvings=1))
    np.testing.assert_array_equal(small.stored[1, 0], halved(halved(pixels["A+000E+20"])))
    assert "96x84 images halved by box average" in small.info.notes


def test_halving_is_the_mean_of_each_block():
    pixels = noise(6, 8)
    expected = pixels.reshape(3, 2, 4, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(halved(pixels), expected, atol=0.5)


def test_a_broken_image_in_an_archive_is_named(nowhere):
    files = {"CroppedYale/yaleB01/yaleB01_P00A+000E+00.pgm": b"P5 not an image"}
    zipped(nowhere / "CroppedYale.zip", files)
    with pytest.raises(BadInput, match=r"yaleB01_P00A\+000E\+00.pgm: is not an image"):
        load(YaleB())


@pytest.mark.parametrize("data", [YaleB, TinyImageNet])
@pytest.mark.parametrize("halvings", [-1, 4])
def test_too_many_halvings_are_refused(data, halvings):
    with pytest.raises(BadInput, match="halvings"):
        data(halvings=halvings)
