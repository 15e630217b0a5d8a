"""What private trainings promise: told, held against what was measured, or refused."""

import io
import math
import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest

from trilemma.core.errors import BadInput, MissingExtra
from trilemma.experiments import promised
from trilemma.experiments.audit import audit
from trilemma.experiments.graph import Stage, key
from trilemma.experiments.plan import Cell
from trilemma.experiments.reports import render_html, render_markdown, render_text, validate
from trilemma.experiments.reports.cautions import cautions
from trilemma.experiments.specs import experiment
from trilemma.experiments.store import Store
from trilemma.experiments.trained import plan_trained
from trilemma.training import devices
from trilemma.training.privacy import epsilon_of

pytest.importorskip("opacus")

PRIVACY = {"noise_multiplier": 1.5, "delta": 1e-4}
RECIPE = {"kind": "MLP", "epochs": 2, "batch": 20, "hidden": [8]}
DATA = {"kind": "Digits", "members": 50, "nonmembers": 40}
SPEC = {
    "name": "private",
    "data": DATA,
    "models": {
        "plain": {"recipe": RECIPE},
        "private": {"recipe": {**RECIPE, "privacy": PRIVACY}},
    },
    "seeds": [0, 1],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def document(store):
    return validate(audit(SPEC, store))


def test_the_promise_is_in_the_document(store, document):
    found = document["models"]["private"]["privacy"]
    assert found["epsilon"] == epsilon_of(1.5, 20 / 50, 2 * 3, 1e-4)
    assert (found["delta"], found["mechanism"], found["accountant"]) == (1e-4, "DP-Adam", "RDP")
    assert found["measured"].keys() == {"epsilon", "attack", "seed"}
    assert "privacy" not in document["models"]["plain"]
    for cell in plan_trained(SPEC)[0]:
        facts = store.read(key(cell.source)).facts
        assert ("privacy" in facts) == (cell.model == "private")


def test_every_report_says_it(document):
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render_text(document))
    value = f"epsilon {document['models']['private']['privacy']['epsilon']:.2f}"
    for report in (console.export_text(), render_markdown(document), render_html(document)):
        assert "Differential privacy" in report
        assert value in report
        assert "delta 0.0001, DP-Adam, accountant RDP" in report
        assert "not trained privately" in report or "n/a" in report
    said = document["models"]["private"]["description"]["privacy"]
    assert said.endswith(
        "-DP by DP-Adam, accountant RDP: noise multiplier 1.5, rows clipped at 1, 6 steps at a"
        " sampling rate of 0.4, if nobody knows the seed"
    )
    assert said in render_html(document)


def test_reports_of_others_do_not_speak_of_it(document):
    plain = {**document, "models": {"plain": document["models"]["plain"]}}
    for report in (render_markdown(plain), render_html(plain)):
        assert '<th scope="row">Differential privacy' not in report
        assert "| Differential privacy |" not in report


@dataclass(frozen=True, kw_only=True)
class Known(Stage):
    """A stage whose facts are known."""

    REVISION: ClassVar[int] = 1
    found: dict

    def label(self):
        return "known"

    def run(self, bench):
        raise AssertionError("its facts are given")


def cell(seed, bounds, *epsilon, delta=1e-4):
    told = {"privacy": {"epsilon": epsilon[0], "delta": delta}} if epsilon else {}
    return Cell(
        model="m",
        seed=seed,
        source=Known(found=told),
        benign=Known(found={"rows": {"members": 100, "nonmembers": 80}}),
        attacks={
            name: Known(found={"metrics": {"epsilon_lower_bound": each}})
            for name, each in bounds.items()
        },
    )


def facts(stage):
    return None if stage is None else stage.found


def bound(value):
    return {"value": value, "low": value, "high": None, "level": 0.95}


def test_a_measurement_above_the_promise_is_a_warning(document):
    cells = [cell(0, {"a": bound(0.5)}, 1.0), cell(1, {"a": bound(0.2), "b": bound(1.2)}, 1.0)]
    check = promised.kept(cells, facts)
    assert check["status"] == "warn"
    assert check["summary"].startswith("The promise is epsilon 1 at most, the largest measured")
    assert "1.2 (b, seed 1): 1 of 3 bounds at 95 % confidence are above it" in check["summary"]
    warned = {**document, "models": {"m": {**document["models"]["private"], "title": "m"}}}
    warned["models"]["m"]["self_tests"] = {"privacy": check}
    assert any("measured more than the differential privacy" in each for each in cautions(warned))


def test_one_within_it_is_none():
    cells = [cell(0, {"a": bound(0.5), "b": {"not_evaluable": "few"}}, 1.0)]
    check = promised.kept(cells, facts)
    assert (check["status"], check["details"]["bounds"]) == ("pass", 1)


def test_delta_explains_a_little_more():
    """TPR <= e^epsilon FPR + delta, and no rate among 100 rows is known to lie below 1 / 100."""
    allowed = 1.0 + math.log1p(1e-3 * 100)
    for value, status in ((allowed - 1e-9, "pass"), (allowed + 1e-9, "warn")):
        cells = [cell(0, {"a": bound(value)}, 1.0, delta=1e-3)]
        assert promised.kept(cells, facts)["status"] == status


def test_without_measurement_it_is_not_evaluable_and_without_promise_not_asked():
    cells = [cell(0, {"a": {"not_evaluable": "few"}}, 1.0)]
    assert promised.kept(cells, facts)["status"] == "not_evaluable"
    assert "not_evaluable" in promised.promise(cells, facts)["privacy"]["measured"]
    cells = [cell(0, {"a": bound(3.0)})]
    assert promised.kept(cells, facts) is None
    assert promised.promise(cells, facts) == {}
    assert promised.in_words(cells, facts) == ""


def test_no_finite_epsilon_promises_nothing_and_nothing_exceeds_it():
    cells = [cell(0, {"a": bound(9.0)}, 1.0), cell(1, {"a": bound(9.5)}, None)]
    assert promised.promise(cells, facts)["privacy"]["epsilon"] is None
    assert promised.kept(cells, facts)["status"] == "pass"


def test_an_objective_that_cannot_be_private_is_refused_as_it_is_declared():
    ball = {"kind": "Linf", "radius": 0.1}
    objective = {"kind": "IntervalBoundPropagation", "ball": ball}
    model = {"recipe": {**RECIPE, "privacy": PRIVACY}, "objective": objective}
    with pytest.raises(BadInput, match=r"models.m.recipe.privacy: IntervalBoundPropagation is no"):
        experiment({"name": "x", "data": DATA, "models": {"m": model}})


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"kind": "WideResNet", "scale": 1, "epochs": 1}, "BatchNorm2d"),
        ({**RECIPE, "privacy": {**PRIVACY, "delta": 0.1}}, "privacy.delta: is 0.1 with 50 rows"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_any_model_is_trained(recipe, said, tmp_path):
    events = []
    models = {"plain": {"recipe": RECIPE}, "m": {"recipe": {"privacy": PRIVACY, **recipe}}}
    with pytest.raises(BadInput, match=said):
        audit({**SPEC, "models": models}, Store(tmp_path), on_event=events.append)
    assert not any(getattr(event, "label", "").startswith("train ") for event in events)


def test_several_devices_are_refused_before_any_work(monkeypatch):
    pytest.importorskip("lightning_fabric")
    monkeypatch.setenv(devices.VARIABLE, "2xcpu")
    with pytest.raises(BadInput, match="2 cannot share a private training"):
        plan_trained(SPEC)


def test_opacus_is_missed_before_any_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus", None)
    with pytest.raises(MissingExtra, match=r"pip install 'trilemma\[private\]'"):
        plan_trained(SPEC)
