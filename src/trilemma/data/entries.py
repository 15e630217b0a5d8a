"""What the catalogue says of a data set, as plain values."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file as its publisher serves it.

    Args:
        file: the name under which it is kept.
        urls: addresses, tried in order.
        checksum: `md5:...` or `sha256:...`; empty where none is published, in which case the
            decoded content is checked instead.
        size: bytes, for people; 0 if unknown.
    """

    file: str
    urls: tuple[str, ...]
    checksum: str = ""
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class Form:
    """One shape in which a data set may lie on disk.

    Args:
        reader: key of the reader in `trilemma.data.loading.READERS`.
        files: names below a searched folder, all needed; each may be given with alternatives
            separated by `|` (an archive or the folder that it unpacks to).
        deviation: how this form differs from the canonical release; empty if it does not.
        sha256: checksum of each file where it is known, else empty.
        refused: why this form is not read, and what to do; empty for forms that are read.
    """

    reader: str
    files: tuple[str, ...]
    deviation: str = ""
    sha256: tuple[str, ...] = ()
    refused: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A data set.

    Args:
        name: as `trilemma data list` shows it.
        kind: the class that declares it in an experiment (`data: {kind: ...}`).
        title: for people.
        classes: number of classes.
        shape: of one row.
        rows: (training, test) rows of the official parts; (all, 0) where there is no such split.
        source: canonical address.
        licence: as far as it is known.
        forms: on disk, preferred first; empty for what ships with a dependency.
        remotes: what to download when nothing is found; empty where it cannot be fetched.
        how_to_get: a sentence for whoever has to fetch it by hand.
        ships_with: distribution that contains it; empty if none.
        deviation: how every form differs from the canonical release; empty if it does not.
        content: `loading.content` of the canonical values; empty where it is not known.
    """

    name: str
    kind: str
    title: str
    classes: int
    shape: tuple[int, ...]
    rows: tuple[int, int]
    source: str
    licence: str
    forms: tuple[Form, ...] = ()
    remotes: tuple[Remote, ...] = ()
    how_to_get: str = ""
    ships_with: str = ""
    deviation: str = ""
    content: str = ""
