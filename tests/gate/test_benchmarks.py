"""The benchmarks are run by hand; that they still fit the library is tested here."""

import importlib
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from trilemma.attacks.evasion import ATTACKS, BOUNDARY_ATTACKS, UncertainExamples
from trilemma.attacks.extraction import BEST
from trilemma.core.balls import Linf
from trilemma.core.generators import seeded
from trilemma.oracles import Ledger, Local, TopLabel

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


class Passes(nn.Module):
    """A network that counts rows, by what they go through it for, and gradients that come back."""

    def __init__(self, counted):
        super().__init__()
        self.network, self.counted = nn.Sequential(nn.Flatten(), nn.Linear(12, 10)), counted

    def __deepcopy__(self, _):
        return Passes(self.counted)

    def forward(self, x):
        logits = self.network(x)
        if not torch.is_grad_enabled():
            self.counted["answered"] += len(x)
            return logits
        for_what = "synthesis" if x.requires_grad else "training"
        self.counted[for_what] += len(x)
        self.counted[for_what, self.training] += 1
        logits.register_hook(lambda gradient: self.counted.update([(for_what, "backward")]))
        return logits


def _passes_of(make, steps):
    """Of one pass over 10 rows in batches of 4; what the victim and what the student went through.

    Args:
        make: (benchmark, victim, student, rows, config) -> the job.
    """
    stealing = importlib.import_module("benchmarks.stealing")
    asked, learnt = Counter(), Counter()
    config = BEST(epochs=1, batch=4, examples=UncertainExamples(ball=Linf(0.01), steps=steps))
    x = torch.rand(10, 1, 3, 4, generator=seeded(0))
    make(stealing, Passes(asked).eval(), stealing.taught(Passes(learnt)), x, config)()
    return asked, learnt


def _best(stealing, victim, student, x, config):
    oracle = Ledger(TopLabel(Local(victim, classes=10)), len(x))
    return stealing.a_pass(oracle, student, x, config)


def _bare(stealing, victim, student, x, config):
    return stealing.bare_pass(victim, student, x, config)


def test_best_is_timed_beside_as_many_passes_as_it_makes():
    asked, learnt = _passes_of(_bare, steps=3)
    assert asked == {"answered": 10}
    assert learnt == {
        "synthesis": 3 * 10,
        ("synthesis", False): 3 * 3,
        ("synthesis", "backward"): 3 * 3,
        "training": 10,
        ("training", True): 3,
        ("training", "backward"): 3,
    }
    assert _passes_of(_best, steps=3) == (asked, learnt)
    assert _passes_of(_best, steps=4) != (asked, learnt)
