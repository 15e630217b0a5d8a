"""Long searches: in portions, each of which survives a crash."""

import numpy as np
import pytest
import torch

from trilemma.attacks.evasion import HopSkipJump
from trilemma.attacks.membership import BoundaryDistance, perturbations
from trilemma.core.generators import seeded
from trilemma.experiments import searching
from trilemma.experiments.graph import Bench
from trilemma.experiments.searching import Told, searched
from trilemma.oracles import Local


class Noted(Bench):
    scratch = None

    def __init__(self, scratch):
        self.scratch, self.said = scratch, []

    def load(self, parent):
        raise AssertionError("there is none")

    def progress(self, done, total, note=""):
        self.said.append((done, total))


class Killed(Exception):
    pass


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


ATTACK = BoundaryDistance(search=HopSkipJump(max_queries=80))


def search(oracle, x, y):
    found = perturbations(oracle, x, y, ATTACK, rng=seeded(1))
    return {"score": found.scores.numpy(), "trace": found.boundary.trace.numpy()}


def test_portions_find_what_the_whole_finds_and_survive_a_crash(tmp_path, monkeypatch):
    model = net()
    x = torch.rand(25, 4, generator=seeded(0))
    oracle = Local(model, classes=3)
    y = oracle(x).argmax(1)
    whole = search(oracle, x, y)
    monkeypatch.setattr(searching, "CHUNK", 10)
    rows = []

    def counted(target, x, y):
        rows.append(len(x))
        if len(rows) == 3:
            raise Killed
        return search(target, x, y)

    bench = Noted(tmp_path)
    with pytest.raises(Killed):
        searched(bench, oracle, x, y, counted, most=80)
    found = searched(bench, oracle, x, y, counted, most=80)
    assert rows == [10, 10, 5, 5]  # the first two were not searched again
    for name, expected in whole.items():
        np.testing.assert_array_equal(found[name], expected)
    assert bench.said[-1] == (25 * 80, 25 * 80)
    done = [each for each, _ in bench.said[: len(bench.said) // 2]]
    assert done == sorted(done)


def test_an_oracle_that_tells_answers_as_the_one_inside():
    heard, oracle, x = [], Local(net(), classes=3), torch.rand(7, 4, generator=seeded(0))
    told = Told(oracle, heard.append)
    assert told.classes == 3
    assert torch.equal(told(x), oracle(x))
    assert heard == [7]
