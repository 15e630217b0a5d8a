"""Tiny ImageNet as published: JPEG files below `train/` and `val/`, labels in text files."""

from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data.readers.archives import walk
from trilemma.data.readers.decoded import Decoded, parts
from trilemma.data.readers.pictures import opened


def archive(path: Path) -> Decoded:
    """`tiny-imagenet-200.zip` or its folder; the official validation part is the test part.

    The official test part has no labels and is not read.
    """
    texts = {
        PurePosixPath(name).name: content.decode()
        for name, content in walk(
            path, lambda name: name.endswith(".txt") and "/train/" not in name
        )
    }
    for needed in ("wnids.txt", "words.txt", "val_annotations.txt"):
        if needed not in texts:
            raise BadInput(str(path), f"lacks {needed}", "Fetch it again")
    wnids = sorted(texts["wnids.txt"].split())
    label = {wnid: number for number, wnid in enumerate(wnids)}
    words = dict(line.split("\t", 1) for line in texts["words.txt"].splitlines() if "\t" in line)
    validation = {
        line.split("\t")[0]: line.split("\t")[1]
        for line in texts["val_annotations.txt"].splitlines()
        if line
    }
    images: dict[str, dict[str, tuple[NDArray[np.uint8], int]]] = {"train": {}, "val": {}}
    for name, content in walk(path, _is_image):
        part = "train" if "/train/" in name else "val"
        short = PurePosixPath(name).name
        wnid = short.split("_")[0] if part == "train" else validation.get(short, "")
        if wnid not in label:
            raise BadInput(str(path), f"{name} has no label", "Fetch it again")
        pixels = np.asarray(opened(content, mode="RGB", name=name), dtype=np.uint8)
        images[part][name] = (pixels, label[wnid])
    if not (images["train"] and images["val"]):
        raise BadInput(str(path), "holds no images below train/ or val/", "Fetch it again")
    ordered = [images[part][name] for part in ("train", "val") for name in sorted(images[part])]
    stored = np.empty((len(ordered), 3, *ordered[0][0].shape[:2]), dtype=np.uint8)
    for row, (pixels, _) in enumerate(ordered):
        stored[row] = pixels.transpose(2, 0, 1)
    return Decoded(
        stored=stored,
        y=np.array([each for _, each in ordered], dtype=np.int64),
        class_names=tuple(words.get(wnid, wnid) for wnid in wnids),
        part=parts(len(images["train"]), len(images["val"])),
    )


def _is_image(name: str) -> bool:
    return name.endswith((".JPEG", ".jpg")) and ("/train/" in name or "/val/" in name)
