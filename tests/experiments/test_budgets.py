"""What the boundary attack finds by budget and norm: one run has what smaller attacks find."""

import numpy as np
import pytest

from trilemma.attacks.evasion import HopSkipJump
from trilemma.attacks.membership import BoundaryDistance, Gap
from trilemma.core.box import UNIT
from trilemma.data import Digits, source_digest
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.budgets import POINTS, Budgets, thinned
from trilemma.experiments.distances import Distances
from trilemma.experiments.execution import run
from trilemma.experiments.graph import Bench, key
from trilemma.experiments.specs import Trained
from trilemma.experiments.stages import Score, Split, Train
from trilemma.metrics import auc
from trilemma.training.recipes import MLP

SEARCH = HopSkipJump(max_queries=60, budgets=(1, 2, 5, 20, 60))
NORMS = ("l0", "l1", "l2", "linf")


class Held(Bench):
    """One artifact, whoever asks."""

    scratch = None

    def __init__(self, artifact):
        self.artifact = artifact

    def load(self, parent):
        return self.artifact

    def progress(self, done, total, note=""):
        pass


def model():
    data = Digits(members=30, nonmembers=30)
    split = Split(data=data, fingerprint=source_digest(data), seed=0)
    trained = Trained(recipe=MLP(hidden=(16,), epochs=15))
    source = Train(split=split, model=trained, box=UNIT, seed=0)
    return {"split": split, "source": source, "box": UNIT, "seed": 0}


def made(stage, store):
    outcome = run([stage], store)[stage]
    assert getattr(outcome, "error", "") == ""
    return store.read(key(stage))


def measured(arrays, distance):
    member = arrays["member"].astype(bool)
    return auc(distance[member], distance[~member], seed=0).to_json()


def test_one_run_has_what_attacks_with_smaller_budgets_find(store):
    asked = model()
    whole = Distances(attack=BoundaryDistance(search=SEARCH), rows=512, **asked)
    found = made(Budgets(distances=whole, seed=0), store).facts
    assert found["norm"] == "L2"
    assert found["queries"] == pytest.approx(store.read(key(whole)).arrays["queries"].mean())
    for budget in (1, 20, 60):
        search = HopSkipJump(max_queries=budget)
        scores = made(Score(attack=BoundaryDistance(search=search), **asked), store).arrays
        place = found["budgets"].index(budget)
        assert found["auc"][place] == measured(scores, scores["score"])
    gap = made(Score(attack=Gap(), **asked), store).arrays
    assert found["auc"][0] == measured(gap, gap["score"])  # one query tells right from wrong
    for norm in (0, float("inf")):
        attack = BoundaryDistance(search=SEARCH, norm=norm)
        scores = made(Score(attack=attack, **asked), store).arrays
        name = "Linf" if norm == float("inf") else f"L{norm}"
        assert found["norms"][name] == measured(scores, scores["score"])


def test_known_distances_have_known_areas():
    member = np.arange(8) < 4
    far, none = np.full(8, np.inf), np.array([3, 4, 5, 6, 0, 1, 2, 0.5])
    half = np.where(np.arange(8) % 2, none, 7.0)
    arrays = {"member": member, "score": none, "queries": np.arange(8)}
    arrays |= {"trace": np.stack([far, half, none], 1)}
    arrays |= dict(zip(NORMS, (far, half, none, -none), strict=True))
    held = Held(Artifact(arrays=arrays, facts={"norm": "Linf", "budgets": [1, 5, 9]}))
    found = Budgets(distances=model()["split"], seed=0).run(held).facts
    assert found["budgets"] == [1, 5, 9]
    assert [each["value"] for each in found["auc"]] == [0.5, 0.625, 1.0]
    assert {n: e["value"] for n, e in found["norms"].items()} == {
        **{"L0": 0.5, "L1": 0.625, "L2": 1.0, "Linf": 0.0},
    }
    assert found["queries"] == 3.5


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 64, 1000])
def test_a_curve_keeps_its_ends_and_is_no_longer_than_asked(count):
    kept = thinned(count, POINTS)
    assert kept[0] == 0
    assert kept[-1] == count - 1
    assert kept == sorted(set(kept))
    assert len(kept) == min(count, POINTS)
