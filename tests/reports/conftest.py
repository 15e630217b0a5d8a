"""Audit documents to make reports of: complete, recorded, incomplete, hostile."""

import copy
import math
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trilemma.experiments.reports import verdict

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from report_parts import (  # noqa: E402  # it lies beside this file
    Json,
    certified,
    combined,
    estimate,
    looks,
    security,
)

ATTACKS = {
    "confidence": "Confidence on benign inputs (I_B)",
    "confidence_adversarial": "Confidence on adversarial inputs (I_A)",
}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&|`*_[a](http://e.vil)"


def one_seed(members: np.ndarray, others: np.ndarray, seed: int) -> tuple[Json, Json]:
    """Metrics and curves of made-up losses; the intervals are rough ones."""
    thresholds = np.unique(np.concatenate([members, others, [-1.0]]))
    tpr = np.array([(members <= t).mean() for t in thresholds])
    fpr = np.array([(others <= t).mean() for t in thresholds])
    accuracy = float(((tpr + 1 - fpr) / 2).max())
    auc = float((members[:, None] < others).mean() + (members[:, None] == others).mean() / 2)
    half = 1 / math.sqrt(len(members) + len(others))
    metrics: Json = {
        "best_threshold_accuracy": estimate(accuracy, half),
        "held_out_threshold_accuracy": estimate(accuracy - 0.015, half),
        "auc": estimate(auc, half),
        "advantage": estimate(2 * accuracy - 1, 2 * half, low=-1.0),
    }
    for level in (0.1, 0.01, 0.001):
        name = f"tpr_at_fpr_{level:g}"
        found = float(tpr[fpr <= level].max())
        why = f"{len(others)} non-members resolve false alarms of 1/{len(others)}, not of {level:g}"
        metrics[name] = (
            estimate(found, 0.04) if level * len(others) >= 1 else {"not_evaluable": why}
        )
    for prior in (0.5, 0.1, 0.01):
        precision = prior * 0.9 / (prior * 0.9 + (1 - prior) * 0.6)
        metrics[f"precision_at_prior_{prior:g}"] = estimate(precision, 0.03)
    metrics["epsilon_lower_bound"] = {"value": 0.21, "low": 0.21, "high": None, "level": 0.95}
    edges = np.linspace(0, 6, 31)
    top = [*edges[:-1], np.inf]
    unit = np.linspace(0, 1, 41)

    def counts(values: np.ndarray, bins: Any) -> list[int]:
        return [int(c) for c in np.histogram(values, bins)[0]]

    curves: Json = {
        "seed": seed,
        "roc": {"fpr": fpr.tolist(), "tpr": tpr.tolist()},
        "histogram": {
            "edges": unit.tolist(),
            "members": counts(np.exp(-members), unit),
            "nonmembers": counts(np.exp(-others), unit),
        },
        "loss": {
            "edges": [*edges[:-1].tolist(), None],
            "members": counts(members, top),
            "nonmembers": counts(others, top),
            "zero_members": float((members == 0).mean()),
            "zero_nonmembers": float((others == 0).mean()),
        },
    }
    return metrics, curves


def model(name: str, leak: float, accuracy: tuple[float, ...], seeds: list[int], n: int) -> Json:
    membership, curves = {}, {}
    for order, attack in enumerate(ATTACKS):
        runs = []
        for seed in seeds or [0]:
            rng = np.random.default_rng([seed, order, int(1000 * leak)])
            members = rng.exponential(0.25 + 0.1 * order, n).round(6)
            others = np.where(
                rng.random(n) < leak * (1 + order / 2), rng.gamma(3, 1, n), rng.exponential(0.3, n)
            )
            runs.append(one_seed(members, others, seed))
        membership[attack] = {m: combined([run[0][m] for run in runs]) for m in runs[0][0]}
        curves[attack] = runs[0][1]
        if not seeds:
            curves[attack]["seed"] = None
    names = ("train", "test", "adversarial_train", "adversarial_test")
    return {
        "title": name,
        "description": {"recipe": "SmallCNN, 60 epochs", "objective": name, "parameters": 12345},
        "rows": {"members": n, "nonmembers": n},
        "accuracy": {
            key: combined([estimate(value, 0.02) for _ in seeds or [0]])
            for key, value in zip(names, accuracy, strict=True)
        },
        "membership": membership,
        "curves": curves,
        "self_tests": {
            "null": {"status": "pass", "summary": "AUC 0.503 (0.44 to 0.56) covers 0.5."},
            "normalisation": {
                "status": "pass",
                "summary": "Inputs in [0, 1] give the highest accuracy of the ranges tried.",
                "details": {"accuracy": {"[0, 1]": 0.95, "[-1, 1]": 0.71}},
            },
            "determinism": {"status": "pass", "summary": "Identical inputs, identical answers."},
        },
    }


def finish(document: Json) -> Json:
    document["verdict"] = verdict(document)
    return document


def digits() -> Json:
    seeds = [0, 1, 2]
    return finish(
        {
            "schema": "https://trilemma.example/schema/audit-1.json",
            "schema_version": 1,
            "name": "digits",
            "status": "complete",
            "created": "2026-11-22T03:00:00Z",
            "failures": [],
            "provenance": {
                "trilemma": "0.1.0",
                "python": "3.11.7",
                "packages": {"numpy": "2.4.0", "torch": "2.13.0"},
                "platform": "Linux-6.1-x86_64",
                "seeds": seeds,
                "spec": {
                    "name": "digits",
                    "data": {"kind": "Digits", "members": 300, "nonmembers": 300},
                    "seeds": seeds,
                },
                "data": {
                    "name": "digits",
                    "source": "scikit-learn, after the UCI repository",
                    "licence": "CC BY 4.0",
                    "deviation": "",
                    "fingerprint": "3f9ac1d2e07b5a64",
                    "members": 300,
                    "nonmembers": 300,
                    "shape": [1, 8, 8],
                    "classes": 10,
                },
            },
            "models": {
                "natural": model("natural", 0.13, (1.0, 0.951, 0.312, 0.284), seeds, 300),
                "robust": model("robust", 0.34, (0.991, 0.927, 0.905, 0.742), seeds, 300),
            },
            "self_tests": {
                "blind": {"status": "pass", "summary": "AUC 0.51 (0.46 to 0.56) covers 0.5."},
                "duplicates": {"status": "pass", "summary": "No row is on both sides."},
            },
            "methods": {
                attack: {
                    "title": title,
                    "source": f"Song et al. 2019, eq. {17 + order}",
                    "atlas": "AML.T0024.000",
                    "nist": "membership inference",
                    "how": "A row is called a member when the model's probability of its true"
                    " label is at least a threshold.",
                    "settings": {"ball": "Linf(radius=0.1)", "steps": 20} if order else {},
                }
                for order, (attack, title) in enumerate(ATTACKS.items())
            },
        }
    )


def recorded() -> Json:
    document = digits()
    nothing = {"status": "not_evaluable", "summary": "needs the model, not recorded predictions"}
    only = model("yale_pgd", 0.3, (0.99, 0.96, 0.98, 0.9), [], 514)
    only["rows"] = {"members": 1900, "nonmembers": 514}
    only["description"] = {"recorded": "yale_pgd.npz", "fingerprint": "77aa01"}
    only["self_tests"] |= {"normalisation": nothing, "determinism": nothing}
    document |= {"name": "yale_pgd", "models": {"yale_pgd": only}}
    document["self_tests"] = {"blind": nothing, "duplicates": nothing}
    document["provenance"] |= {"seeds": [], "data": {"name": "yale_pgd.npz"}}
    return finish(document)


def incomplete() -> Json:
    document = digits()
    why = "the attack failed with seed 1; see failures"
    robust = document["models"]["robust"]
    robust["membership"]["confidence_adversarial"] = {
        metric: {"not_evaluable": why} for metric in robust["membership"]["confidence"]
    }
    robust["accuracy"] |= {k: {"not_evaluable": why} for k in robust["accuracy"] if "adv" in k}
    del robust["curves"]["confidence_adversarial"]
    document["status"] = "incomplete"
    document["failures"] = [
        {
            "stage": "attack robust by confidence_adversarial, seed 1",
            "model": "robust",
            "seed": 1,
            "error": "MemoryError: 2.0 GiB for an array of shape (300, 1, 8, 8)\nsecond line",
        },
        {"stage": "blind classifier", "model": None, "seed": None, "error": "no scikit-learn"},
    ]
    document["self_tests"]["blind"] = {"status": "not_evaluable", "summary": "failed"}
    document["self_tests"]["duplicates"] = {
        "status": "warn",
        "summary": "12 rows are members and non-members",
        "details": {"rows": [1, 5, 9], "share": 0.04},
    }
    document["provenance"]["data"]["deviation"] = "8x8 pixels, not 32x32"
    return finish(document)


def hostile() -> Json:
    """Every text that comes from outside tries to break out."""

    def poison(value: Any, key: str = "") -> Any:
        fixed = {"schema", "status", "created"}
        if isinstance(value, dict):
            return {k: poison(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [poison(item, key) for item in value]
        return HOSTILE + value if isinstance(value, str) and key not in fixed else value

    document: Json = poison(incomplete())
    document["models"] = {HOSTILE + name: m for name, m in document["models"].items()}
    document["provenance"]["spec"][HOSTILE] = HOSTILE
    return finish(document)


def crowd() -> Json:
    """More models than colours, with a name that does not fit."""
    document = digits()
    document["models"] = {
        name: model(name, 0.05 + 0.04 * index, (1.0, 0.9, 0.5, 0.4), [0, 1, 2], 120)
        for index, name in enumerate(
            ("a", "b", "c", "d", "e", "f", "g", "h", "wide_residual_network_" * 3)
        )
    }
    return finish(document)


def thorough() -> Json:
    """Robustness measured twice; one model only looks robust."""
    document = digits()
    for name, value, status in (("natural", 0.01, "warn"), ("robust", 0.72, "pass")):
        about = document["models"][name]
        numbers = combined([estimate(value, 0.04) for _ in range(3)])
        about["accuracy"] |= {"autoattack_train": numbers, "autoattack_test": numbers}
        about["rows"] |= {"autoattack_members": 128, "autoattack_nonmembers": 300}
        about["self_tests"]["gradient_masking"] = {
            "status": status,
            "summary": "accuracy on 128 train rows is 31.20 % under PGD-20 and 1.00 % under"
            " AutoAttack.",
            "details": {"points": {"train": 30.2, "test": 27.4}, "limit": 5},
        }
    about = {"source": "a paper", "how": "As it says.", "atlas": "AML.T0043", "nist": "evasion"}
    ball = {"ball": {"kind": "Linf", "radius": 0.1}}
    document["robustness"] = {
        "adversarial": {
            **{"name": "PGD-20", "title": "Projected gradient ascent"},
            **{**about, "settings": {**ball, "steps": 20}},
        },
        "autoattack": {"name": "AutoAttack", "title": "Four attacks", **about, "settings": ball},
    }
    return finish(document)


def proven() -> Json:
    """Verified accuracies by two bounds, thresholds by label and from a shadow model."""
    document = digits()
    numbers = combined([estimate(0.531, 0.05) for _ in range(3)])
    for name, value in (("natural", 0.0), ("robust", 0.413)):
        about = document["models"][name]
        sure = combined([estimate(value, 0.04) for _ in range(3)])
        tighter = combined([estimate(value + 0.02, 0.04) for _ in range(3)])
        about["accuracy"] |= {"verified_train": sure, "verified_test": sure}
        about["accuracy"] |= {"verified_dual_train": tighter, "verified_dual_test": tighter}
        extra = {"class_threshold_accuracy": numbers, "shadow_threshold_accuracy": numbers}
        for metrics in about["membership"].values():
            metrics |= extra
        few = {"not_evaluable": "a label needs a member"}
        about["labels"] = {attack: {"0": numbers, "10": numbers, "2": few} for attack in ATTACKS}
        about["judged"] = {
            "confidence_adversarial": {"members": 281, "nonmembers": 279, "fitted": {"0": 9}}
        }
        about["shadow"] = {"attacks": ["confidence"] * 3, "accuracy": numbers}
        about["certified"] = {
            "verified": certified(value, 0.1, "Linf"),
            "noise": certified(value / 2, 0.5, "L2"),
        }
        about["security"] = security(0.7 + value / 2)
    ball = {"ball": {"kind": "Linf", "radius": 0.1}}
    about = {"source": "a paper", "how": "As it says."}
    document["robustness"] = {
        "adversarial": {"name": "PGD-20", "title": "Ascent", **about, "settings": ball},
        "verified": {"name": "Interval", "title": "Interval bounds", **about, "settings": ball},
        "verified_dual": {"name": "Dual", "title": "Dual bounds", **about, "settings": ball},
    }
    document["certificates"] = {
        "verified": document["robustness"]["verified"],
        "noise": {"name": "PixelDP", "title": "Certified by noise", **about, "settings": {}},
    }
    return finish(document)


def retrained() -> Json:
    """Members left out of the training; one model cannot be trained again."""
    document = digits()
    names = ("mean", "mean_absolute", "noise", "noise_absolute", "influence")
    for index, about in enumerate(document["models"].values()):
        values = []
        for seed in range(3):
            rng = np.random.default_rng([seed, index])
            found = {"left_out": rng.beta(1, 5 - 3 * index, 60), "stayed": rng.normal(0, 0.03, 60)}
            lines = {part: sorted(each.round(6).tolist()) for part, each in found.items()}
            values.append({"seed": seed, "rounds": 6, "points": 60, **lines})
        numbers = {
            name: combined([estimate(0.1 * order - 0.02, 0.04, low=-1.0) for _ in range(3)])
            for order, name in enumerate(names)
        }
        about["sensitivity"] = {**numbers, "values": values}
    document["models"]["own"] = model("own", 0.2, (0.9, 0.8, 0.5, 0.4), [0, 1, 2], 300)
    why = {"not_evaluable": "how this model was trained is not declared"}
    document["models"]["own"]["sensitivity"] = {**dict.fromkeys(names, why), "values": []}
    return finish(document)


def looked() -> Json:
    """A closer look at a model, its copy and its shadow; one model has no features, one nothing."""
    document = digits()
    document["models"]["own"] = model("own", 0.2, (0.9, 0.8, 0.5, 0.4), [0, 1, 2], 300)
    for about, seen in zip(document["models"].values(), looks(), strict=True):
        about |= seen
    return finish(document)


MAKERS: dict[str, Callable[[], Json]] = {
    "digits": digits,
    "recorded": recorded,
    "incomplete": incomplete,
    "hostile": hostile,
    "crowd": crowd,
    "thorough": thorough,
    "proven": proven,
    "retrained": retrained,
    "looked": looked,
}
_made: dict[str, Json] = {}


def sample(name: str) -> Json:
    if name not in _made:
        _made[name] = MAKERS[name]()
    return copy.deepcopy(_made[name])


@pytest.fixture(params=list(MAKERS))
def any_document(request: pytest.FixtureRequest) -> Json:
    return sample(request.param)


@pytest.fixture
def document() -> Json:
    return sample("digits")


@pytest.fixture
def named_document() -> Callable[[str], Json]:
    return sample


@pytest.fixture
def page_file() -> Callable[[str], str]:
    """A file of the page, as it is in the package."""
    folder = resources.files("trilemma.experiments.reports") / "page"
    return lambda name: (folder / name).read_text(encoding="utf-8")
