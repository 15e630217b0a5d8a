"""Every stage of an audit, run on toys: another result must raise the stage's REVISION.

`stage_revisions.json` holds what each kind of stage made, in few numbers, with its REVISION then.
After raising one, `python tests/experiments/test_stage_revisions.py` writes the file anew.
"""

import importlib
import json
import pkgutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import test_looking_revisions
import test_revisions

import trilemma.experiments
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.audit import audit
from trilemma.experiments.graph import Stage, key, parents
from trilemma.experiments.store import Store
from trilemma.experiments.trained import plan_trained

FILE = Path(__file__).with_name("stage_revisions.json")
RECIPE = {"kind": "MLP", "hidden": [12], "epochs": 12}
SEARCH = {"kind": "HopSkipJump", "max_queries": 60}
DATA = {"kind": "Digits", "members": 40, "nonmembers": 40, "shadow": 120, "validation": 40}
SPEC = {
    "name": "toys",
    "data": DATA,
    "models": {
        "bare": {"recipe": RECIPE},
        "guarded": {"recipe": RECIPE, "defences": [{"kind": "MemGuard"}]},
        "tempered": {"recipe": RECIPE, "temperature": 3.0},
    },
    "attacks": {
        "confidence": {"kind": "Confidence"},
        "entropy": {"kind": "Entropy"},
        "scores": {"kind": "ScoreNetwork", "epochs": 5},
        "transfer": {"kind": "TransferAttack", "copy": "half"},
        "boundary": {"kind": "BoundaryDistance", "search": SEARCH},
        "early": {
            "kind": "EarlyDecisions", "threshold": {"samples": 38},
            "attack": {"kind": "BoundaryDistance", "search": SEARCH},
        },
        "noise": {
            "kind": "NoiseRobustness", "copies": 20,
            "noise": {"kind": "GaussianNoise", "sigma": 0.3},
        },
        "lira": {"kind": "Calibrated"},
        "quantile": {"kind": "QuantileRegression"},
    },
    "copies": {"half": {"like": {"recipe": RECIPE}, "rows": 60, "held_out": 40}},
    "shadow": {},
    "references": {"count": 6},
    "random_threshold": {"samples": 10, "percentile": 50},
    "robustness": {"kind": "PGD", "ball": {"kind": "Linf", "radius": 0.05}, "steps": 3},
    "extraction": {
        "student": {"kind": "MLP", "hidden": [8]},
        "thieves": {
            "best": {
                "kind": "BEST", "epochs": 3, "batch": 40,
                "examples": {"ball": {"kind": "Linf", "radius": 0.1}, "steps": 2},
            },
        },
        "pool": {"others": [{"kind": "Digits", "members": 80, "nonmembers": 40}]},
        "transfer": {"kind": "FGSM", "ball": {"kind": "Linf", "radius": 0.05}},
        "every": 2,
        "rows": 30,
    },
    "seeds": [1],
}  # fmt: skip


READERS = {"Own", "ReadPredictions"}  # they only read what lies outside


def every(stages):
    """These stages and those that they rest on, each once."""
    found = {}
    waiting = list(stages)
    while waiting:
        stage = waiting.pop()
        if key(stage) not in found:
            found[key(stage)] = stage
            waiting.extend(parents(stage))
    return list(found.values())


def made():
    """What each kind of stage makes, by its name: the means of what its instances hold."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        document = audit(SPEC, store)
        assert document["failures"] == []
        targets = [
            stage for cell in plan_trained(SPEC)[0] for stage in (*cell.inputs, *cell.stages())
        ]
        found: dict[str, list[tuple[str, list[float]]]] = {}
        for stage in every(targets):
            row = (stage.label(), numbers(store.read(key(stage))))
            found.setdefault(type(stage).__name__, []).append(row)
    return {name: [each for _, row in sorted(rows) for each in row] for name, rows in found.items()}


def numbers(artifact: Artifact) -> list[float]:
    """A mean for each array, and one of all numbers among the facts."""
    arrays = (artifact.arrays[name] for name in sorted(artifact.arrays))
    finite = (array[np.isfinite(array)] for array in arrays if array.dtype.kind in "biuf")
    means = [float(array.mean()) if array.size else 0.0 for array in finite]
    facts = list(counted(artifact.facts))
    return [*means, float(np.mean(facts)) if facts else 0.0]


def counted(facts: object):
    """The numbers in facts, however deep, but for durations."""
    if isinstance(facts, bool | int | float):
        yield float(facts)
    elif isinstance(facts, dict):
        for name in sorted(set(facts) - {"seconds"}):
            yield from counted(facts[name])
    elif isinstance(facts, list | tuple):
        for each in facts:
            yield from counted(each)


def kinds() -> dict[str, type[Stage]]:
    """Every stage there is, by name."""
    for module in pkgutil.walk_packages(trilemma.experiments.__path__, "trilemma.experiments."):
        importlib.import_module(module.name)

    def below(kind):
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    return {
        kind.__name__: kind
        for kind in below(Stage)
        if kind.__module__.startswith("trilemma.") and not kind.__abstractmethods__
    }


@pytest.fixture(scope="module")
def found():
    return made()


@pytest.mark.parametrize("name", json.loads(FILE.read_text()) if FILE.exists() else ())
def test_another_result_needs_another_revision(found, name):
    recorded = json.loads(FILE.read_text())[name]
    assert recorded["REVISION"] == kinds()[name].REVISION, "write stage_revisions.json anew"
    assert found[name] == pytest.approx(recorded["values"], rel=1e-2, abs=1e-3), (
        f"{name} makes something else: raise its REVISION, then write stage_revisions.json anew"
    )


@pytest.mark.xfail(raises=AssertionError, reason="negative control: another result is noticed")
def test_what_an_attack_decides_otherwise_is_noticed(found):
    changed = [value + 0.02 for value in found["Decide"]]
    test_another_result_needs_another_revision({"Decide": changed}, "Decide")


def test_every_kind_of_stage_has_a_toy(found):
    assert set(found) == set(json.loads(FILE.read_text()))
    elsewhere = {kind.__name__ for kind in (*test_revisions.TOYS, *test_looking_revisions.TOYS)}
    assert set(kinds()) <= {*found, *elsewhere, *READERS}


if __name__ == "__main__":
    rows = {
        name: {"REVISION": kinds()[name].REVISION, "values": [round(value, 6) for value in values]}
        for name, values in sorted(made().items())
    }
    FILE.write_text(
        "{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in rows.items()) + "\n}\n"
    )
