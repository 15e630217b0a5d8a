"""From a declared data set to its rows: find or fetch its files, check them, read them."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data import files
from trilemma.data.catalogue import Found, absent, known, locate
from trilemma.data.download import Progress, fetch
from trilemma.data.duplicates import row_hashes
from trilemma.data.entries import Entry
from trilemma.data.loaded import TEST, TRAIN, Info, Loaded, fingerprinted
from trilemma.data.readers import (
    bundled,
    cifar,
    gtsrb,
    halving,
    har,
    idx,
    lfw,
    prepared,
    stl10,
    svhn,
    tables,
    tiny_imagenet,
    yale,
)
from trilemma.data.readers.decoded import Decoded
from trilemma.data.sets import Data, Files, Sampled

Reader: TypeAlias = Callable[[tuple[Path, ...], Any], Decoded]

READERS: Mapping[str, Reader] = {
    "digits": lambda paths, config: bundled.digits(),
    "breast_cancer": lambda paths, config: bundled.breast_cancer(),
    "fashion_idx": lambda paths, config: idx.fashion_mnist(paths),
    "pixel_npz": lambda paths, config: prepared.pixel_npz(paths[0]),
    "jpeg_npz": lambda paths, config: prepared.jpeg_npz(paths[0]),
    "cifar10_binary": lambda paths, config: cifar.binary(paths[0]),
    "cifar10_binary_first4000": lambda paths, config: cifar.first_4000(paths[0]),
    "cifar100_binary": lambda paths, config: cifar.binary_100(paths[0]),
    "svhn_mat": lambda paths, config: svhn.cropped(paths),
    "stl10_binary": lambda paths, config: stl10.binary(paths[0], config.size),
    "gtsrb_npz": lambda paths, config: gtsrb.prepared_npz(paths[0], config.size),
    "gtsrb_archives": lambda paths, config: gtsrb.archives(paths, config.size),
    "tiny_imagenet_npz": lambda paths, config: halving.smaller(
        prepared.jpeg_npz(paths[0]), config.halvings
    ),
    "tiny_imagenet_archive": lambda paths, config: halving.smaller(
        tiny_imagenet.archive(paths[0]), config.halvings
    ),
    "lfw_npz": lambda paths, config: prepared.sorted_npz(paths[0], "file"),
    "lfw_archive": lambda paths, config: lfw.archive(paths[0]),
    "yaleb_npz": lambda paths, config: yale.prepared_npz(
        paths[0], config.full_size, config.halvings
    ),
    "yaleb_archive": lambda paths, config: yale.archive(
        paths[0], config.full_size, config.halvings
    ),
    "security_csv": lambda paths, config: tables.security_csv(paths, config.ENTRY),
    "security_parquet": lambda paths, config: tables.security_parquet(paths[0]),
    "spam_url_csv": lambda paths, config: tables.spam_url_csv(paths[0]),
    "spam_url_parquet": lambda paths, config: tables.spam_url_parquet(paths[0]),
    "churners_csv": lambda paths, config: tables.churners_csv(paths[0]),
    "churners_parquet": lambda paths, config: tables.churners_parquet(paths[0]),
    "insurance_csv": lambda paths, config: tables.insurance_csv(paths[0], config.threshold),
    "insurance_parquet": lambda paths, config: tables.insurance_parquet(paths[0], config.threshold),
    "har_archive": lambda paths, config: har.archive(paths[0]),
}


def load(config: Data, *, progress: Progress | None = None) -> Loaded:
    """Read a declared data set, downloading it first where it is not on this machine.

    Args:
        config: which one, and how its values are brought to a range.
        progress: called with (file, bytes so far, bytes in all or None) while downloading; None =
            a bar on stderr.

    Raises:
        BadInput: not found and not downloadable; a wrong checksum; content that is not what it
            should be; bad values in the user's own files.
        DownloadFailed: the publisher did not deliver.
        MissingExtra: a package that reads this format is not installed.

    Example:
        >>> from trilemma.data import Digits
        >>> loaded = load(Digits())
        >>> loaded.x[:2].shape, loaded.classes
        ((2, 1, 8, 8), 10)
    """
    if isinstance(config, Files):
        return files.read(config)
    found, fetched = _present(known(config.ENTRY), progress)
    _check_files(found)
    reader = found.form.reader if found.form else found.entry.name
    return _described(found, READERS[reader](found.paths, config), config, fetched=fetched)


def source_digest(config: Data, *, progress: Progress | None = None) -> str:
    """What stands for the files of a declared data set in a key, without decoding them.

    Hex blake2b-128 of the names and bytes of what is read, or of the entry's name where the set
    ships with a dependency. What is not on this machine is downloaded first: the digest must be
    the same before and after, and a publisher that does not answer is better known early.

    Args:
        config: which one.
        progress: as in `load`.

    Raises:
        BadInput, DownloadFailed, MissingExtra: as `load` does before it decodes.
    """
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(config, Files):
        paths = tuple(Path(path) for path in config.paths().values())
    else:
        found, _ = _present(known(config.ENTRY), progress)
        if found.form is None:
            digest.update(config.ENTRY.encode())
        paths = found.paths
    for path in paths:
        within = sorted(each for each in path.rglob("*") if each.is_file())
        for each in within if path.is_dir() else [path]:
            digest.update(each.relative_to(path.parent).as_posix().encode())
            digest.update(_file_digest(each, "blake2b"))
    return digest.hexdigest()


def _present(entry: Entry, progress: Progress | None) -> tuple[Found, bool]:
    """Where the data set lies, and whether it had to be downloaded just now."""
    found = locate(entry)
    if found is not None:
        return found, False
    if entry.remotes:
        fetch(entry, progress=progress)
        found = locate(entry)
    if found is None:
        raise absent(entry)
    return found, True


def _check_files(found: Found) -> None:
    """Compare checksums: of prepared files, and of what was once downloaded into the cache."""
    expected = dict.fromkeys(found.paths, "")
    if found.form is not None and found.form.sha256:
        sums = (f"sha256:{each}" for each in found.form.sha256)
        expected = dict(zip(found.paths, sums, strict=True))
    elif found.how == "cache":
        published = {remote.file: remote.checksum for remote in found.entry.remotes}
        expected = {path: published.get(path.name, "") for path in found.paths}
    for path, checksum in expected.items():
        algorithm = checksum.partition(":")[0]
        if (
            checksum
            and (actual := f"{algorithm}:{_file_digest(path, algorithm).hex()}") != checksum
        ):
            problem = f"has the checksum {actual} instead of {checksum}"
            raise BadInput(str(path), problem, "Take it away and fetch it again")


def _file_digest(path: Path, algorithm: str) -> bytes:
    try:
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, algorithm).digest()
    except OSError as error:
        raise BadInput(str(path), f"cannot be read ({error.strerror})", "Check the path") from None


def _described(found: Found, decoded: Decoded, config: Sampled, *, fetched: bool) -> Loaded:
    """A reader's result with its origin, its departures, and its columns scaled."""
    departures = [
        text for text in (_missing(found, decoded), _other_content(found, decoded)) if text
    ]
    if departures and fetched:
        problem = f"what was downloaded is not the published data set ({departures[0]})"
        raise BadInput(found.entry.name, problem, f"Delete {found.paths[0].parent} and try again")
    deviation = "; ".join(
        dict.fromkeys(text for text in (found.deviation, decoded.deviation, *departures) if text)
    )
    stored, notes = decoded.stored, decoded.notes
    scaling = getattr(config, "scaling", None)
    if scaling is not None:
        stored, notes = scaling(stored), (*notes, scaling.note())
    info = Info(
        name=found.entry.name,
        title=found.entry.title,
        source=found.entry.source,
        licence=found.entry.licence,
        read=found.read,
        deviation=deviation,
        notes=notes,
    )
    return fingerprinted(
        Loaded(
            stored=stored,
            divisor=decoded.divisor,
            y=decoded.y,
            class_names=decoded.class_names,
            info=info,
            part=decoded.part,
            feature_names=decoded.feature_names,
        )
    )


def _missing(found: Found, decoded: Decoded) -> str:
    """Which official rows are not there, unless the found form's deviation says so already."""
    train, test = found.entry.rows
    if found.form is not None and found.form.deviation and found.form.sha256:
        return ""
    if decoded.part is None:
        held = len(decoded.y)
        return "" if held == train + test else f"{held:,} of {train + test:,} rows"
    held_train = int((decoded.part == TRAIN).sum())
    held_test = int((decoded.part == TEST).sum())
    if (held_train, held_test) == (train, test):
        return ""
    return f"{held_train:,} of {train:,} training and {held_test:,} of {test:,} test rows"


def _other_content(found: Found, decoded: Decoded) -> str:
    expected = found.entry.content
    if not expected or _missing(found, decoded) or content(decoded) == expected:
        return ""
    return "the values are not those of the canonical release"


def content(decoded: Decoded) -> str:
    """Hex blake2b-128 of the rows with labels and official parts, whatever their order."""
    flat = decoded.stored.reshape(len(decoded.y), -1)
    part = decoded.part if decoded.part is not None else np.zeros(len(decoded.y), dtype=np.int8)
    marks: NDArray[np.int64] = np.stack([decoded.y, part.astype(np.int64)], axis=1)
    both = np.stack([row_hashes(flat), row_hashes(marks)], axis=1)
    return hashlib.blake2b(np.sort(row_hashes(both)).tobytes(), digest_size=16).hexdigest()
