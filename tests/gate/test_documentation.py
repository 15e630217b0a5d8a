"""What the pages say exists: commands, options, files, experiments, the reference's rooms."""

import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import trilemma
from trilemma.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(?:\{[\w-]+\} )?(\w+)\n(?::caption: [^\n]*\n\n)?(.*?)^```", re.M | re.S)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
ROOMS = (
    "metrics",
    "attacks.evasion",
    "attacks.membership",
    "oracles",
    "models",
    "training",
    "data",
)


def blocks(text: str, *languages: str) -> list[str]:
    """The fenced blocks in these languages."""
    return [body for language, body in BLOCK.findall(text) if language in languages]


def commands(text: str) -> list[list[str]]:
    """Each call of trilemma in the text's shell blocks, as words."""
    found = []
    for block in blocks(text, "sh", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            stop = next((i for i, word in enumerate(words) if word in ("&&", "||", ">")), None)
            if words[:1] == ["trilemma"]:
                found.append(words[1:stop])
    return found


def refusal(words: list[str]) -> str:
    """What the command line says against these words; nothing is run."""
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        if words[0] not in command.commands:
            return f"no command {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    try:
        command.make_context("trilemma", list(words))
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


CALLS = [(page, words) for page in PAGES for words in commands(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    ("page", "words"), CALLS, ids=[f"{page.name}: {' '.join(words)[:60]}" for page, words in CALLS]
)
def test_each_command_of_the_pages_is_one(page: Path, words: list[str]) -> None:
    assert not refusal(words)


@pytest.mark.parametrize(
    ("words", "why"), [(["audit", "--predictoins", "x.npz"], "--predictoins"), (["adit"], "adit")]
)
def test_a_command_that_is_none_is_refused(words: list[str], why: str) -> None:
    assert why in refusal(words)


def test_the_pages_do_call_it() -> None:
    assert {words[0] for _, words in CALLS} >= {"audit", "data", "claims", "schema"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.parent.name == "docs"], ids=lambda p: p.name
)
def test_experiments_decode(page: Path) -> None:
    from trilemma.experiments.specs import experiment

    for block in blocks(page.read_text(encoding="utf-8"), "yaml"):
        experiment(yaml.safe_load(block))


@pytest.mark.parametrize("room", ROOMS)
def test_the_reference_shows_each_public_name(room: str) -> None:
    module = importlib.import_module(f"trilemma.{room}")
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert f".. automodule:: trilemma.{room}\n" in page
    assert all(hasattr(module, name) for name in module.__all__)


def test_the_readme_shows_ten_lines_at_most() -> None:
    (example,) = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 10


def test_the_version_is_one() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == trilemma.__version__
    assert len(cited["references"]) == 4


def test_pins_cover_what_is_installed() -> None:
    """What the gate runs on is what constraints.txt says, so that two machines agree."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    installed = {
        each["name"].lower().replace("_", "-"): each["version"].split("+")[0]
        for each in json.loads(listing)
    }
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if "==" in line)
    differ = {
        name: (pin, installed[name])
        for name, pin in pins.items()
        if name in installed and installed[name] != pin and name != "pip"
    }
    assert not differ
    assert pins["torch"] == "2.13.0"
