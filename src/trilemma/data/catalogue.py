"""Which data sets there are, and which of them lie on this machine. Nothing heavy is imported."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from trilemma.core.errors import BadInput
from trilemma.data.entries import Entry, Form
from trilemma.data.known import CATALOGUE
from trilemma.data.places import cache_folder, searched


@dataclass(frozen=True, kw_only=True)
class Found:
    """A data set on this machine.

    Args:
        entry: which one.
        form: the shape it has on disk; None where it ships with a dependency.
        paths: its files or folders, in the order of `form.files`.
        how: where it was found, for people.
    """

    entry: Entry
    form: Form | None
    paths: tuple[Path, ...]
    how: str

    @property
    def deviation(self) -> str:
        """How what was found differs from the canonical release; empty if it does not."""
        parts = (self.entry.deviation, self.form.deviation if self.form else "")
        return "; ".join(part for part in parts if part)

    @property
    def read(self) -> str:
        """Names of the files, or of the distribution that contains the set."""
        return ", ".join(path.name for path in self.paths) or self.entry.ships_with


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A line of `trilemma data list`.

    Args:
        entry: the data set.
        found: where it is; None if it is not on this machine.
        size: bytes on disk if it is there, else bytes to download, 0 if unknown.
        get: how to get it; empty if it is there.
    """

    entry: Entry
    found: Found | None
    size: int
    get: str


def known(name: str) -> Entry:
    """The entry of that name.

    Raises:
        BadInput: there is none; the message lists those there are.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    close = difflib.get_close_matches(name, CATALOGUE, n=1)
    guess = f"Did you mean {close[0]}? " if close else ""
    raise BadInput("data set", f"{name!r} is not known", f"{guess}Known: {', '.join(CATALOGUE)}")


def locate(entry: Entry) -> Found | None:
    """Where the data set lies: `$TRILEMMA_DATA`, the cache, a package's folder; None if nowhere.

    Raises:
        BadInput: all that was found is a form that trilemma refuses to read (pickles).
    """
    found, refusal = _search(entry)
    if found is None and refusal is not None:
        raise refusal
    return found


def listing() -> tuple[Listed, ...]:
    """Every known data set: whether it is here, from where, its size, or how to get it."""
    return tuple(_line(entry) for entry in CATALOGUE.values())


def absent(entry: Entry) -> BadInput:
    """The error for a data set that is nowhere and cannot be downloaded."""
    places = ", ".join(str(folder) for _, folder in searched(entry.name))
    return BadInput(entry.name, f"was not found in {places}", how_to_get(entry))


def how_to_get(entry: Entry) -> str:
    """A sentence for whoever misses the data set."""
    if entry.ships_with:
        return f"It comes with {entry.ships_with}: pip install 'trilemma[torch]'"
    first = [name.split("|")[0] for name in entry.forms[0].files]
    wanted = " and ".join([remote.file for remote in entry.remotes] or first)
    by_hand = f"put {wanted} from {entry.source} into the folder that $TRILEMMA_DATA names"
    if not entry.remotes:
        return entry.how_to_get or by_hand[0].upper() + by_hand[1:]
    size = sum(remote.size for remote in entry.remotes)
    fetched = f"Downloaded when first used{f' ({size / 1e6:,.0f} MB)' if size else ''}"
    return "; ".join(text for text in (fetched, entry.how_to_get) if text) + f"; or {by_hand}"


def _line(entry: Entry) -> Listed:
    found, refusal = _search(entry)
    if found is not None:
        return Listed(entry=entry, found=found, size=sum(map(_size, found.paths)), get="")
    size = sum(remote.size for remote in entry.remotes)
    get = str(refusal) if refusal is not None else how_to_get(entry)
    return Listed(entry=entry, found=None, size=size, get=get)


def _search(entry: Entry) -> tuple[Found | None, BadInput | None]:
    if entry.ships_with:
        return Found(entry=entry, form=None, paths=(), how=f"ships with {entry.ships_with}"), None
    refusal = None
    for how, folder in searched(entry.name):
        for form in entry.forms:
            paths = _matches(folder, entry.name, form)
            if paths is None:
                continue
            if form.refused:
                refusal = refusal or BadInput(str(paths[0]), form.refused)
                continue
            return Found(entry=entry, form=form, paths=paths, how=how), None
    return None, refusal


def _matches(folder: Path, name: str, form: Form) -> tuple[Path, ...] | None:
    """The form's files in the folder, or in its subfolder of the entry's name; all or none."""
    for place in (folder, folder / name):
        paths = [
            next((place / each for each in wanted.split("|") if (place / each).exists()), None)
            for wanted in form.files
        ]
        present = tuple(path for path in paths if path is not None)
        if len(present) == len(form.files):
            return present
    return None


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def download_folder(entry: Entry) -> Path:
    """Where the data set's files are kept when they are downloaded."""
    return cache_folder() / entry.name
