"""The dual against explicit matrices, linear and integer programs, and finite differences."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds as Within
from scipy.optimize import LinearConstraint, linprog, milp
from stacks import branches, convolutional, perceptron
from torch import nn

from trilemma.bounds import Dual, margins, output_bounds
from trilemma.bounds import dual as module
from trilemma.core.balls import L2, Linf
from trilemma.core.box import UNIT
from trilemma.core.generators import seeded

CLOSE = {"rtol": 1e-9, "atol": 1e-9}
seeds = st.integers(0, 2**32 - 1)


# --- closed forms ---


@given(seed=seeds, radius=st.floats(0, 2))
@settings(max_examples=20)
def test_one_layer_in_closed_form(seed, radius):
    layer, x = perceptron(seed, (5, 3))
    for ball, dual in ((Linf(radius), 1), (L2(radius), 2)):
        found = output_bounds(layer, x, ball, Dual())
        reach = radius * layer[0].weight.norm(p=dual, dim=1)
        torch.testing.assert_close(found.lower, layer(x) - reach, **CLOSE)
        torch.testing.assert_close(found.upper, layer(x) + reach, **CLOSE)


def test_one_crossing_unit_in_closed_form():
    """relu(z) for z in [-1, 3] lies above 3/4 z and below 3/4 (z + 1): from -3/4 to 3."""
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1, bias=False)).double()
    with torch.no_grad():
        model[0].weight.fill_(2.0), model[0].bias.fill_(1.0), model[2].weight.fill_(1.0)
    found = output_bounds(model, torch.zeros(1, 1).double(), Linf(1.0), Dual())
    torch.testing.assert_close(found.lower.item(), -0.75, **CLOSE)
    torch.testing.assert_close(found.upper.item(), 3.0, **CLOSE)


@given(seed=seeds)
@settings(max_examples=10)
def test_where_no_unit_crosses_the_network_is_a_matrix(seed):
    model, x = perceptron(seed)
    (jacobian,) = torch.autograd.functional.jacobian(model, (x[:1],))
    weight = jacobian[0, :, 0]
    found = output_bounds(model, x[:1], Linf(1e-9), Dual())
    reach = 1e-9 * weight.abs().sum(1)
    torch.testing.assert_close((found.upper - found.lower)[0] / 2, reach, rtol=1e-3, atol=1e-14)


# --- the published algorithm, with matrices ---


def matrices(model, x):
    """The affine maps between ReLUs, written out: (W, b), one after the other."""
    layers, found, segment = list(model.children()), [], []
    for layer in [*layers, None]:
        if layer is not None and not isinstance(layer, nn.ReLU):
            segment.append(layer)
            continue
        step = nn.Sequential(*segment)
        size = x[0].numel()
        units = torch.cat([torch.zeros(1, size), torch.eye(size)]).to(x).view(-1, *x.shape[1:])
        with torch.no_grad():
            images = step(units).flatten(1)
            x, segment = step(x), []
        found.append(((images[1:] - images[0]).T, images[0]))
    return found


def before_relu(layers, x, ball):
    """l and u of each hidden layer: theorem 1 for c = +- each unit (ICML 2018, algorithm 1)."""
    bounds = []
    for depth in range(1, len(layers)):
        size = len(layers[depth - 1][1])
        units = torch.eye(size).to(x)
        lower = [objective(layers[:depth], bounds, x, ball, c) for c in units]
        upper = [-objective(layers[:depth], bounds, x, ball, -c) for c in units]
        bounds.append((torch.stack(lower), torch.stack(upper)))
    return bounds


def objective(layers, bounds, x, ball, c):
    """J(x, nu) of theorem 1."""
    nu, value = -c, 0.0
    for depth in range(len(layers) - 1, -1, -1):
        weight, bias = layers[depth]
        value -= nu @ bias
        nu = weight.T @ nu
        if depth > 0:
            lower, upper = bounds[depth - 1]
            crossing = (lower < 0) & (upper > 0)
            slope = torch.where(crossing, upper / (upper - lower), (lower >= 0).to(lower))
            nu = slope * nu
            value += (lower * nu.clamp(min=0))[crossing].sum()
    dual = nu.abs().sum() if isinstance(ball, Linf) else nu.norm()
    return value - x.flatten() @ nu - ball.radius * dual


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.5)], ids=["Linf", "L2"])
@pytest.mark.parametrize("build", [perceptron, convolutional])
def test_the_published_algorithm(build, ball):
    model, x = build(1)
    layers = matrices(model, x)
    y = torch.arange(len(x)) % 3
    with torch.no_grad():
        found = margins(model, x, y, ball, Dual())
        for i, row in enumerate(x):
            bounds = before_relu(layers, row, ball)
            for j in set(range(3)) - {int(y[i])}:
                c = torch.zeros(3).to(x)
                c[y[i]], c[j] = 1.0, -1.0
                expected = objective(layers, bounds, row, ball, c)
                torch.testing.assert_close(found[i, j], expected, **CLOSE)


# --- programs ---


def program(layers, bounds, x, radius, box, triangle):
    """Of the relaxed network over (x, z_1, relu_1, z_2, ...): equations, inequalities, ends.

    A crossing ReLU lies below the line from (l, 0) to (u, u), and above 0 and z in the triangle,
    above d z in the dual's own relaxation.
    """
    sizes = [x.numel()]
    for weight, _ in layers[:-1]:
        sizes += [len(weight)] * 2
    at = np.cumsum([0, *sizes])
    equal, right, below, most = [], [], [], []
    ends = [(max(v - radius, box[0]), min(v + radius, box[1])) for v in x.tolist()]

    def row(*terms):
        line = np.zeros(at[-1])
        for index, factor in terms:
            line[index] += factor
        return line

    for depth, (weight, bias) in enumerate(layers[:-1]):
        start, z, hat = at[2 * depth], at[2 * depth + 1], at[2 * depth + 2]
        for j, (lower, upper) in enumerate(
            zip(*map(torch.Tensor.tolist, bounds[depth]), strict=True)
        ):
            line = row((z + j, 1.0))
            line[start : start + weight.shape[1]] -= weight[j].numpy()
            equal.append(line), right.append(bias[j].item())
            if lower < 0 < upper:
                d = upper / (upper - lower)
                below.append(row((hat + j, 1.0), (z + j, -d))), most.append(-d * lower)
                floors = (0.0, 1.0) if triangle else (d,)
                for slope in floors:
                    below.append(row((hat + j, -1.0), (z + j, slope))), most.append(0.0)
            else:
                equal.append(row((hat + j, 1.0), (z + j, -float(lower >= 0)))), right.append(0.0)
        ends += [(None, None)] * (2 * len(weight))
    return {"A_eq": np.array(equal), "b_eq": right, "A_ub": np.array(below) if below else None,
            "b_ub": most or None, "bounds": ends}, at[-1] - sizes[-1]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("radius", [0.05, 0.2, 0.8])
def test_the_bound_is_the_optimum_of_its_relaxation_and_below_that_of_the_triangle(seed, radius):
    model, x = perceptron(seed)
    layers, row = matrices(model, x), x[0]
    found = output_bounds(model, x[:1], Linf(radius), Dual())
    bounds = before_relu(layers, row, Linf(radius))
    assert any(((low < 0) & (high > 0)).any() for low, high in bounds) or radius < 0.1
    for j, c in enumerate(layers[-1][0]):
        values = []
        for triangle in (False, True):
            given_, start = program(layers, bounds, row, radius, (-9.0, 9.0), triangle)
            cost = np.zeros(given_["A_eq"].shape[1])
            cost[start:] = c.numpy()
            values.append(linprog(cost, **given_).fun + layers[-1][1][j].item())
        assert math.isclose(values[0], found.lower[0, j].item(), rel_tol=1e-7, abs_tol=1e-7)
        assert found.lower[0, j].item() <= values[1] + 1e-7


def exact_minimum(layers, x, radius, c, constant):
    """min <c, relu_k> + constant over the ball, by an integer program with interval bounds."""
    low, high = x - radius, x + radius
    spans = []
    for weight, bias in layers[:-1]:
        centre, reach = weight @ (low + high) / 2 + bias, weight.abs() @ (high - low) / 2
        spans.append((centre - reach, centre + reach))
        low, high = spans[-1][0].relu(), spans[-1][1].relu()
    sizes = [x.numel(), *[len(bias) for _, bias in layers[:-1]]]
    at = np.cumsum([0, *sizes])
    hidden = at[-1] - at[1]
    lines, least, most = [], [], []

    def add(line, bottom, top):
        lines.append(line), least.append(bottom), most.append(top)

    for depth, (weight, bias) in enumerate(layers[:-1]):
        for j in range(len(bias)):
            unit, switch = at[depth + 1] + j, at[-1] + at[depth + 1] - at[1] + j
            lower, upper = (
                span[j].item() + slack
                for span, slack in zip(spans[depth], (-1e-3, 1e-3), strict=True)
            )
            line = np.zeros(at[-1] + hidden)
            line[at[depth] : at[depth + 1]] = -weight[j].numpy()
            line[unit] = 1.0
            add(line, bias[j].item(), np.inf)  # relu >= z
            above = line.copy()
            above[switch] = -lower
            add(above, -np.inf, bias[j].item() - lower)  # relu <= z - l (1 - s)
            cap = np.zeros_like(line)
            cap[unit], cap[switch] = 1.0, -upper
            add(cap, -np.inf, 0.0)  # relu <= u s
    bottom = np.concatenate([(x - radius).numpy(), np.zeros(2 * hidden)])
    top = np.concatenate([(x + radius).numpy(), np.full(hidden, np.inf), np.ones(hidden)])
    cost = np.zeros(at[-1] + hidden)
    cost[at[-2] : at[-1]] = c.numpy()
    whole = np.concatenate([np.zeros(at[-1]), np.ones(hidden)])
    answer = milp(
        cost,
        constraints=LinearConstraint(np.array(lines), least, most),
        bounds=Within(bottom, top),
        integrality=whole,
        options={"mip_rel_gap": 0.0},
    )
    return answer.fun + constant


@pytest.mark.parametrize("seed", range(3))
def test_the_gap_to_the_exact_minimum_closes_as_the_ball_shrinks(seed):
    model, x = perceptron(seed, (3, 5, 4, 2))
    layers, row, y = matrices(model, x), x[0], torch.tensor([0])
    (weight, bias), gaps = layers[-1], []
    for radius in (1.0, 0.1, 1e-3):
        found = margins(model, x[:1], y, Linf(radius), Dual())[0, 1].item()
        worst = exact_minimum(
            layers, row, radius, weight[0] - weight[1], (bias[0] - bias[1]).item()
        )
        assert found <= worst + 1e-6
        gaps.append(worst - found)
    assert gaps[2] <= 1e-5
    assert gaps[0] > 1e-3  # and it is a relaxation


# --- gradients, memory ---

CONFIGS = {"exact": Dual(), "projections": Dual(projections=5, seed=1)}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("ball", [Linf(0.03), L2(0.3)], ids=["Linf", "L2"])
def test_gradients_are_those_of_differences(config, ball):
    model, x = branches()
    y, g = torch.tensor([0, 1, 2]), seeded(1)
    parameters = list(model.parameters())

    def value():
        return margins(model, x, y, ball, config, UNIT).sum()

    gradients = torch.autograd.grad(value(), parameters)
    for weight, gradient in zip(parameters, gradients, strict=True):
        way = torch.randn(weight.shape, generator=g, dtype=weight.dtype)
        ends = []
        with torch.no_grad():
            for step in (1e-6, -2e-6):
                weight.add_(step * way)
                ends.append(value())
            weight.add_(1e-6 * way)
        slope = (ends[0] - ends[1]) / 2e-6
        torch.testing.assert_close((gradient * way).sum(), slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ball", [Linf(0.0), L2(0.0)], ids=["Linf", "L2"])
def test_gradients_are_finite_where_nothing_moves(ball):
    model, x = branches()
    margins(model, x, torch.tensor([0, 1, 2]), ball, Dual()).sum().backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


def test_slopes_at_the_ends():
    """l >= 0 is on, u <= 0 is off; both 0 is on, as the paper's sets have it."""
    lower = torch.tensor([[0.0, -1.0, -1.0, 1.0, 0.0]])
    upper = torch.tensor([[1.0, 0.0, 3.0, 2.0, 0.0]])
    d, half = module._slopes(lower, upper)
    torch.testing.assert_close(d, torch.tensor([[1.0, 0.0, 0.75, 1.0, 1.0]]))
    torch.testing.assert_close(half, torch.tensor([[0.0, 0.0, 0.375, 0.0, 0.0]]))
