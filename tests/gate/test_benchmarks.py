"""The benchmarks are run by hand; that they still fit the library is tested here."""

import importlib
from pathlib import Path

import pytest

from trilemma.attacks.evasion import ATTACKS, BOUNDARY_ATTACKS

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))


@pytest.fixture(autouse=True)
def _found(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize("name", MODULES)
def test_every_benchmark_can_be_imported(name):
    """The other libraries are looked for when they are run."""
    assert importlib.import_module(f"benchmarks.{name}").__doc__


def test_the_table_of_attacks_has_every_attack():
    attacks = importlib.import_module("benchmarks.attacks")
    titles = [title for title, _, _ in attacks.jobs(8, 4)]
    assert len(titles) == len(set(titles))
    configs = [make(attacks.LINF) for make in {**attacks.INSIDE, **attacks.COSTLY}.values()]
    kinds = {type(each) for each in [*configs, *attacks.NEAREST.values()]}
    assert kinds == set(ATTACKS)
    decisions = attacks.decisions(2, 100).values()
    assert {type(each) for each in decisions} == set(BOUNDARY_ATTACKS)
