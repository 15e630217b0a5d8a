"""The steps of CONTRIBUTING, followed in a copy of the project."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(python|diff|yaml)\n(?:# (\S+)\n)?(.*?)^```", re.M | re.S)


def apply(diff: str, text: str) -> str:
    """The text with the lines of a diff changed, wherever their context stands.

    Raises:
        ValueError: the context does not stand there exactly once.
    """
    lines = diff.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] in " -")
    new = "".join(line[1:] for line in lines if line[0] in " +")
    if text.count(old) != 1:
        raise ValueError(f"stands {text.count(old)} times:\n{old}")
    return text.replace(old, new)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the example attack in it."""
    root = tmp_path_factory.mktemp("contributed")
    for folder in ("src", "tests/attacks"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / file, root)
    for language, name, body in BLOCK.findall(TEXT):
        if language == "yaml":
            (root / "margin.yaml").write_text(body, encoding="utf-8")
        elif language == "python":
            assert not (root / name).exists()
            (root / name).write_text(body, encoding="utf-8")
        else:
            path = root / name
            path.write_text(apply(body, path.read_text(encoding="utf-8")), encoding="utf-8")
    return root


def call(copy: Path, *words: str) -> str:
    """Run a Python module in the copy; what it prints."""
    run = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.parametrize("check", [("ruff", "format", "--check"), ("ruff", "check")])
def test_the_example_passes_the_lint(copy: Path, check: tuple[str, ...]) -> None:
    call(copy, *check, "src/trilemma/attacks", "tests/attacks")


def test_the_example_passes_its_tests_and_the_laws(copy: Path) -> None:
    tests = ["tests/attacks/test_margin.py", "tests/attacks/test_membership_signals.py"]
    told = call(copy, "pytest", "-q", "-p", "no:cacheprovider", "-k", "margin or Margin", *tests)
    assert len(re.findall(r"passed", told)) == 1


def test_the_law_suite_notices_a_method_without_an_example(copy: Path, tmp_path: Path) -> None:
    suite = Path("tests", "attacks", "test_membership_signals.py")
    before = (copy / suite).read_text(encoding="utf-8")
    (copy / suite).write_text(before.replace("    Margin: Margin(),\n", ""), encoding="utf-8")
    try:
        with pytest.raises(AssertionError, match="Margin"):
            call(copy, "pytest", "-q", "-p", "no:cacheprovider", str(suite))
    finally:
        (copy / suite).write_text(before, encoding="utf-8")


def test_an_experiment_may_name_it(copy: Path) -> None:
    document = json.loads(call(copy, "trilemma", "audit", "margin.yaml", "--json", "-"))
    assert 0 <= document["models"]["natural"]["membership"]["margin"]["auc"]["value"] <= 1
    assert document["methods"]["margin"]["title"] == (
        "Lead of the true label over its strongest rival"
    )


def test_a_diff_without_its_context_is_refused() -> None:
    assert apply(" a\n+b\n", "a\nc\n") == "a\nb\nc\n"
    assert apply("-a\n+b\n", "a\nc\n") == "b\nc\n"
    with pytest.raises(ValueError, match="0 times"):
        apply(" x\n+b\n", "a\nc\n")
