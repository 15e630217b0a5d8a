"""Zonotopes against closed forms, and against matrices written out neuron by neuron."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NETWORKS, network
from test_bound_laws import BALLS, BOXES, Y, climbed, points
from torch import nn

from trilemma.bounds import (
    Boxed,
    Diagonal,
    HybridZonotope,
    Interval,
    Smooth,
    Switched,
    Zonotope,
    margins,
    output_bounds,
    zonotope,
)
from trilemma.bounds.operations import Addition, Rectifier
from trilemma.bounds.region import region_of
from trilemma.bounds.tracing import read
from trilemma.core.balls import L2, Linf
from trilemma.core.box import UNIT
from trilemma.core.generators import seeded

FORMS = {
    "Zonotope": Zonotope(),
    "Boxed": HybridZonotope(relu=Boxed()),
    "Diagonal": HybridZonotope(relu=Diagonal()),
    "Switched": HybridZonotope(relu=Switched()),
    "Smooth": HybridZonotope(relu=Smooth()),
}
HYBRIDS = [name for name in FORMS if name != "Zonotope"]
CASES = [
    *itertools.product(FORMS, NETWORKS, ["Linf", "L2 cut"], ["unit"]),
    *itertools.product(["Zonotope", "Smooth"], NETWORKS, ["Linf", "L2"], ["anywhere"]),
]
# Most ReLUs are unstable; the last ball's box is the tighter bound of some values, not of all
WIDE = {"Linf": Linf(0.15), "L2": L2(0.5), "L2 cut": L2(1.5)}
NINE = {"rtol": 1e-9, "atol": 1e-9}
double = torch.float64


# One ReLU


def of_one_relu(config, low, high):
    """Bounds of max(0, z) for z in [low, high]."""
    x = torch.tensor([[(low + high) / 2]], dtype=double)
    found = output_bounds(nn.Sequential(nn.ReLU()), x, Linf((high - low) / 2), config)
    return found.lower.item(), found.upper.item()


PUBLISHED = {  # ends of the relaxation of [low, high], low < 0 < high
    "Zonotope": lambda low, high: (high * low / (high - low), high),
    "Boxed": lambda low, high: (0.0, high),
    "Diagonal": lambda low, high: (low, high - low),
    "Switched": lambda low, high: (0.0, high) if -low > high else (low, high - low),
    "Smooth": lambda low, high: (high * low / (high - low), high - high * low / (high - low)),
}


@pytest.mark.parametrize("form", FORMS)
@given(low=st.floats(-3, -0.01), high=st.floats(0.01, 3))
@settings(max_examples=15)
def test_an_unstable_relu(form, low, high):
    if abs(low + high) < 1e-9:  # where rounding decides which of two is switched to
        return
    found = of_one_relu(FORMS[form], low, high)
    assert found == pytest.approx(PUBLISHED[form](low, high), abs=1e-9)


@pytest.mark.parametrize("form", FORMS)
@given(low=st.floats(-3, 3), width=st.floats(0, 3))
@settings(max_examples=15)
def test_a_stable_relu_is_exact(form, low, width):
    low, high = (low, low + width) if low > 0 else (low - width, low)
    found = of_one_relu(FORMS[form], low, high)
    assert found == pytest.approx((max(0, low), max(0, high)), abs=1e-9)


# Networks


def lively(name, seed=0):
    """Of the rows' own statistics and larger weights, so that ReLUs are unstable in every layer."""
    model, x = network(name, seed)
    for each in model.modules():
        if isinstance(each, nn.Linear | nn.Conv2d):
            each.weight.data *= 2
        if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d):
            each.reset_running_stats()
            each.momentum = None
    model.train()(torch.rand(64, *x.shape[1:], generator=seeded(seed), dtype=double))
    return model.eval(), x


@pytest.mark.parametrize("name", NETWORKS)
def test_the_trials_have_unstable_relus_in_every_layer(name, monkeypatch):
    shares, inner = [], zonotope._rectified

    def watched(form, ends, place):
        shares.append(((ends[0] < 0) & (ends[1] > 0)).double().mean().item())
        return inner(form, ends, place)

    monkeypatch.setattr(zonotope, "_rectified", watched)
    model, x = lively(name)
    for ball in (WIDE["Linf"], WIDE["L2"]):
        output_bounds(model, x, ball, Zonotope(), UNIT)
    assert min(shares) > 0.2
    assert min(shares) < 1


def written_out(operation, shape):
    b = operation.value(torch.zeros(1, *shape, dtype=double))
    units = torch.eye(math.prod(shape), dtype=double).view(-1, *shape)
    return (operation.value(units) - b).flatten(1).T, b.flatten()


def neuron(config, low, high):
    """Slope, shift, size of a new symbol, addition to the box; from the papers, one by one."""
    if low >= 0:
        return 1.0, 0.0, 0.0, 0.0
    if high <= 0:
        return 0.0, 0.0, 0.0, 0.0
    if isinstance(config, Zonotope):
        new = -high * low / (2 * (high - low))
        return high / (high - low), new, new, 0.0
    boxed, diagonal = (0.0, high / 2), (1.0, -low / 2)  # what is kept of the input; the shift
    match config.relu:
        case Boxed():
            slope, shift = boxed
        case Diagonal():
            slope, shift = diagonal
        case Switched():
            slope, shift = boxed if high * (high - low) < -low * (high - low) else diagonal
        case Smooth():
            of_box, of_diagonal = -low / (high - low), high / (high - low)
            slope = of_diagonal * diagonal[0]
            shift = of_box * boxed[1] + of_diagonal * diagonal[1]
    return slope, shift, 0.0, shift


def reference(model, x, ball, box, config):
    """Ends of the outputs for one row: all symbols in one matrix, added one by one."""
    read_in, region = read(model, x[None]), region_of(x[None], ball, box)
    d = x.numel()
    shapes = [read_in.shape, *(node.shape for node in read_in.nodes)]
    total = d + sum(
        node.shape.numel() for node in read_in.nodes if isinstance(node.operation, Rectifier)
    )
    radius = region.radius.expand_as(region.centre).flatten()
    start = region.x if isinstance(ball, L2) else region.centre
    values = [(start.flatten(), torch.eye(d, total, dtype=double), torch.zeros(d, dtype=double))]

    def ends(centre, matrix, extra):
        steps, rest = matrix[:, :d], matrix[:, d:].abs().sum(1) + extra
        corners = steps.abs() @ radius + rest
        if isinstance(ball, Linf):
            return centre - corners, centre + corners
        sphere = ball.radius * steps.square().sum(1).sqrt() + rest
        middle = centre + steps @ (region.centre - region.x).flatten()
        return (
            torch.maximum(centre - sphere, middle - corners),
            torch.minimum(centre + sphere, middle + corners),
        )

    new = d
    for node in read_in.nodes:
        centre, matrix, extra = values[node.inputs[0]]
        match node.operation:
            case Rectifier():
                low, high = ends(centre, matrix, extra)
                centre, matrix, extra = centre.clone(), matrix.clone(), extra.clone()
                for j in range(len(centre)):
                    slope, shift, size, more = neuron(config, low[j].item(), high[j].item())
                    centre[j] = slope * centre[j] + shift
                    matrix[j] *= slope
                    matrix[j, new] = size
                    extra[j] = slope * extra[j] + more
                    new += 1
            case Addition(second=sign):
                other = values[node.inputs[1]]
                centre, matrix = centre + sign * other[0], matrix + sign * other[1]
                extra = extra + other[2]
            case affine:
                w, b = written_out(affine, shapes[node.inputs[0]])
                centre, matrix, extra = w @ centre + b, w @ matrix, w.abs() @ extra
        values.append((centre, matrix, extra))
    return ends(*values[-1])


@pytest.mark.parametrize(("form", "name", "ball", "box"), CASES)
def test_the_same_as_matrices_written_out(form, name, ball, box):
    model, x = lively(name)
    ball, box, config = WIDE[ball], BOXES[box], FORMS[form]
    with torch.no_grad():
        found = output_bounds(model, x, ball, config, box)
        low, high = reference(model, x[1], ball, box, config)
    torch.testing.assert_close(found.lower[1], low, **NINE)
    torch.testing.assert_close(found.upper[1], high, **NINE)


@pytest.mark.parametrize("form", FORMS)
def test_margins_are_those_of_the_network_with_that_last_layer(form):
    model, x = lively("perceptron")
    found = margins(model, x, Y, BALLS["Linf"], FORMS[form])
    for row in range(4):
        merged, eye = nn.Linear(8, 3).double(), torch.eye(3, dtype=double)
        contrast = eye[Y[row]] - eye
        with torch.no_grad():
            merged.weight.copy_(contrast @ model[-1].weight)
            merged.bias.copy_(contrast @ model[-1].bias)
        last = nn.Sequential(*model[:-1], merged)
        low, _ = reference(last, x[row], BALLS["Linf"], None, FORMS[form])
        torch.testing.assert_close(found[row], low, **NINE)


@pytest.mark.parametrize(("form", "name", "ball", "box"), CASES)
def test_no_point_is_outside_where_most_relus_are_unstable(form, name, ball, box):
    model, x = lively(name)
    ball, box, config = WIDE[ball], BOXES[box], FORMS[form]
    with torch.no_grad():
        found = output_bounds(model, x, ball, config, box)
        answers = model(points(x, ball, box, 300, seeded(1))).view(len(x), 300, -1)
    for sign in (1, -1):
        worst = model(climbed(model, x, ball, box, lambda z: sign * z[:, 0]))  # noqa: B023
        answers = torch.cat([answers, worst.detach().unsqueeze(1)], 1)
    assert (answers >= found.lower.unsqueeze(1)).all()
    assert (answers <= found.upper.unsqueeze(1)).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ball", [Linf, L2])
@pytest.mark.parametrize("radius", [1e-2, 1e-4])
def test_what_is_reached_comes_close_to_the_bounds_in_a_small_ball(form, ball, radius):
    """The partner of soundness: the steepest step reaches them, up to second order."""
    model, x = network("residual")
    ball = ball(radius)
    found = output_bounds(model, x, ball, FORMS[form])
    worst = climbed(model, x, ball, None, lambda z: z[:, 0])
    gained = (model(worst) - model(x))[:, 0].detach()
    allowed = (found.upper - model(x))[:, 0].detach()
    assert (gained <= allowed).all()
    if radius < 1e-3:
        assert (gained >= 0.95 * allowed).all()


def test_the_first_relus_loss_is_the_published_one():
    """A symbol for each of two unstable neurons that cancel, and none for the rest."""
    first, second = nn.Linear(1, 3).double(), nn.Linear(3, 1).double()
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0], [-1.0], [1.0]]))
        first.bias.copy_(torch.tensor([0.0, 0.0, 5.0]))
        second.weight.copy_(torch.tensor([[1.0, 1.0, -1.0]]))
        second.bias.fill_(0.0)
    x = torch.zeros(1, 1, dtype=double)
    found = output_bounds(nn.Sequential(first, nn.ReLU(), second), x, Linf(1.0), Zonotope())
    # (x / 2 + 1/4 + e/4) + (-x / 2 + 1/4 + f/4) - (x + 5)
    assert found.upper.item() == pytest.approx(-4.5 + 1.5)
    assert found.lower.item() == pytest.approx(-4.5 - 1.5)


# Between domains


@given(seed=st.integers(0, 2**32 - 1), radius=st.floats(0, 1), name=st.sampled_from([*NETWORKS]))
@settings(max_examples=12, deadline=None)
def test_boxed_is_never_wider_than_intervals(seed, radius, name):
    """By induction: sum |W g| + |W| beta <= |W| (sum |g| + beta), and a ReLU keeps [0, u]."""
    model, x = lively(name, seed)
    for ball, box in ((Linf(radius), None), (Linf(radius), UNIT), (L2(radius), None)):
        with torch.no_grad():
            hybrid = output_bounds(model, x, ball, HybridZonotope(), box)
            wide = output_bounds(model, x, ball, Interval(), box)
        slack = 1e-9 * (1 + wide.upper.abs().amax() + wide.lower.abs().amax())
        assert (hybrid.lower >= wide.lower - slack).all()
        assert (hybrid.upper <= wide.upper + slack).all()


def test_the_others_may_be_wider():
    """The partner: with zDiag a small u and a large -l lose more than an interval."""
    assert of_one_relu(HybridZonotope(relu=Diagonal()), -2.0, 0.1) == pytest.approx((-2.0, 2.1))
    assert of_one_relu(Interval(), -2.0, 0.1) == pytest.approx((0.0, 0.1))


# Gradients


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ball", [Linf(0.2), L2(0.5)])
def test_gradients_are_those_of_differences(form, ball):
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(),
        nn.Linear(3, 2),
    ).double()  # fmt: skip
    model[2].running_mean.fill_(0.3)
    x, names = torch.rand(2, 3, dtype=double), [name for name, _ in model.named_parameters()]

    def bounds(*weights):
        swapped = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(Bounding(model, ball, FORMS[form]), swapped, (x,))

    weights = [each.detach().clone().requires_grad_() for each in model.parameters()]
    assert torch.autograd.gradcheck(bounds, weights, eps=1e-7, atol=1e-5, fast_mode=True)


class Bounding(nn.Module):
    def __init__(self, model, ball, config):
        super().__init__()
        for name, each in model.named_children():
            self.add_module(name, each)
        self.rest = (ball, config)

    def forward(self, x):
        return output_bounds(nn.Sequential(*self.children()), x, *self.rest, UNIT).lower
