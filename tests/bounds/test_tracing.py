"""What is read from a module computes what the module computes; what cannot be read is named."""

import gc
import math
import weakref

import pytest
import torch
from networks import NETWORKS, network
from torch import nn
from torch.nn import functional as F

from trilemma.bounds import Crown, Dual, Interval, Zonotope, bounding, output_bounds, rules, tracing
from trilemma.bounds.tracing import read
from trilemma.core.balls import Linf
from trilemma.core.errors import BadInput


class Following(nn.Module):
    """A forward that is given."""

    def __init__(self, forward, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.how = forward

    def forward(self, x):
        return self.how(x, *self.layers)


def dense(before=4, after=3):
    return nn.Linear(before, after).double()


X = torch.rand(5, 4, dtype=torch.float64)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_computes_what_the_model_does(name):
    model, x = network(name)
    torch.testing.assert_close(read(model, x).values(x)[-1], model(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_model_in_train_mode_is_read_as_in_eval_mode_and_handed_back(name):
    model, x = network(name)
    expected, state = model(x), {k: v.clone() for k, v in model.state_dict().items()}
    modes = [each.training for each in model.train().modules()]
    output_bounds(model, x, Linf(0.1))
    torch.testing.assert_close(read(model, x).values(x)[-1], expected)
    assert [each.training for each in model.modules()] == modes
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())


STEPS = {
    "x + x": lambda x, a: a(x + x),
    "x - relu(x)": lambda x, a: a(x - torch.relu(x)),
    "constant - x": lambda x, a: a(1.5 - x),
    "x - constant": lambda x, a: a(x - 1.5),
    "constant * x": lambda x, a: a(-2 * x),
    "x / constant": lambda x, a: a(x / torch.tensor([1.0, 2.0, -3.0, 4.0], dtype=x.dtype)),
    "constant + x": lambda x, a: a(0.25 + x),
    "methods": lambda x, a: a(x.add(x).mul(3.0).sub(x).div(2.0).relu().contiguous()),
    "shapes": lambda x, a: a(x.reshape(x.shape[0], 2, 2).view(x.size(0), -1).flatten(1)),
    "unused": lambda x, a: (a(x).relu(), a(x))[1],
    "twice": lambda x, a: a(x) + a(x.relu()),
    "dropout": lambda x, a: a(F.dropout(x, 0.5, training=False)),
    "negative": lambda x, a: a(-x),
    "a mean over some features": lambda x, a: a(x.view(-1, 4, 1, 1).mean((2, 3))),
    "a mean over the last axis": lambda x, a: a(torch.mean(x.unsqueeze(2), dim=-1)),
    "a pool sized by its input": lambda x, a: a(
        F.avg_pool2d(x.view(x.shape[0], 4, 1, 1), x.view(x.size(0), 4, 1, 1).size()[3]).flatten(1)
    ),
    "in place, not used again": lambda x, a: torch.relu_(a(x)),
}


@pytest.mark.parametrize("how", STEPS.values(), ids=STEPS.keys())
def test_steps_written_out_in_forward(how):
    model = Following(how, dense())
    torch.testing.assert_close(read(model, X).values(X)[-1], model(X))


def in_place(x, a):
    h = a(x)
    kept = h
    h += 1.5
    return torch.relu(kept) + h


UNSUPPORTED = {
    "Tanh": (nn.Sequential(dense(), nn.Tanh()), "1 (Tanh)"),
    "max pool": (
        nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.MaxPool2d(2), nn.Flatten()),
        "1 (MaxPool2d)",
    ),
    "a product of two values": (Following(lambda x, a: a(x) * a(x), dense()), "mul"),
    "a constant over a value": (Following(lambda x, a: 1 / a(x), dense()), "truediv"),
    "a mean of unequal shape": (
        Following(lambda x, a: a(x) - x.mean(1, keepdim=True), dense()),
        "sub",
    ),
    "a sum of unequal shapes": (Following(lambda x, a: a(x) + a(x)[:, :1], dense()), "getitem"),
    "a batch's own statistics": (
        nn.Sequential(dense(), nn.BatchNorm1d(3, track_running_stats=False).double()),
        "1 (BatchNorm1d)",
    ),
    "reflecting padding": (
        nn.Sequential(
            nn.Unflatten(1, (1, 2, 2)),
            nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect").double(),
            nn.Flatten(),
        ),
        "1 (Conv2d)",
    ),
    "an in-place layer whose input is used again": (
        Following(lambda x, a, r: (lambda h: r(h) + h)(a(x)), dense(), nn.ReLU(inplace=True)),
        "in place",
    ),
    "numbers in a tuple": (
        Following(lambda x, a: a(x) + torch.max(x, 1)[0].mean(), dense()),
        "max",
    ),
    "numbers in a list": (Following(lambda x, a: a(x) * x.tolist()[0][0], dense()), "tolist"),
    "dropout that never stops": (Following(lambda x, a: a(F.dropout(x, 0.5)), dense()), "dropout"),
    "a pool that divides by less than 0": (
        nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.AvgPool2d(2, divisor_override=-3)),
        "1 (AvgPool2d)",
    ),
    "a mean over the rows": (Following(lambda x, a: a(x) - x.mean((0,), True), dense()), "mean"),
    "a keyword for the input": (Following(lambda x, a: a(input=x), dense()), "layers.0 (Linear)"),
}


@pytest.mark.parametrize(("model", "named"), UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_an_unsupported_layer_is_named(model, named):
    with pytest.raises(BadInput) as error:
        read(model, X)
    assert named in str(error.value)
    assert "Supported: Linear, Conv2d" in str(error.value)


@pytest.mark.parametrize("how", [lambda x, a: a(x).view(-1), lambda x, a: a(x) - x.mean()])
def test_rows_must_stay_rows(how):
    with pytest.raises(BadInput, match="changes the number of rows"):
        read(Following(how, dense()), X)


def test_a_forward_that_looks_at_values_is_refused():
    with pytest.raises(BadInput, match="cannot be followed"):
        read(Following(lambda x, a: a(x) if x.sum() > 0 else x, dense()), X)


def test_what_is_no_module_is_refused():
    with pytest.raises(BadInput, match="is a function"):
        read(lambda x: x, X)


def test_two_outputs_are_refused():
    with pytest.raises(BadInput, match="returns"):
        read(Following(lambda x, a: (a(x), x), dense()), X)


def test_a_layer_by_itself_and_no_layer_at_all():
    layer = dense()
    torch.testing.assert_close(read(layer, X).values(X)[-1], layer(X))
    torch.testing.assert_close(read(nn.Sequential(nn.Identity()), X).values(X)[-1], X)


def test_weights_are_those_of_the_moment():
    model = nn.Sequential(dense(4, 4), nn.ReLU(), dense())
    first = read(model, X)
    with torch.no_grad():
        model[0].weight.mul_(2)
    assert read(model, X) is first  # a model of sequences is followed once
    torch.testing.assert_close(first.values(X)[-1], model(X))


def test_a_changed_model_is_read_anew():
    model = nn.Sequential(dense(4, 4), nn.ReLU(), dense())
    first = read(model, X)
    model[1] = nn.Identity()
    assert read(model, X) is not first
    torch.testing.assert_close(read(model, X).values(X)[-1], model(X))
    model.float()
    torch.testing.assert_close(read(model, X.float()).values(X.float())[-1], model(X.float()))


def test_what_is_no_layer_may_change_between_two_calls():
    """A temperature and a flag that forward looks at: bounds are those of the moment."""

    class Settings(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.temperature, self.rectified = dense(), 1.0, False

        def forward(self, x):
            x = torch.relu(x - 0.5) if self.rectified else x
            return self.layer(x) / self.temperature

    model = Settings()
    for model.temperature in (1.0, 2.0, 50.0):
        for model.rectified in (False, True):
            torch.testing.assert_close(read(model, X).values(X)[-1], model(X))
            found = output_bounds(model, X, Linf(0.0))
            torch.testing.assert_close(found.lower, model(X))


def test_constants_are_those_of_the_moment_and_get_gradients():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift, self.last = nn.Parameter(torch.zeros(4, dtype=X.dtype)), dense()

        def forward(self, x):
            return self.last(x - 2 * self.shift)

    model = Shifted()
    read(model, X)
    with torch.no_grad():
        model.shift.fill_(0.5)
    torch.testing.assert_close(read(model, X).values(X)[-1], model(X))
    expected = torch.autograd.grad(model(X)[:, 0].sum(), model.shift)[0]
    bounds = output_bounds(model, X, Linf(0.0))
    got = torch.autograd.grad(bounds.lower[:, 0].sum(), model.shift)[0]
    torch.testing.assert_close(got, expected)


class Normalise(nn.Module):
    """A layer of a user's, without layers in it."""

    def __init__(self, learnt):
        super().__init__()
        mean, std = torch.full((4,), 0.2), torch.full((4,), 0.5)
        keep = nn.Parameter if learnt else nn.Buffer
        self.mean, self.std, self.power = keep(mean.to(X)), keep(std.to(X)), 1.0

    def forward(self, x):
        return self.power * (x - self.mean) / self.std


def normalised(learnt=False):
    return nn.Sequential(Normalise(learnt), dense(4, 4), nn.ReLU(), dense())


def assert_of_the_moment(model):
    found = output_bounds(model, X, Linf(0.0))
    torch.testing.assert_close(found.lower, model(X))
    torch.testing.assert_close(found.upper, model(X))


def test_a_layer_of_ones_own_may_change_between_two_calls():
    """Its mean and its scale by hand or by loading, and what is no tensor."""
    model, other = normalised(), normalised()
    assert_of_the_moment(model)
    model[0].mean += 5
    assert_of_the_moment(model)
    other[0].std *= 7
    model.load_state_dict(other.state_dict())
    assert_of_the_moment(model)
    model[0].power = 3.0
    assert_of_the_moment(model)


def test_a_layer_of_ones_own_is_learnt_step_by_step():
    """Each step has a graph of its own; gradients reach the layer's parameters."""
    model = normalised(learnt=True)
    descent = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        descent.zero_grad()
        torch.autograd.backward(output_bounds(model, X, Linf(0.0)).lower.sum())
        expected = torch.autograd.grad(model(X).sum(), model[0].std)[0]
        torch.testing.assert_close(model[0].std.grad, expected)
        descent.step()


def test_known_layers_alone_are_followed_once():
    model = nn.Sequential(nn.Flatten(), nn.Sequential(dense(4, 4), nn.ReLU()), dense())
    assert read(model, X) is read(model, X)
    with_one_more = nn.Sequential(Normalise(learnt=False), *model)
    assert read(with_one_more, X) is not read(with_one_more, X)


def test_a_model_that_is_gone_is_not_kept():
    model = nn.Sequential(dense(4, 4), nn.ReLU(), dense())
    read(model, X)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("hooked", ["layer", "model"])
@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_are_refused(hooked, kind):
    model = nn.Sequential(dense(4, 4), nn.ReLU(), dense())
    handle = getattr(model[0] if hooked == "layer" else model, kind)(lambda *given: None)
    with pytest.raises(BadInput, match="forward hook"):
        read(model, X)
    handle.remove()
    read(model, X)


def test_parametrised_weights_are_those_of_the_moment():
    layer = torch.nn.utils.parametrizations.weight_norm(dense())
    model = nn.Sequential(nn.ReLU(), layer)
    for _ in range(2):
        torch.testing.assert_close(output_bounds(model, X, Linf(0.0)).lower, model(X))
        with torch.no_grad():
            layer.parametrizations.weight.original0.mul_(3)


def test_a_model_that_computes_something_else_is_refused(monkeypatch):
    """The net under all of this: what was read is compared with what the model answers."""
    monkeypatch.setitem(rules.MODULES, nn.Tanh, rules.MODULES[nn.Identity])
    with pytest.raises(BadInput, match="answers otherwise"):
        read(nn.Sequential(dense(), nn.Tanh()), 3 * X)


def test_an_assignment_in_place_that_cannot_be_seen_is_refused():
    """`h += 1.5` is followed as `h = h + 1.5`, though the other name for h changes, too."""
    with pytest.raises(BadInput, match="answers otherwise"):
        read(Following(in_place, dense()), X)


def test_weights_that_are_no_numbers_are_refused():
    model = nn.Sequential(dense(), nn.ReLU())
    with torch.no_grad():
        model[0].weight[0, 0] = math.nan
    with pytest.raises(BadInput, match="no finite numbers"):
        read(model, X)


@pytest.mark.parametrize("x", [X.float(), X[:, :3]])
def test_inputs_that_do_not_fit_are_refused(x):
    with pytest.raises(BadInput, match=r"does not go through layer 0 \(Linear\)"):
        tracing._Reading(nn.Sequential(dense(), nn.ReLU()), x[:2]).network()


@pytest.mark.parametrize(
    ("ball", "domain", "box"),
    [
        (0.1, Interval(), None),
        (Linf(0.1), Interval, None),
        (Linf(0.1), "ibp", None),
        (Linf(0.1), Interval(), (0, 1)),
    ],
)
def test_what_is_of_another_kind_is_refused(ball, domain, box):
    with pytest.raises(BadInput, match="Give"):
        bounding._check(ball, domain, box)


@pytest.mark.parametrize("domain", [Interval(), Crown(), Dual(), Zonotope()])
def test_inference_mode_changes_nothing(domain):
    model, x = network("residual")
    expected = output_bounds(model, x, Linf(0.05), domain)
    with torch.inference_mode():
        found = output_bounds(model, x.clone(), Linf(0.05), domain)
    torch.testing.assert_close(found.lower, expected.lower)
    torch.testing.assert_close(found.upper, expected.upper)
