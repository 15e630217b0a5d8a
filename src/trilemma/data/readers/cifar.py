"""The binary version of CIFAR-10: records of a label byte and 3,072 pixel bytes."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data.readers.archives import walk
from trilemma.data.readers.decoded import Decoded, parts

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
RECORD = 1 + 3 * 32 * 32
TRAINING = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = "test_batch.bin"


def binary(path: Path) -> Decoded:
    """`cifar-10-binary.tar.gz` or its folder: five training batches, then the test batch."""
    wanted = {*TRAINING, TEST}
    batches = {
        PurePosixPath(name).name: _records(path, name, content)
        for name, content in walk(path, lambda name: PurePosixPath(name).name in wanted)
    }
    if missing := sorted(wanted - set(batches)):
        raise BadInput(str(path), f"lacks {', '.join(missing)}", "Fetch the binary version again")
    records = np.concatenate([batches[name] for name in (*TRAINING, TEST)])
    held = len(records) - len(batches[TEST])
    return Decoded(
        stored=np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32),
        y=records[:, 0].astype(np.int64),
        class_names=CLASSES,
        part=parts(held, len(batches[TEST])),
    )


def first_4000(path: Path) -> Decoded:
    """The first 4,000 training images of the binary version."""
    whole = binary(path)
    return replace(whole, stored=whole.stored[:4_000], y=whole.y[:4_000], part=None)


def _records(path: Path, name: str, content: bytes) -> NDArray[np.uint8]:
    values = np.frombuffer(content, dtype=np.uint8)
    if len(values) % RECORD or (values[::RECORD] >= len(CLASSES)).any():
        problem = f"{name} is not made of {RECORD}-byte records with labels below {len(CLASSES)}"
        raise BadInput(str(path), problem, "Fetch the binary version again")
    return values.reshape(-1, RECORD)
