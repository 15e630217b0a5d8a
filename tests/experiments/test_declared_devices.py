"""Devices for a declared experiment: by the environment or --devices; no part of any key."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml

from trilemma.core.errors import BadInput, MissingExtra
from trilemma.experiments import deliver
from trilemma.experiments.audit import audit
from trilemma.experiments.deliver import Outputs
from trilemma.experiments.graph import key
from trilemma.experiments.reports import validate
from trilemma.experiments.store import Store
from trilemma.experiments.trained import plan_trained
from trilemma.training import devices

MLP = {"kind": "MLP", "epochs": 2, "hidden": [8]}
ATTACK = {"kind": "PGD", "ball": {"kind": "Linf", "radius": 0.05}, "steps": 2}
SPEC = {
    "name": "devices",
    "data": {"kind": "Digits", "members": 40, "nonmembers": 40},
    "models": {"m": {"recipe": MLP, "objective": {"kind": "Adversarial", "attack": ATTACK}}},
}


def weights(store):
    (cell,), _ = plan_trained(SPEC)
    return store.read(key(cell.source)).arrays


def test_the_variable_is_one():
    assert deliver.DEVICES == devices.VARIABLE


def test_a_device_of_choice_is_told_and_does_not_count(tmp_path, monkeypatch):
    pytest.importorskip("lightning_fabric")
    plain, chosen = Store(tmp_path / "plain"), Store(tmp_path / "chosen")
    usual = audit(SPEC, plain)["models"]["m"]
    monkeypatch.setenv(devices.VARIABLE, "1xcpu")
    document = validate(audit(SPEC, chosen))
    assert document["models"]["m"]["description"]["trained on"] == "1 x cpu"
    assert "trained on" not in usual["description"]
    assert document["models"]["m"]["membership"] == usual["membership"]
    assert all((weights(chosen)[name] == w).all() for name, w in weights(plain).items())
    assert "trained on" not in audit(SPEC, plain)["models"]["m"]["description"]  # found again


def test_devices_that_cannot_be_used_are_refused_before_any_work(monkeypatch):
    monkeypatch.setenv(devices.VARIABLE, "many")
    with pytest.raises(BadInput, match="devices: got 'many'"):
        plan_trained(SPEC)
    monkeypatch.setenv(devices.VARIABLE, "2")
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(MissingExtra, match=r"pip install 'trilemma\[devices\]'"):
        plan_trained(SPEC)


def test_the_option_sets_the_variable_for_the_time_of_the_audit(tmp_path, monkeypatch):
    seen = []

    def watched(table, store, **_):
        seen.append(os.environ.get(devices.VARIABLE))
        raise KeyboardInterrupt

    monkeypatch.setattr(deliver, "audit", watched)
    quiet = Outputs(page=False, quiet=True)
    monkeypatch.setenv(devices.VARIABLE, "3xcpu")
    for given in ("2xcuda", None):
        with pytest.raises(KeyboardInterrupt):
            deliver.deliver(SPEC, [], quiet, store=Store(tmp_path), devices=given)
    assert seen == ["2xcuda", "3xcpu"]
    assert os.environ[devices.VARIABLE] == "3xcpu"


@pytest.mark.parametrize("other", [{"workers": 2}, {"scheduler": "tcp://host:8786"}])
def test_devices_are_not_for_other_processes(tmp_path, other):
    with pytest.raises(BadInput, match=r"--devices: got 2 beside --(workers 2|scheduler tcp)"):
        deliver.deliver(SPEC, [], Outputs(page=False), store=Store(tmp_path), devices="2", **other)


@pytest.mark.slow
def test_two_devices_from_the_command_line(tmp_path):
    pytest.importorskip("lightning_fabric")
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(SPEC))

    def run(*more):
        command = [sys.executable, "-m", "trilemma", "audit", "e.yaml", "--no-html", "--json", "-"]
        done = subprocess.run(
            [*command, "--store", f"store{len(more)}", *more],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Initializing distributed" not in done.stderr
        return json.loads(done.stdout)

    shared = run("--devices", "2xcpu")
    assert shared["models"]["m"]["description"]["trained on"] == "2 x cpu"
    run()
    for name, w in weights(Store(tmp_path / "store0")).items():
        np.testing.assert_allclose(weights(Store(tmp_path / "store2"))[name], w, 1e-3, 1e-5)
