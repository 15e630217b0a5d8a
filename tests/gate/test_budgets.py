"""Budgets: how long a file, a function and a class may be, and how much is said twice."""

import ast
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE, FUNCTION, CLASS = 400, 60, 150  # lines; a function's and a class's docstring not counted
WINDOW, REPEATED = 6, 0.05  # lines; share of windows that stand more than once
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".cff", ".sh", ".txt", ".html", ".css", ".js", ""}
MACHINE = re.compile(r"(?<![\w./~$}-])/(?:work|root|home|Users|opt|mnt)/\w")


def files() -> list[Path]:
    """Every file of the project: tracked, or new and not ignored."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def python(*folders: str) -> dict[str, str]:
    """The Python files below the folders: name -> text."""
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for path in files()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders
    }


def length(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """Lines from `def` or `class` to the end, without the docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node) is None:
        return lines
    docstring = node.body[0]
    return lines - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def too_long(name: str, text: str) -> Iterator[str]:
    """What is over its budget, one sentence each."""
    lines = len(text.splitlines())
    if lines > FILE:
        yield f"{name}: {lines} lines, at most {FILE}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            budget = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
            if (size := length(node)) > budget:
                yield f"{name}:{node.lineno} {node.name}: {size} lines, at most {budget}"


def windows(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Each run of WINDOW lines and where it starts; blank lines, comments and imports left out."""
    imports: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = [
        (number, line.strip())
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#") and number not in imports
    ]
    for start in range(len(lines) - WINDOW + 1):
        run = lines[start : start + WINDOW]
        yield run[0][0], tuple(line for _, line in run)


def repeated(sources: Mapping[str, str]) -> tuple[float, list[str]]:
    """Share of the windows that stand more than once, and where the most frequent do."""
    places: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, text in sources.items():
        for number, window in windows(text):
            places[window].append(f"{name}:{number}")
    total = sum(map(len, places.values()))
    twice = [spots for spots in places.values() if len(spots) > 1]
    worst = [" = ".join(spots) for spots in sorted(twice, key=len, reverse=True)]
    return sum(map(len, twice)) / max(total, 1), worst


def machine_paths(lines: Iterable[str]) -> list[str]:
    """The lines that carry a path of somebody's machine."""
    return [line.strip() for line in lines if MACHINE.search(line)]


def test_nothing_is_too_long() -> None:
    sources = python("src", "tests", "docs", "conftest.py")
    over = [each for name, text in sources.items() for each in too_long(name, text)]
    assert not over, "\n".join(over)


@pytest.mark.parametrize("folder", ["src", "tests"])
def test_little_is_said_twice(folder: str) -> None:
    share, worst = repeated(python(folder))
    assert share <= REPEATED, f"{share:.1%} of the windows stand twice:\n" + "\n".join(worst[:20])


def test_no_file_names_a_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line[:120]}"
        for path in files()
        if path.suffix in TEXT and path != Path(__file__)
        for line in machine_paths(path.read_text(encoding="utf-8").splitlines())
    ]
    assert not found, "\n".join(found)


def test_each_module_has_a_docstring() -> None:
    bare = [
        name
        for name, text in python("src").items()
        if text.strip() and ast.get_docstring(ast.parse(text)) is None
    ]
    assert not bare, bare


# The measures themselves.


def _function(lines: int, doc: int = 0) -> str:
    quoted = ['    """' + "d\n" * (doc - 1) + '    """'] if doc else []
    return "\n".join(["def f():", *quoted, *["    x = 1"] * (lines - 1)]) + "\n"


def test_a_function_of_the_budget_passes_and_one_line_more_does_not() -> None:
    assert not list(too_long("a.py", _function(FUNCTION)))
    assert list(too_long("a.py", _function(FUNCTION + 1))) == [
        f"a.py:1 f: {FUNCTION + 1} lines, at most {FUNCTION}"
    ]


def test_a_docstring_costs_nothing() -> None:
    assert not list(too_long("a.py", _function(FUNCTION, doc=30)))
    assert list(too_long("a.py", _function(FUNCTION + 1, doc=30)))


def test_a_long_file_and_a_long_class_are_found() -> None:
    text = "class C:\n" + "    x = 1\n" * FILE
    over = list(too_long("a.py", text))
    assert over == [
        f"a.py: {FILE + 1} lines, at most {FILE}",
        f"a.py:1 C: {FILE + 1} lines, at most {CLASS}",
    ]


def test_what_is_copied_counts_and_what_differs_does_not() -> None:
    block = "".join(f"x{i} = {i}\n" for i in range(WINDOW))
    other = "".join(f"y{i} = {i}\n" for i in range(WINDOW))
    assert repeated({"a.py": block, "b.py": other}) == (0.0, [])
    assert repeated({"a.py": block, "b.py": "\n# why\n" + block}) == (1.0, ["a.py:1 = b.py:3"])
    assert Counter(repeated({"a.py": block + other, "b.py": block})[1]) == {"a.py:1 = b.py:1": 1}


def test_imports_may_repeat() -> None:
    names = "from a import (\n" + "".join(f"    n{i},\n" for i in range(8)) + ")\n"
    assert repeated({"a.py": names, "b.py": names}) == (0.0, [])


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("data = '/home/ann/data'", True),
        ("see /Users/ann/x", True),
        ("/usr/share/datasets/fashion-mnist", False),
        ("https://example.org/home/page", False),
        ("../work/x and ~/home/x", False),
    ],
)
def test_paths_of_a_machine_are_told_from_others(line: str, found: bool) -> None:
    assert bool(machine_paths([line])) is found
