"""What a closer look gives on toys: another result must raise the stage's REVISION.

`looking_revisions.json` holds a toy result of each stage, and its REVISION then. After raising
one, `python tests/experiments/test_looking_revisions.py` writes the file anew.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from trilemma.attacks.evasion import HopSkipJump
from trilemma.attacks.membership import BoundaryDistance
from trilemma.attacks.membership.boundary_distance import perturbations
from trilemma.core.box import UNIT
from trilemma.core.generators import seeded
from trilemma.data import Digits
from trilemma.experiments.answering import Answered, Shown, looked_at
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.budgets import Budgets
from trilemma.experiments.distances import Distances
from trilemma.experiments.embedding import Embed, among, last_layer
from trilemma.experiments.graph import Bench
from trilemma.experiments.planes import Frame, nearest, regions
from trilemma.experiments.specs import Trained
from trilemma.experiments.stages import Split, Train
from trilemma.experiments.tracing import Trace
from trilemma.oracles import Local
from trilemma.training import build
from trilemma.training.recipes import MLP

FILE = Path(__file__).with_name("looking_revisions.json")
SPLIT = Split(data=Digits(), fingerprint="", seed=0)


def rows():
    return torch.rand(12, 1, 8, 8, generator=seeded(1)), torch.arange(12) % 3


def model():
    return build(MLP(hidden=(8,)), (1, 8, 8), 3, seeded(2))


def answers():
    rng = np.random.default_rng(6)
    logits = rng.normal(size=(60, 3))
    table = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    label = rng.integers(3, size=60)
    return {"member": np.arange(60) < 30, "label": label, "log_probabilities": table}


def searched():
    config = BoundaryDistance(search=HopSkipJump(max_queries=80, budgets=(5, 80)))
    found = perturbations(Local(model(), classes=3), *rows(), config, rng=seeded(3))
    return [*found.scores.tolist(), *found.boundary.trace.flatten().tolist()]


class Answers(Bench):
    """Answers, whoever asks."""

    scratch = None

    def load(self, parent):
        rng = np.random.default_rng(6)
        arrays = {"member": np.arange(40) < 20, "queries": np.arange(40)}
        arrays |= {name: rng.random(40) for name in ("l0", "l1", "l2", "linf")}
        arrays["trace"] = rng.random((40, 5))
        return Artifact(arrays=arrays, facts={"norm": "L2", "budgets": [1, 2, 3, 4, 5]})

    def progress(self, done, total, note=""):
        pass


def budgeted():
    found = Budgets(distances=SPLIT, seed=3).run(Answers()).facts
    every = [*found["auc"], *found["norms"].values()]
    return [*(each[end] for each in every for end in ("value", "low", "high")), found["queries"]]


def shown():
    drawn = Shown(split=SPLIT, classes=None, seed=5)
    return drawn.drawn(np.arange(40) % 3, np.arange(30) % 4)


def looked():
    found = looked_at(answers(), np.array([3, 50]))
    numbers = [found["ace"][side]["value"] for side in ("train", "test")]
    return [*numbers, *found["shown"][0]["losses"], *found["loss"]["edges"][:3]]


def embedded_rows():
    """What goes into the picture: t-SNE itself is sensitive to rounding."""
    layer = last_layer(model(), rows()[0])
    between = among(layer.features, 3, np.random.default_rng(4))
    frame = Frame(x=(0.0, 1.0), y=(0.0, 1.0))
    found = regions(frame, nearest(layer.features[:, :2], layer.label))
    return [*between.ravel(), *(each for name in found["names"] for each in name)]


def traced():
    x, _ = rows()
    oracle = Local(model(), classes=3)
    source = Train(split=SPLIT, model=Trained(recipe=MLP()), box=UNIT, seed=0)
    stage = Trace(split=SPLIT, source=source, searches=(), rows=1, box=UNIT, seed=2)
    found = stage._path(oracle, x[:1], oracle(x[:1]).argmax(1), HopSkipJump(max_queries=40))
    return [*found["queries"], *found["distance"], *found["along"]]


TOYS = {
    Distances: searched,
    Budgets: budgeted,
    Shown: shown,
    Answered: looked,
    Embed: embedded_rows,
    Trace: traced,
}


def results():
    return {
        kind.__name__: {"REVISION": kind.REVISION, "values": [round(float(v), 9) for v in toy()]}
        for kind, toy in TOYS.items()
    }


@pytest.mark.parametrize("kind", TOYS, ids=lambda kind: kind.__name__)
def test_another_result_needs_another_revision(kind):
    recorded = json.loads(FILE.read_text())[kind.__name__]
    assert recorded["REVISION"] == kind.REVISION, "write looking_revisions.json anew"
    assert [float(v) for v in TOYS[kind]()] == pytest.approx(recorded["values"], rel=2e-3, abs=1e-5)


@pytest.mark.xfail(raises=AssertionError, reason="negative control: another result is noticed")
def test_another_draw_is_noticed(monkeypatch):
    monkeypatch.setitem(TOYS, Shown, lambda: [0, *shown()[1:]])
    test_another_result_needs_another_revision(Shown)


if __name__ == "__main__":
    FILE.write_text(json.dumps(results(), indent=1) + "\n")
