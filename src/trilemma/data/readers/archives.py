"""One way to walk a zip, a tar or the folder that it unpacks to."""

import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trilemma.core.errors import BadInput

_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    OSError,
    RuntimeError,  # a zip that is encrypted, or compressed in a way that Python does not know
)


def walk(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """The name (with `/`) and content of each wanted file; nothing is unpacked to disk.

    Files of a folder come in sorted order, those of an archive in its own.

    Args:
        path: a `.zip`, a tar of any compression, a folder, or a single plain file.
        wanted: of a name below the archive or folder.

    Raises:
        BadInput: the archive is damaged.
    """
    if path.is_dir():
        for each in sorted(path.rglob("*")):
            name = each.relative_to(path.parent).as_posix()
            if each.is_file() and wanted(name):
                yield name, each.read_bytes()
        return
    with _whole(str(path)):
        if path.suffix == ".zip":
            yield from _zip(path, wanted)
        elif ".tar" in path.name or path.suffix == ".tgz":
            yield from _tar(path, wanted)
        elif wanted(path.name):
            yield path.name, path.read_bytes()


def walk_inner(
    path: Path, name: str, content: bytes, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    """As `walk`, of a zip that lies in an archive or folder.

    Args:
        path: the archive or folder.
        name: of the zip in it.
        content: of the zip.
        wanted: of a name in the zip.

    Raises:
        BadInput: the zip is damaged.
    """
    with _whole(f"{path}: {name}"):
        yield from _zip(io.BytesIO(content), wanted)


@contextmanager
def _whole(what: str) -> Iterator[None]:
    """What the libraries say of a damaged or encrypted archive, in our words."""
    try:
        yield
    except _DAMAGED as error:
        raise BadInput(what, f"is damaged ({error})", "Fetch it again") from None


def _zip(archived: Path | io.BytesIO, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archived) as archive:
        for info in archive.infolist():
            if not info.is_dir() and wanted(info.filename):
                yield info.filename, archive.read(info)


def _tar(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            if member.isfile() and wanted(member.name):
                opened = archive.extractfile(member)
                if opened is not None:
                    yield member.name, opened.read()
