"""Gradients that lead nowhere: noticed, told in every form, and not seen where there are none."""

import io
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from rich.console import Console

from trilemma.attacks.evasion import ATTACKS, AutoAttack
from trilemma.core.errors import BadInput
from trilemma.experiments.audit import audit
from trilemma.experiments.declared import Own, Thorough, choose
from trilemma.experiments.deliver import Outputs, deliver
from trilemma.experiments.reports import render_html, render_markdown, render_text, schema


def corners(model, x, y, config, *, box, rng, batch=None):
    """The worst of some corners of the ball: needs no gradients, and little time."""
    worst, least = x, torch.full((len(x),), torch.inf)
    for sign in torch.randint(2, (64, *x.shape[1:]), generator=rng) * 2.0 - 1:
        z = box.clip(x + config.ball.radius * sign)
        with torch.no_grad():
            logits = model(z)
        rival = logits.scatter(1, y.view(-1, 1), -torch.inf).amax(1)
        lead = logits.gather(1, y.view(-1, 1)).squeeze(1) - rival
        worst = torch.where((lead < least).view(-1, 1), z, worst)
        least = torch.minimum(lead, least)
    return worst


@pytest.fixture
def quick(monkeypatch):
    """Something that takes less time in AutoAttack's place."""
    monkeypatch.setitem(ATTACKS, AutoAttack, corners)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A linear model that is right on all its rows, and the same with its gradients masked.

    By 0.25 in each feature every row can be moved to another class.
    """
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "W = torch.tensor([[4., 0, 0, -4, 0, 0], [0, 4, 0, 0, -4, 0], [0, 0, 4, 0, 0, -4]])\n"
        "class Linear(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.weight = nn.Parameter(W.clone())\n"
        "    def forward(self, x):\n"
        "        return x @ self.weight.T\n"
        "class Steps(Linear):\n"
        "    def forward(self, x):\n"
        "        return super().forward((50 * x).round() / 50)\n"
        "class Saturated(Linear):\n"
        "    def forward(self, x):\n"
        "        return 1e4 * super().forward(x)\n"
    )
    rng = np.random.default_rng(0)
    weight = np.concatenate([4 * np.eye(3), -4 * np.eye(3)], 1)
    for side in "mn":
        x = rng.random((600, 6), dtype=np.float32)
        _, second, first = np.sort(x @ weight.T, 1).T
        x = x[(first - second > 0.5) & (first - second < 2)][:100]
        np.savez(tmp_path / f"{side}.npz", x=x, y=(x @ weight.T).argmax(1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def declared(factory, eps="0.15", **thorough):
    given_ = Own(
        factory=f"mine:{factory}", members=Path("m.npz"), nonmembers=Path("n.npz"), eps=eps
    )
    return choose(None, given_, [], ["own"], Thorough(**thorough))


def deliver_all(table, store, folder, *conditions):
    html, markdown, junit = (folder / f"o.{kind}" for kind in ("html", "md", "xml"))
    outputs = Outputs(
        json=str(folder / "o.json"), html=html, markdown=markdown, junit=junit, quiet=True
    )
    status = deliver(table, conditions, outputs, store=store)
    return status, json.loads((folder / "o.json").read_text())


@pytest.mark.parametrize("factory", ["Steps", "Saturated"])
def test_masked_gradients_are_told_in_every_form(own, store, factory):
    status, document = deliver_all(declared(factory, eps="0.3", rows=20), store, own)
    assert status == 0
    jsonschema.validate(document, schema())
    model = document["models"]["own"]
    check = model["self_tests"]["gradient_masking"]
    assert check["status"] == "warn"
    assert model["rows"]["autoattack_members"] == 20
    assert check["details"]["points"]["test"] > 20
    assert model["accuracy"]["autoattack_test"]["value"] == 0
    warning = next(w for w in document["verdict"]["warnings"] if "gradient masking" in w)
    assert warning.startswith("“own”: AutoAttack finds")
    for name in ("o.html", "o.md"):
        text = (own / name).read_text()
        assert "Accuracy on test rows, PGD-20" in text
        assert "Accuracy on 20 test rows, AutoAttack" in text
        assert "gradient masking" in text
    assert "gradient_masking" in (own / "o.xml").read_text()
    printed = Console(file=io.StringIO(), width=100)
    printed.print(render_text(document))
    for said in ("PGD-20, test", "AutoAttack, 20 test", "gradient masking"):
        assert said in printed.file.getvalue()
    assert list(document["robustness"]) == ["adversarial", "autoattack"]


def test_an_ordinary_model_is_not_suspected(own, store):
    table = declared("Linear", eps="0.1", rows=20)
    status, document = deliver_all(table, store, own)
    assert status == 0
    check = document["models"]["own"]["self_tests"]["gradient_masking"]
    assert check["status"] == "pass"
    # on a linear model the gradient leads to the worst point there is
    assert check["details"]["accuracy"]["PGD-20"] == check["details"]["accuracy"]["AutoAttack"]
    assert not any("masking" in warning for warning in document["verdict"]["warnings"])
    assert 0 < document["models"]["own"]["accuracy"]["autoattack_test"]["value"] < 1


def test_few_rows_are_said_to_be_few(own, store, quick):
    document = audit(declared("Linear", rows=15), store)
    assert document["models"]["own"]["rows"]["autoattack_nonmembers"] == 15
    assert document["models"]["own"]["accuracy"]["autoattack_test"]["low"] < 0.9
    for text in (render_markdown(document), render_html(document)):
        assert "Accuracy on 15 test rows, AutoAttack" in text


def test_conditions_may_ask_for_accuracies(own, store, quick):
    table = declared("Steps", rows=20)
    condition = "accuracy.autoattack_test.high < 0.8"
    assert deliver_all(table, store, own, condition)[0] == 3
    assert condition in (own / "o.xml").read_text().replace("&lt;", "<")
    assert deliver_all(table, store, own, "own:accuracy.adversarial_test < 0.5")[0] == 0
    with pytest.raises(BadInput, match=r"was not measured.*--thorough"):
        deliver_all(declared("Steps"), store, own, condition)


def test_without_a_ball_there_is_nothing_to_measure_and_the_report_says_so(own, store):
    document = audit(declared("Linear", eps=None), store)
    jsonschema.validate(document, schema())
    assert document["robustness"] == {}
    assert "gradient_masking" not in document["models"]["own"]["self_tests"]
    assert "autoattack_test" not in document["models"]["own"]["accuracy"]
    assert (
        "no perturbation"
        in document["models"]["own"]["accuracy"]["adversarial_test"]["not_evaluable"]
    )
    assert "It was not measured: no ball" in render_html(document)
    assert "AutoAttack" not in render_markdown(document)


def test_a_costly_attack_that_fails_takes_nothing_else_along(own, store, monkeypatch):
    def breaks(*given_, **named):
        raise RuntimeError("no more memory")

    monkeypatch.setitem(ATTACKS, AutoAttack, breaks)
    status, document = deliver_all(declared("Linear", rows=20), store, own)
    assert status == 1
    jsonschema.validate(document, schema())
    model = document["models"]["own"]
    assert "value" in model["accuracy"]["adversarial_test"]
    assert "failed" in model["accuracy"]["autoattack_test"]["not_evaluable"]
    assert model["self_tests"]["gradient_masking"]["status"] == "not_evaluable"


def test_recorded_models_beside_others_have_no_such_number(own, store, quick):
    rng = np.random.default_rng(2)
    label = np.arange(40) % 3
    kept = dict(
        zip(("output_train", "output_test"), rng.dirichlet(np.ones(3), (2, 40)), strict=True)
    )
    np.savez("old.npz", **kept, train_label=label, test_label=label)
    table = declared("Linear", rows=20)
    table["models"]["old"] = {"predictions": "old.npz"}
    document = audit(table, store)
    jsonschema.validate(document, schema())
    old = document["models"]["old"]
    assert "it takes the model" in old["accuracy"]["autoattack_test"]["not_evaluable"]
    assert "gradient_masking" not in old["self_tests"]
    text = render_markdown(document)
    assert "Accuracy on test rows, attacked" in text  # each by its own attack
    assert "Accuracy on 20 test rows, AutoAttack" in text
