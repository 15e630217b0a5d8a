"""What models cost in an audit and in its reports, without a look at older trainings' facts."""

import io

import pytest
import torch
from rich.console import Console

from trilemma.experiments.audit import audit
from trilemma.experiments.costing import Cost
from trilemma.experiments.graph import key, spec
from trilemma.experiments.reports import render_html, render_markdown, render_text, validate
from trilemma.experiments.reports.costs import costs
from trilemma.experiments.stages import Train
from trilemma.experiments.store import Store
from trilemma.experiments.trained import plan_trained

MODEL = {"recipe": {"kind": "MLP", "epochs": 1, "hidden": [16]}}
SPEC = {
    "name": "counted",
    "data": {"kind": "Digits", "members": 40, "nonmembers": 40, "shadow": 80},
    "models": {
        "m": {**MODEL, "attacks": ["confidence", "transfer", "lira"]},
        "plain": {**MODEL, "temperature": 2.0, "attacks": ["confidence"]},
    },
    "attacks": {
        "confidence": {"kind": "Confidence"},
        "transfer": {"kind": "TransferAttack"},
        "lira": {"kind": "Calibrated", "method": {"kind": "BASE"}},
    },
    "shadow": {"like": {"recipe": {"kind": "MLP", "epochs": 1, "hidden": [4]}}},
    "references": {"count": 6},
    "seeds": [0, 1],
}
TARGET = {"parameters": 64 * 16 + 16 + 16 * 10 + 10, "flops": 2 * (64 * 16 + 16 * 10)}
SMALLER = {"parameters": 64 * 4 + 4 + 4 * 10 + 10, "flops": 2 * (64 * 4 + 4 * 10)}


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    return audit(SPEC, Store(tmp_path_factory.mktemp("counted")))


def test_target_and_every_model_that_an_attacker_trained_are_counted(document):
    validate(document)
    assert document["models"]["m"]["cost"] == {
        "target": TARGET,
        "shadow": SMALLER,
        "copy": SMALLER,
        "reference": TARGET,
    }
    assert document["models"]["plain"]["cost"] == {"target": TARGET, "shadow": SMALLER}


def test_each_model_is_counted_once_and_not_for_every_seed():
    cells, _ = plan_trained(SPEC)
    assert [bool(cell.costs) for cell in cells] == [True, False, True, False]
    for cell in cells:
        assert {key(each) for each in cell.costs.values()} <= {key(s) for s in cell.stages()}


def test_a_training_does_not_know_of_it():
    """Its key is what it was: nothing that was trained before is trained again."""
    (cell, *_), _ = plan_trained(SPEC)
    assert isinstance(cell.source, Train)
    assert "cost" not in str(spec(cell.source)).lower()
    assert isinstance(cell.costs["target"], Cost)


def test_reports_say_it_and_live_without_it(document):
    said = dict(costs(document))
    assert list(said["Parameters"]) == ["1,210", "1,210"]
    assert list(said["FLOPs of one answer, reference model"]) == ["2,368", "n/a"]
    wide = Console(width=200, record=True, file=io.StringIO())
    wide.print(render_text(document))
    pages = [render_html(document), render_markdown(document), wide.export_text()]
    assert all("1,210" in page and "FLOPs of one answer" in page for page in pages)
    older = {**document, "models": {n: dict(m) for n, m in document["models"].items()}}
    for model in older["models"].values():
        del model["cost"]
    validate(older)
    assert costs(older) == []
    assert "FLOPs" not in render_markdown(older)
    assert "FLOPs" not in render_html(older)


def test_a_model_that_cannot_be_counted_fails_no_audit(store, tmp_path, monkeypatch):
    code = """
import torch

class Several(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(64, 10)

    def forward(self, x):
        assert len(x) > 1, "one by one it answers nothing"
        return self.linear(x.flatten(1))

def make():
    torch.manual_seed(0)
    return Several()
"""
    (tmp_path / "several_own.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    attacks = {"confidence": {"kind": "Confidence"}}
    data = {"kind": "Digits", "members": 40, "nonmembers": 40}
    models = {"own": {"factory": "several_own:make"}}
    found = audit({"name": "own", "data": data, "models": models, "attacks": attacks}, store)
    assert found["status"] == "complete"
    validate(found)
    cost = found["models"]["own"]["cost"]["target"]
    assert cost["parameters"] == 650
    assert "one by one" in cost["uncounted"]
    assert dict(costs(found))["FLOPs of one answer"] == ["n/a"]
    assert torch.is_grad_enabled()
