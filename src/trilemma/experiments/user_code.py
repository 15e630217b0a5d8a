"""Where a user's model code lies and what it is, without importing it. No torch."""

import ast
import hashlib
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path

from trilemma.core.errors import BadInput

FORM = "Write package.module:factory, e.g. my_models.resnet:build"
MARK = "__trilemma_source__"  # where a module was imported from, and what stood there


def parse(spec: str) -> tuple[str, str]:
    """Module and attribute of `package.module:factory`.

    Raises:
        BadInput: it is not of this form.

    Example:
        >>> parse("models.faces:build")
        ('models.faces', 'build')
    """
    module, colon, attribute = spec.strip().partition(":")
    if module.endswith(".py") or "/" in module or "\\" in module:
        as_module = ".".join(Path(module.replace("\\", "/")).with_suffix("").parts).strip("/.")
        raise BadInput(
            f"model {spec!r}", "names a file", f"Write {as_module}:{attribute or 'factory'}"
        )
    if not colon:
        raise BadInput(f"model {spec!r}", "has no colon", FORM)
    if not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        raise BadInput(f"model {spec!r}", "is no module and attribute", FORM)
    return module, attribute


def user_model_fingerprint(spec: str, weights: Path | None) -> str:
    """A digest that changes when a user's model may have changed.

    Covers the factory's source file, every module that it imports, directly or not, from outside
    the standard library and the installed packages, and the bytes of the weights. Imports written
    as a string (`importlib`) are not seen. Nothing is imported, so no torch either.

    Args:
        spec: `package.module:factory`; the working directory is looked in first.
        weights: a file, or None.

    Returns:
        BLAKE2b-128 in hexadecimal.

    Raises:
        BadInput: no such module, or the weights cannot be read.
    """
    module, attribute = parse(spec)
    with working_directory_importable():
        sources = _sources(module)
    if module not in sources:
        raise no_such_module(spec, module)
    whole = hashlib.blake2b(attribute.encode(), digest_size=16)
    for name, path in sorted(sources.items()):
        whole.update(name.encode() + b"\0" + _digest(path))
    if weights is not None:
        whole.update(b"weights\0" + _digest(weights))
    return whole.hexdigest()


def no_such_module(spec: str, module: str) -> BadInput:
    """The error for a module that is neither here nor installed."""
    return BadInput(
        f"model {spec!r}",
        f"there is no module {module!r} in {Path.cwd()} or among the installed packages",
        "Run trilemma from the folder that holds it, or install the package",
    )


@contextmanager
def working_directory_importable() -> Iterator[None]:
    """Put the working directory first on the import path, and take it off again."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(here)


@contextmanager
def as_on_disk(module: str) -> Iterator[None]:
    """What is imported of a user's code inside is what lies on disk now, not an older version.

    Covers the modules that `user_model_fingerprint` covers. Where one of them was imported before
    from another file or from other content, or by somebody else, all of them are imported anew,
    since they hold on to each other; objects of the older ones stay as they are. Modules that did
    not change are not run again. Not covered: trilemma itself, and packages with compiled parts,
    which a process can load only once.

    Args:
        module: name of the factory's module.
    """
    present = {
        name: f"{path}:{_digest(path).hex()}" for name, path in _reimportable(_sources(module))
    }
    loaded = {name: sys.modules[name] for name in present if name in sys.modules}
    if any(_own(each, MARK) != present[name] for name, each in loaded.items()):
        for name in loaded:
            del sys.modules[name]
    yield
    for name, mark in present.items():
        if name in sys.modules:
            setattr(sys.modules[name], MARK, mark)


def _reimportable(sources: dict[str, Path]) -> list[tuple[str, Path]]:
    """Those of the sources that are the user's own and may be imported a second time."""
    compiled = {
        name.partition(".")[0]
        for name, module in tuple(sys.modules.items())
        if str(_own(module, "__file__")).endswith(tuple(EXTENSION_SUFFIXES))
    }
    fixed = compiled | {__name__.partition(".")[0], "__main__"}
    return [
        (name, path)
        for name, path in sources.items()
        if path.suffix == ".py" and _is_users(path) and name.partition(".")[0] not in fixed
    ]


def _own(module: object, attribute: str) -> object:
    """The attribute as it stands: some modules import others when they are asked for one."""
    return getattr(module, "__dict__", {}).get(attribute)


def _sources(module: str) -> dict[str, Path]:
    """Source files by module name: of the module, and of what it imports from the user's code."""
    found: dict[str, Path] = {}
    waiting = [(module, True)]
    while waiting:
        name, always = waiting.pop()
        spec = None if name in found else _find(name)
        if spec is None or spec.origin is None:
            continue
        path = Path(spec.origin)
        if not path.is_file() or not (always or _is_users(path)):
            continue
        found[name] = path
        parent = name.rpartition(".")[0]
        package = parent if spec.submodule_search_locations is None else name
        if parent:
            waiting.append((parent, False))  # its __init__ runs first
        if path.suffix == ".py":
            waiting += [(imported, False) for imported in _imports(path, package)]
    return found


def _find(name: str) -> ModuleSpec | None:
    """The module's spec; unlike importlib.util.find_spec this does not import its parents."""
    path: list[str] | None = None
    spec = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        so_far = ".".join(parts[:depth])
        spec = next((each for each in _ask_finders(so_far, path)), None)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    return spec


def _ask_finders(name: str, path: list[str] | None) -> Iterator[ModuleSpec]:
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, path)
        except (ImportError, AttributeError, KeyError, ValueError):
            continue
        if spec is not None:
            yield spec


def _imports(path: Path, package: str) -> Iterator[str]:
    """Modules that a file may import; names that are none are found nowhere later."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):  # loading it will say what is wrong
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            try:
                base = importlib.util.resolve_name(relative, package or None)
            except ImportError:
                continue
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def _is_users(path: Path) -> bool:
    return not any(path.is_relative_to(folder) for folder in _foreign())


@cache
def _foreign() -> tuple[Path, ...]:
    """Folders of the standard library and of installed packages."""
    paths = sysconfig.get_paths()
    folders = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= set(site.getsitepackages()) | {site.getusersitepackages()}
    return tuple(Path(folder) for folder in folders)


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
    except OSError as error:
        raise BadInput(
            str(path), f"cannot be read ({error.strerror or error})", "Give a readable file"
        ) from None
