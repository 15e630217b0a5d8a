"""The command line as its user meets it: real processes, exit statuses, what is on which stream."""

import json
import os
import subprocess
import sys

import jsonschema
import numpy as np
import pytest

from trilemma.experiments.reports import schema


def trilemma(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "trilemma", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def imported(code, cwd):
    """The top-level modules that a piece of code imports, and what it printed."""
    tail = "\nimport sys, json; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


RUN = """
import sys
from typer.testing import CliRunner
from trilemma.cli import app
result = CliRunner().invoke(app, {arguments!r})
assert result.exit_code == {status}, result.output
"""


def recorded(path, seed=0, shift=1.0, adversarial=True, rows=(300, 200), classes=5):
    rng = np.random.default_rng(seed)

    def answers(n, extra):
        logits = rng.normal(size=(n, classes))
        label = rng.integers(classes, size=n)
        logits[np.arange(n), label] += 1 + extra
        e = np.exp(logits)
        return (e / e.sum(1, keepdims=True)).astype(np.float32), label

    arrays = {}
    for side, n, extra in (("train", rows[0], shift), ("test", rows[1], 0.0)):
        arrays[f"output_{side}_benign"], arrays[f"{side}_label"] = answers(n, extra)
        if adversarial:
            arrays[f"output_{side}_adversarial"] = arrays[f"output_{side}_benign"][:, ::1]
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("name", "benign", "adversarial"),
    [("yale_natural", "55.85", "54.27"), ("yale_pgd", "61.69", "68.83")],
)
def test_the_recorded_models_of_song_et_al_give_their_table_2(
    fixtures_folder, tmp_path, name, benign, adversarial
):
    done = trilemma(
        "audit", "--predictions", fixtures_folder / f"{name}.npz", "--json", "-", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    jsonschema.validate(document, schema())
    membership = document["models"][name]["membership"]
    found = {
        attack: f"{100 * membership[attack]['best_threshold_accuracy']['value']:.2f}"
        for attack in ("confidence", "confidence_adversarial")
    }
    assert found == {"confidence": benign, "confidence_adversarial": adversarial}
    assert "not_evaluable" in membership["confidence"]["tpr_at_fpr_0.001"]  # 514 non-members
    assert (tmp_path / f"{name}.audit.html").is_file()


def test_several_recorded_models_stand_side_by_side(tmp_path):
    a, b = recorded(tmp_path / "a.npz"), recorded(tmp_path / "b.npz", seed=1, adversarial=False)
    done = trilemma(
        *("audit", "--predictions", a, "--predictions", b, "--name", "first", "--name", "second"),
        *("--json", "out.json", "--markdown", "out.md", "--junit", "out.xml", "--html", "o.html"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out.json").read_text())
    jsonschema.validate(document, schema())
    assert list(document["models"]) == ["first", "second"]
    missing = document["models"]["second"]["membership"]["confidence_adversarial"]
    assert all("no predictions on adversarial" in m["not_evaluable"] for m in missing.values())
    for name in ("out.md", "out.xml", "o.html"):
        assert "first" in (tmp_path / name).read_text()
    assert "first" in done.stdout


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("confidence.auc.low > 0.01", 3),
        ("a:confidence.auc > 0.01", 3),
        ("confidence.auc.low > 0.999", 0),
        ("confidence.tpr_at_fpr_0.001.high > 0.5", 4),
        ("confidence.acu > 0.5", 2),
        ("b:confidence.auc > 0.5", 2),
    ],
)
def test_the_exit_status_tells(tmp_path, condition, status):
    path = recorded(tmp_path / "a.npz")
    done = trilemma("audit", "--predictions", path, "--fail-if", condition, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    if status == 2:
        assert "Traceback" not in done.stderr
        assert done.stderr.startswith("trilemma: --fail-if")
        assert not list(tmp_path.glob("*.html"))
    else:
        assert f"--fail-if '{condition}'" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["audit"], "Give one of FILE, --model, --predictions"),
        (["audit", "x.yaml", "--predictions", "p.npz"], "got FILE and --predictions"),
        (["audit", "none.yaml"], "none.yaml: does not exist"),
        (["audit", "--predictions", "none.npz"], "none.npz"),
        (["audit", "--predictions", "p.npz", "--eps", "0.1"], "--eps: does not apply"),
        (["audit", "--predictions", "p.npz", "--thorough"], "--thorough: does not apply"),
        (["audit", "--model", "pkg:factory"], "--members: is missing"),
        (
            ["audit", "--model", "nowhere:f", "--members", "p.npz", "--nonmembers", "p.npz"],
            "nowhere",
        ),
        (
            ["audit", "--predictions", "p.npz", "--json", "no/such/out.json"],
            "folder does not exist",
        ),
        (["audit", "--predictions", "p.npz", "--html", "."], "is a folder"),
        (
            ["audit", "--predictions", "p.npz", "--json", "x", "--junit", "x"],
            "is named for two outputs",
        ),
        (["audit", "--predictions", "none.npz", "--fail-if", "auc"], "cannot read 'auc'"),
        (["audit", "--predictions", "p.npz", "--name", "a<b"], "'a<b' cannot name a model"),
        (["audit", "--predictions", "p.npz", "--name", "a", "--name", "b"], "2 names for 1"),
        (["data", "get", "digit"], "'digit' is not known"),
        (["claims", "run", "no-study"], "'no-study' is not known"),
        (["claims", "run", "song2019-table2", "--scale", "gpu"], "'gpu' is not known"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(tmp_path, arguments, said):
    recorded(tmp_path / "p.npz")
    done = trilemma(*arguments, cwd=tmp_path)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_debug_shows_the_traceback(tmp_path):
    done = trilemma("audit", "none.yaml", "--debug", cwd=tmp_path)
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_help_imports_nothing_heavy(tmp_path):
    found = imported(RUN.format(arguments=["--help"], status=0), tmp_path)
    heavy = {"torch", "numpy", "scipy", "pyarrow", "dask", "distributed", "pydantic", "sklearn"}
    assert not found & (heavy | {"jinja2", "plotly", "yaml"})


def test_an_audit_of_recorded_predictions_never_imports_torch(tmp_path):
    path = recorded(tmp_path / "a.npz")
    arguments = ["audit", "--predictions", str(path), "--json", "a.json", "--junit", "a.xml"]
    found = imported(RUN.format(arguments=arguments, status=0), tmp_path)
    assert not found & {"torch", "jaxtyping", "sklearn"}


EXPERIMENT = """
data: {kind: Digits, members: 60, nonmembers: 60}
models:
  natural: {recipe: {kind: SmallCNN, epochs: 2}}
attacks:
  confidence: {kind: Confidence}
  adv.v2:
    kind: AdversarialConfidence
    attack: {kind: PGD, ball: {kind: Linf, radius: 1/10}, steps: 2}
"""


def test_a_finished_audit_is_answered_from_the_store_without_torch(tmp_path):
    (tmp_path / "small.yaml").write_text(EXPERIMENT)
    arguments = ["audit", "small.yaml", "--json", "out.json", "--store", "store", "--quiet"]
    first = trilemma(*arguments, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    document = json.loads((tmp_path / "out.json").read_text())
    jsonschema.validate(document, schema())
    assert document["name"] == "small"
    assert set(document["models"]["natural"]["membership"]) == {"confidence", "adv.v2"}
    found = imported(RUN.format(arguments=arguments, status=0), tmp_path)
    assert not found & {"torch", "jaxtyping", "sklearn", "dask"}
    assert json.loads((tmp_path / "out.json").read_text()) == document
    gate = trilemma(*arguments, "--fail-if", "natural:adv.v2.auc.low >= 0", cwd=tmp_path)
    assert gate.returncode == 3


def test_an_attack_that_fails_makes_the_audit_incomplete_and_the_status_1(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import os, torch\n"
        "print('a word from the module')\n"
        "os.write(1, b'and one past Python\\n')\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = torch.nn.Linear(4, 2)\n"
        "    def forward(self, x):\n"
        "        if x.requires_grad:\n"
        "            raise RuntimeError('no gradients here')\n"
        "        return self.layer(x.flatten(1))\n"
    )
    rng = np.random.default_rng(0)
    for name in ("m", "n"):
        np.savez(
            tmp_path / f"{name}.npz",
            x=rng.random((50, 4), dtype=np.float32),
            y=rng.integers(2, size=50),
        )
    arguments = ["--members", "m.npz", "--nonmembers", "n.npz", "--eps", "0.1", "--json", "-"]
    done = trilemma("audit", "--model", "mine:Net", *arguments, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)  # and nothing else: a user's prints go to standard error
    assert "a word from the module" in done.stderr
    assert "and one past Python" in done.stderr
    jsonschema.validate(document, schema())
    assert document["status"] == "incomplete"
    assert any("no gradients here" in failure["error"] for failure in document["failures"])
    membership = document["models"]["mine.Net"]["membership"]
    assert "value" in membership["confidence"]["auc"]
    assert "not_evaluable" in membership["confidence_adversarial"]["auc"]
    assert "incomplete" in document["verdict"]["headline"].lower()


def test_the_schema_and_the_version_are_printed(tmp_path):
    printed = trilemma("schema", cwd=tmp_path)
    jsonschema.Draft202012Validator.check_schema(json.loads(printed.stdout))
    assert trilemma("version", cwd=tmp_path).stdout.strip().count(".") == 2


def test_data_sets_and_claims_are_listed(tmp_path):
    data = trilemma("data", "list", cwd=tmp_path)
    assert data.returncode == 0, data.stderr
    for name in ("digits", "fashion_mnist", "yaleb"):
        assert name in data.stdout
    claims = trilemma("claims", cwd=tmp_path)
    assert claims.returncode == 0, claims.stderr
    assert "song2019-table2" in claims.stdout
    listed = json.loads(trilemma("claims", "--json", cwd=tmp_path).stdout)
    assert {each["status"] for each in listed} <= {"reproduced", "not reproduced", "not run"}
    assert listed[0]["study"] == "song2019-table2"
    studies = trilemma("claims", "studies", cwd=tmp_path)
    assert studies.returncode == 0, studies.stderr
    assert "song2019-figure9" in studies.stdout


def test_nothing_is_written_beside_what_was_asked_for(tmp_path, tmp_path_factory):
    path = recorded(tmp_path / "a.npz")
    store = tmp_path_factory.mktemp("store")
    arguments = ["--quiet", "--html", "page.html", "--store", store]
    trilemma("audit", "--predictions", path, *arguments, cwd=tmp_path)
    found = {each.name for each in tmp_path.iterdir()} - {"trilemma-store", "trilemma-cache"}
    assert found == {"a.npz", "page.html"}


def test_a_quiet_audit_still_says_that_it_lost_something(tmp_path):
    stuck = "{kind: MLP, epochs: 2, optimiser: {kind: SGD, learning_rate: 1.0e+30}}"
    (tmp_path / "bad.yaml").write_text(
        "data: {kind: Digits, members: 60, nonmembers: 60}\n"
        f"models: {{wild: {{recipe: {stuck}}}}}\n"
    )
    done = trilemma("audit", "bad.yaml", "--quiet", "--no-html", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "trilemma: This audit is incomplete" in done.stderr
    assert "diverged" in done.stderr


def test_links_are_followed_and_devices_are_left_alone(tmp_path):
    path = recorded(tmp_path / "a.npz")
    (tmp_path / "link.html").symlink_to(tmp_path / "real.html")
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE, text=True)
    arguments = ["--html", "link.html", "--markdown", "pipe", "--quiet"]
    done = trilemma("audit", "--predictions", path, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "real.html").is_file()
    assert "a" in reader.communicate(timeout=60)[0]
    assert fifo.is_fifo()
