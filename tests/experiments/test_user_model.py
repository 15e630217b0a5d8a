"""A user's model is built, filled and looked at; what is wrong is said in a sentence."""

import itertools

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from trilemma.core.errors import BadInput
from trilemma.experiments.user_model import check_model, load_user_model

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
    "width": (lambda m, x: x[:, :3], "answers 3 numbers a row, the labels have 4 classes"),
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
