"""A user's model is built, filled and looked at; what is wrong is said in a sentence."""

import builtins
import importlib
import itertools
import sys
from importlib.machinery import EXTENSION_SUFFIXES

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from trilemma.core.errors import BadInput
from trilemma.experiments.fitted import Fitted, fitted
from trilemma.experiments.user_model import (
    check_model,
    load_user_model,
    state_fingerprint,
    user_model_fingerprint,
)
from trilemma.oracles import log_probabilities

HEAD = "import torch\nfrom torch import nn\n"
COUNTER = itertools.count()


@pytest.fixture
def spec(tmp_path, monkeypatch):
    """Write a module in the working directory and say where its `build` is."""
    monkeypatch.chdir(tmp_path)

    def write(code, attribute="build"):
        name = f"unit_user_model_{next(COUNTER)}"  # imported once a process
        (tmp_path / f"{name}.py").write_text(HEAD + code)
        return f"{name}:{attribute}"

    return write


def weights(path, **tensors):
    save_file(tensors, path)
    return path


LINEAR = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([1.0, -1.0])}


@pytest.mark.parametrize(
    ("code", "attribute"),
    [
        ("def build(): return nn.Linear(3, 2)", "build"),
        ("class Net(nn.Linear):\n    def __init__(self): super().__init__(3, 2)", "Net"),
        ("net = nn.Linear(3, 2)", "net"),
        ("class Zoo:\n    @staticmethod\n    def small(): return nn.Linear(3, 2)", "Zoo.small"),
    ],
)
def test_a_factory_a_class_or_a_module_gets_the_weights(spec, tmp_path, code, attribute):
    model = load_user_model(spec(code, attribute), weights(tmp_path / "w.safetensors", **LINEAR))
    for name, tensor in LINEAR.items():
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=0, atol=0)


def test_a_module_that_exists_is_copied(spec, tmp_path):
    which = spec("net = nn.Linear(3, 2)", "net")
    filled = load_user_model(which, weights(tmp_path / "w.safetensors", **LINEAR))
    assert not torch.equal(load_user_model(which, None).weight, filled.weight)


def test_a_factory_that_draws_weights_draws_the_same_and_nobody_elses(spec):
    which = spec("def build(): return nn.Linear(3, 2)")
    torch.manual_seed(1)
    first = load_user_model(which, None)
    after = torch.rand(3)
    torch.manual_seed(1)
    torch.testing.assert_close(torch.rand(3), after, rtol=0, atol=0)
    torch.testing.assert_close(load_user_model(which, None).weight, first.weight, rtol=0, atol=0)


BAD = {
    "no attribute": ("def other(): ...", "has no 'build'. It has: nn, other, torch"),
    "import fails": ("1 / 0", "importing unit_.* failed: ZeroDivisionError: division by zero"),
    "syntax": ("def (", "importing unit_.* failed: SyntaxError"),
    "needs a package": ("import no_such_package_7", "needs no_such_package_7, which is not inst"),
    "exits": ("raise SystemExit(3)", "failed: SystemExit: 3"),
    "arguments": ("def build(classes): ...", "failed: TypeError: .*without arguments"),
    "factory fails": ("def build(): raise OSError('no disk')", "factory failed: OSError: no disk"),
    "no module": ("def build(): return nn.Linear(3, 2), 7", "factory returned a tuple"),
    "nothing": ("def build(): nn.Linear(3, 2)", "factory returned a NoneType"),
    "a number": ("build = 7", "is a int. Name a function"),
}


@pytest.mark.parametrize(("code", "message"), BAD.values(), ids=BAD)
def test_code_that_makes_no_model_is_refused(spec, code, message):
    which = spec(code)
    with pytest.raises(BadInput, match=message) as caught:
        load_user_model(which, None)
    assert which in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_module_that_is_not_there(spec):
    with pytest.raises(BadInput, match="there is no module 'unit_user_missing'"):
        load_user_model("unit_user_missing:build", None)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": LINEAR["weight"]}, "missing: bias"),
        (LINEAR | {"scale": torch.ones(1)}, "unexpected: scale"),
        (LINEAR | {"bias": torch.ones(3)}, r"bias \(3,\) instead of \(2,\)"),
    ],
)
def test_weights_of_another_architecture_are_refused(spec, tmp_path, tensors, message):
    which = spec("def build(): return nn.Linear(3, 2)")
    with pytest.raises(BadInput, match=message):
        load_user_model(which, weights(tmp_path / "w.safetensors", **tensors))


def test_pickled_or_missing_weights_are_refused(spec, tmp_path):
    which = spec("def build(): return nn.Linear(3, 2)")
    torch.save(LINEAR, tmp_path / "w.pt")
    with pytest.raises(BadInput, match="save_file"):
        load_user_model(which, tmp_path / "w.pt")
    with pytest.raises(BadInput, match=r"w\.safetensors"):
        load_user_model(which, tmp_path / "w.safetensors")


class Answering(nn.Module):
    """Answers what a function makes of the inputs."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(self, x)


X = torch.linspace(0, 1, 20).view(5, 4)


@pytest.mark.parametrize(
    ("function", "outputs"),
    [
        (lambda m, x: 3 * x - 1, "logits"),
        (lambda m, x: x.log_softmax(1), "logits"),
        (lambda m, x: x.softmax(1), "probabilities"),
        (lambda m, x: x.half().softmax(1), "probabilities"),
        (lambda m, x: x, "logits"),  # in [0, 1], but rows do not sum to 1
        (lambda m, x: nn.functional.dropout(x, 0.5, m.training), "logits"),
    ],
)
def test_logits_are_told_from_probabilities(function, outputs):
    model = Answering(function).train()
    found = check_model(model, X, classes=4)
    assert (found.outputs, found.classes) == (outputs, 4)
    assert model.training  # as it came


def test_the_sample_is_not_changed_by_a_model_that_works_in_place():
    before = X.clone()
    check_model(Answering(lambda m, x: x.mul_(2)), X, classes=4)
    torch.testing.assert_close(X, before, rtol=0, atol=0)


WRONG = {
    "width": (lambda m, x: x[:, :3], "answers 3 numbers a row, the labels have 4.*--classes"),
    "one logit": (lambda m, x: x[:, :1], r"one number a row \(shape \(5, 1\)\)"),
    "flat": (lambda m, x: x[:, 0], r"one number a row \(shape \(5,\)\)"),
    "map": (lambda m, x: x[:, :, None], r"answers shape \(5, 4, 1\) to 5 inputs"),
    "tuple": (lambda m, x: (x, x), "answers a tuple"),
    "labels": (lambda m, x: (10 * x).long(), "answers torch.int64"),
    "NaN": (lambda m, x: x / (x > 0.5), r"answers (nan|inf) to input 0 \(\d of 5"),
    "random": (lambda m, x: nn.functional.dropout(x), "answers differently to identical inputs"),
    "fails": (lambda m, x: x @ torch.ones(3, 3), r"cannot answer inputs of shape \(5, 4\): Runt"),
}


@pytest.mark.parametrize(("function", "message"), WRONG.values(), ids=WRONG)
def test_models_that_cannot_be_audited_are_refused(function, message):
    with pytest.raises(BadInput, match=message) as caught:
        check_model(Answering(function), X, classes=4)
    assert caught.value.fix


class Layered(nn.Module):
    """A linear layer that notes what it is given."""

    def __init__(self, dtype, device="cpu", final=None):
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        self.layer = nn.Linear(4, 3, dtype=dtype, device=device)
        self.final = final or nn.Identity()

    def forward(self, x):
        self.given = x.dtype, x.device.type
        return self.final(self.layer(x))


DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_model_is_asked_in_its_precision_on_its_device(dtype, device):
    model = Layered(dtype, device).train()
    x = X.clone().requires_grad_()
    answer = fitted(model)(x)
    assert model.given == (dtype, device)
    assert (answer.dtype, answer.device.type) == (torch.float32, "cpu")
    expected = model.layer(X.to(device, dtype)).float().cpu()
    torch.testing.assert_close(answer, expected, rtol=0, atol=0)
    answer.sum().backward()
    slope = model.layer.weight.detach().float().cpu().sum(0).expand(5, 4)
    torch.testing.assert_close(x.grad, slope, rtol=0.02, atol=0.02)
    found = check_model(model, X, classes=3)
    assert (found.outputs, model.training) == ("logits", True)
    assert found == check_model(fitted(model), X, classes=3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_probabilities_of_another_precision_are_told_as_such(dtype):
    model = Layered(dtype, final=nn.Softmax(1))
    assert check_model(model, X, classes=3).outputs == "probabilities"


def test_what_needs_no_fitting_stays_itself_and_is_fitted_once():
    plain, double = Layered(torch.float32), fitted(Layered(torch.float64).eval())
    assert fitted(plain) is plain
    assert fitted(double) is double
    assert isinstance(double, Fitted)
    assert not double.training
    for odd in (nn.Identity(), nn.LazyLinear(3)):
        assert fitted(odd) is odd
    assert fitted(Answering(lambda m, x: (x, x)).double()) is not None
    assert isinstance(
        Fitted(Answering(lambda m, x: (x,)), dtype=X.dtype, device=X.device)(X), tuple
    )


def test_a_users_double_model_answers_the_audit(spec):
    model = load_user_model(spec("def build(): return nn.Linear(4, 3).double()"), None)
    assert log_probabilities(model, X).shape == (5, 3)
    assert model.training


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64, torch.bool])
def test_the_state_fingerprint_follows_every_entry(dtype):
    def holding(value, dtype=dtype, name="b"):
        model = nn.Linear(1, 1)
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
        model.register_buffer(name, torch.full((), value).to(dtype))
        return state_fingerprint(model)

    before = holding(1.0)
    assert before == holding(1.0)
    assert len(before) == 32
    assert len({before, holding(0.0), holding(1.0, torch.float64), holding(1.0, name="c")}) == 4


def test_the_state_fingerprint_tells_shapes_but_not_order_apart():
    flat, square = nn.Module(), nn.Module()
    flat.register_buffer("a", torch.zeros(4))
    square.register_buffer("a", torch.zeros(2, 2))
    assert state_fingerprint(flat) != state_fingerprint(square)
    first, second = nn.Module(), nn.Module()
    for name in "ab":
        first.register_buffer(name, torch.zeros(2))
    for name in "ba":
        second.register_buffer(name, torch.zeros(2))
    assert state_fingerprint(first) == state_fingerprint(second)
    second.register_buffer("c", torch.ones(3, 2).T)  # not contiguous
    assert state_fingerprint(first) != state_fingerprint(second)


def test_the_state_fingerprint_sees_what_is_no_plain_tensor():
    class Extra(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value
            self.register_buffer("sparse", torch.eye(3).to_sparse())

        def get_extra_state(self):
            return {"value": self.value}

    assert state_fingerprint(Extra(1)) == state_fingerprint(Extra(1))
    assert state_fingerprint(Extra(1)) != state_fingerprint(Extra(2))
    assert len(state_fingerprint(nn.LazyLinear(3))) == 32


def test_fitting_does_not_count_in_the_state_fingerprint():
    model = nn.Linear(3, 2).double()
    assert state_fingerprint(fitted(model)) == state_fingerprint(model)
    assert state_fingerprint(model.float()) != state_fingerprint(nn.Linear(3, 2).double())


def test_a_factory_that_loads_its_own_weights_shows_in_the_state_alone(spec, tmp_path):
    which = spec(
        "from safetensors.torch import load_file\n"
        "def build():\n"
        "    net = nn.Linear(3, 2)\n"
        "    net.load_state_dict(load_file('own.safetensors'))\n"
        "    return net\n"
    )
    seen = []
    for scale in (1, 2):
        weights(tmp_path / "own.safetensors", **{n: scale * t for n, t in LINEAR.items()})
        state = state_fingerprint(load_user_model(which, None))
        seen.append((user_model_fingerprint(which, None), state))
    assert seen[0][0] == seen[1][0]
    assert seen[0][1] != seen[1][1]


def edit(folder, name, text):
    (folder / f"{name}.py").write_text(HEAD + text)


def test_an_edited_module_is_loaded_as_it_is_now(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    edit(tmp_path, "unit_edited_layers", "WIDTH = 2\n")
    edit(
        tmp_path,
        "unit_edited",
        "from unit_edited_layers import WIDTH\ndef build(): return nn.Linear(3, WIDTH)\n",
    )

    def width():
        return load_user_model("unit_edited:build", None).out_features

    assert width() == 2
    edit(tmp_path, "unit_edited_layers", "WIDTH = 2 + 3\n")  # only what is imported changes
    assert width() == 5
    other = tmp_path / "other"
    other.mkdir()
    edit(other, "unit_edited", "def build(): return nn.Linear(3, 7)\n")
    monkeypatch.chdir(other)  # the same name elsewhere
    assert width() == 7


def test_a_module_that_was_imported_by_somebody_else_is_loaded_anew(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    edit(tmp_path, "unit_notebook", "def build(): return nn.Linear(3, 2)\n")
    older = importlib.import_module("unit_notebook")
    edit(tmp_path, "unit_notebook", "def build(): return nn.Linear(3, 2 + 2)\n")
    assert load_user_model("unit_notebook:build", None).out_features == 4
    assert older.build().out_features == 2


def test_a_module_that_did_not_change_runs_once(spec):
    which = spec(
        "import builtins\n"
        "builtins.unit_runs = getattr(builtins, 'unit_runs', 0) + 1\n"
        "def build(): return nn.Linear(3, 2)\n"
    )
    try:
        for _ in range(3):
            load_user_model(which, None)
        assert builtins.unit_runs == 1
    finally:
        del builtins.unit_runs


def test_only_the_users_own_modules_are_dropped(spec, tmp_path, monkeypatch):
    """Neither torch, nor trilemma, nor a package with compiled parts, which loads only once."""
    package = tmp_path / "unit_compiled"
    package.mkdir()
    (package / "__init__.py").write_text("from . import fast\n")
    (package / "fast.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    compiled = importlib.import_module("unit_compiled.fast")
    monkeypatch.setattr(compiled, "__file__", str(package / f"fast{EXTENSION_SUFFIXES[0]}"))
    which = spec("import trilemma.oracles, unit_compiled\ndef build(): return nn.Linear(3, 2)\n")
    importlib.import_module(which.partition(":")[0])
    kept = ("torch", "torch.nn", "trilemma", "trilemma.oracles", "unit_compiled")
    before = {name: sys.modules[name] for name in kept}
    load_user_model(which, None)
    load_user_model("torch.nn:Identity", None)
    assert all(sys.modules[name] is module for name, module in before.items())
