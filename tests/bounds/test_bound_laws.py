"""What holds for every way of bounding: soundness, its partners, gradients, rows on their own."""

import dataclasses
import itertools
import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NETWORKS, network
from torch import nn

from trilemma.bounds import BOUNDS, Domain, Interval, bounding, margins, output_bounds
from trilemma.bounds.bounding import Bounds
from trilemma.core.balls import L2, Linf
from trilemma.core.box import UNIT
from trilemma.core.generators import seeded

KINDS = get_args(Domain) or (Domain,)
DOMAINS = {kind.__name__: kind() for kind in KINDS}
BALLS = {"Linf": Linf(0.05), "L2": L2(0.2)}
BOXES = {"anywhere": None, "unit": UNIT}
CASES = list(itertools.product(DOMAINS, NETWORKS, BALLS, BOXES))
Y = torch.tensor([0, 2, 1, 0])
seeds = st.integers(0, 2**32 - 1)


def test_every_domain_is_in_the_table():
    assert set(BOUNDS) == set(KINDS)


def points(x, ball, box, many, rng):
    """Random ones and corners of the region, `many` for each row."""
    rows = x.repeat_interleave(many, 0)
    inside = ball.sample(rows, rng)
    if isinstance(ball, Linf):
        corners = torch.rand(inside.shape, generator=rng) < 0.5
        inside[::2] = (corners * 2.0 - 1.0).to(x)[::2] * ball.radius
    else:
        inside[::2] *= (ball.radius / inside[::2].flatten(1).norm(dim=1)).view(
            -1, *[1] * (x.dim() - 1)
        )
    moved = rows + inside
    return moved if box is None else box.clip(moved)


def climbed(model, x, ball, box, objective):
    """Points to which the gradient leads, which are worse than random ones."""
    z = x.clone()
    for _ in range(20):
        z.requires_grad_()
        (gradient,) = torch.autograd.grad(objective(model(z)).sum(), z)
        step = z.detach() + ball.radius / 4 * ball.steepest(gradient)
        z = x + ball.project(step - x)
        z = z if box is None else box.clip(z)
    return z.detach()


@pytest.mark.parametrize(("domain", "name", "ball", "box"), CASES)
def test_no_point_is_outside(domain, name, ball, box):
    model, x = network(name)
    ball, box, config = BALLS[ball], BOXES[box], DOMAINS[domain]
    with torch.no_grad():
        found = output_bounds(model, x, ball, config, box)
        least = margins(model, x, Y, ball, config, box)
        answers = model(points(x, ball, box, 500, seeded(1))).view(len(x), 500, -1)
        y = Y.view(-1, 1, 1).expand(-1, 500, 1)
        assert (answers >= found.lower.unsqueeze(1)).all()
        assert (answers <= found.upper.unsqueeze(1)).all()
        assert (answers.gather(2, y) - answers >= least.unsqueeze(1)).all()
    for j, sign in itertools.product(range(3), (1, -1)):
        worst = model(climbed(model, x, ball, box, lambda z: sign * z[:, j]))  # noqa: B023
        assert (worst >= found.lower).all()
        assert (worst <= found.upper).all()


@pytest.mark.parametrize(("domain", "name", "ball", "box"), CASES)
def test_as_the_ball_shrinks_the_bounds_close(domain, name, ball, box):
    """The partner of soundness: to first order bounds are as wide as the gradient asks for."""
    model, x = network(name)
    radius = 1e-7
    ball = dataclasses.replace(BALLS[ball], radius=radius)
    with torch.no_grad():
        found = output_bounds(model, x, ball, DOMAINS[domain], BOXES[box])
    z = x.requires_grad_()
    for j in range(3):
        (gradient,) = torch.autograd.grad(model(z)[:, j].sum(), z)
        gradient = gradient.flatten(1)
        dual = gradient.abs().sum(1) if isinstance(ball, Linf) else gradient.norm(dim=1)
        reach = (found.upper - found.lower)[:, j] / 2
        if domain == "Interval":  # loses a factor in each layer, whatever the radius
            assert (reach <= 100 * radius).all()
        elif domain == "HybridZonotope" or isinstance(ball, L2):
            assert (reach <= 1.5 * radius * dual + 1e-9).all()
        else:
            torch.testing.assert_close(reach, radius * dual, rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("ball", BALLS.values(), ids=BALLS.keys())
def test_a_ball_without_size_leaves_the_answers(domain, ball):
    model, x = network("residual")
    ball = dataclasses.replace(ball, radius=0.0)
    found = output_bounds(model, x, ball, DOMAINS[domain])
    torch.testing.assert_close(found.lower, model(x))
    torch.testing.assert_close(found.upper, model(x))


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("ball", BALLS.values(), ids=BALLS.keys())
def test_an_affine_network_is_bounded_exactly(domain, ball):
    """With one layer; with several, by whatever keeps dependences."""
    torch.manual_seed(0)
    layers = [nn.Linear(6, 3)] if domain == "Interval" else [nn.Linear(6, 9), nn.Linear(9, 3)]
    model = nn.Sequential(*layers).double()
    x = torch.rand(4, 6, dtype=torch.float64)
    weight = model(torch.eye(6).double()) - model(torch.zeros(1, 6).double())
    dual = weight.abs().sum(0) if isinstance(ball, Linf) else weight.norm(dim=0)
    found = output_bounds(model, x, ball, DOMAINS[domain])
    torch.testing.assert_close(found.upper, model(x) + ball.radius * dual)
    torch.testing.assert_close(found.lower, model(x) - ball.radius * dual)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_row_does_not_depend_on_its_neighbours(domain):
    model, x = network("convolutional")
    ball, config = Linf(0.1), DOMAINS[domain]
    whole = margins(model, x, Y, ball, config)
    for row in range(len(x)):
        alone = margins(model, x[row : row + 1], Y[row : row + 1], ball, config)
        torch.testing.assert_close(alone[0], whole[row], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(margins(model, x, Y, ball, config, batch=3), whole)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_those_of_differences(domain, name):
    model, x = network(name)
    config, direction = DOMAINS[domain], seeded(3)

    def value():
        return margins(model, x, Y, Linf(0.03), config, UNIT).sum()

    weights = [each for each in model.parameters() if each.dim() > 1]
    gradients = torch.autograd.grad(value(), weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        way = torch.randn(weight.shape, generator=direction, dtype=weight.dtype)
        with torch.no_grad():
            ends = []
            for step in (1e-6, -2e-6):
                weight.add_(step * way)
                ends.append(value())
            weight.add_(1e-6 * way)
        slope = (ends[0] - ends[1]) / 2e-6
        torch.testing.assert_close((gradient * way).sum(), slope, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("domain", DOMAINS)
def test_single_precision_agrees(domain):
    model, x = network("residual")
    exact = output_bounds(model, x, Linf(0.05), DOMAINS[domain])
    single = output_bounds(model.float(), x.float(), Linf(0.05), DOMAINS[domain])
    scale = exact.upper.abs().max()
    for got, expected in ((single.lower, exact.lower), (single.upper, exact.upper)):
        assert ((got.double() - expected).abs() <= 2e-5 * scale).all()


def test_a_wider_ball_has_wider_interval_bounds():
    """Relaxations that choose slopes need not be monotone; intervals are."""
    model, x = network("convolutional")
    narrow, wide = (output_bounds(model, x, Linf(r), Interval()) for r in (0.02, 0.05))
    assert (wide.lower <= narrow.lower).all()
    assert (wide.upper >= narrow.upper).all()


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_dead_network_is_a_constant(domain):
    """Every ReLU is off over the whole ball: nothing that is done to the input is seen."""
    model, x = network("perceptron")
    with torch.no_grad():
        model[1].bias.fill_(-1000.0)
    found = output_bounds(model, x, Linf(0.5), DOMAINS[domain])
    torch.testing.assert_close(found.lower, model(x))
    torch.testing.assert_close(found.upper, model(x))


def test_a_broken_domain_is_found_out(monkeypatch):
    """The negative control: a quarter of the radius is no bound, and sampling says so."""
    model, x = network("perceptron")

    def broken(model, x, ball, *others):
        small = output_bounds(model, x, dataclasses.replace(ball, radius=ball.radius / 4), *others)
        return Bounds(small.lower, small.upper)

    found = broken(model, x, Linf(0.05), Interval())
    worst = model(climbed(model, x, Linf(0.05), None, lambda z: z[:, 0]))
    assert (worst > found.upper).any()


def of_two_classes(model, offset):
    """Two logits, to both of which one number is added, so that margins are small beside them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        last = nn.Linear(3, 2)
    with torch.no_grad():
        last.bias += offset
    return nn.Sequential(model, last).eval()


def leads(answers, y):
    """Of each row's y over each class."""
    at = y.view(-1, *[1] * (answers.dim() - 1)).expand(*answers.shape[:-1], 1)
    return answers.gather(-1, at) - answers


@pytest.mark.slow
@pytest.mark.parametrize("domain", DOMAINS)
def test_no_point_of_a_million_is_outside_in_single_precision(domain):
    """Random nets, rows and radii, 1e6 points a domain, corners and climbed ones among them."""
    tried = 0
    for seed in itertools.count():
        name = list(NETWORKS)[seed % len(NETWORKS)]
        model, x = network(name, seed, torch.float32)
        k = 3 - seed // 4 % 2
        if k == 2:
            model = of_two_classes(model, offset=[0, 10][seed // 8 % 2])
        radius = 10 ** (-4 + 4 * torch.rand((), generator=seeded(seed)).item())
        ball = Linf(radius) if seed % 2 else L2(radius)
        box = UNIT if seed % 4 < 2 else None
        y = torch.randint(0, k, (len(x),), generator=seeded(seed))
        with torch.no_grad():
            found = output_bounds(model, x, ball, DOMAINS[domain], box)
            least = margins(model, x, y, ball, DOMAINS[domain], box)
            z = points(x, ball, box, 2500, seeded(seed))
            tries = [model(z).view(len(x), 2500, -1)]
        for j, sign in itertools.product(range(k), (1, -1)):
            heights = (lambda z: sign * z[:, j], lambda z: sign * leads(z, y)[:, j])  # noqa: B023
            tries += [model(climbed(model, x, ball, box, h)).unsqueeze(1) for h in heights]
        for each in tries:
            assert (each >= found.lower.unsqueeze(1)).all(), (name, seed, radius)
            assert (each <= found.upper.unsqueeze(1)).all(), (name, seed, radius)
            assert (leads(each, y) >= least.unsqueeze(1)).all(), (name, seed, radius)
        tried += len(z)
        if tried >= 1_000_000:
            return


def test_the_worst_corner_of_a_linear_model_is_not_outside_in_single_precision():
    """Where the bound is exact, rounding alone decides, and it is that of the logits."""
    for seed in range(20):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model, x = nn.Linear(20, 2), torch.rand(500, 20)
        with torch.no_grad():
            for label in (0, 1):
                y = torch.full((len(x),), label)
                least = margins(model, x, y, Linf(0.1))
                way = (model.weight[label] - model.weight[1 - label]).sign()
                assert (leads(model(x - 0.1 * way), y) >= least).all()


@pytest.mark.parametrize("offset", [0.0, 10.0])
@pytest.mark.parametrize("domain", DOMAINS)
def test_margins_that_are_small_beside_the_logits_hold_in_single_precision(domain, offset):
    """Two classes, a small ball: a step up each margin's gradient ends at the bound itself."""
    for seed in range(3):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Linear(30, 50), nn.ReLU(), nn.Linear(50, 2))
            x = torch.rand(400, 30)
        with torch.no_grad():
            model[2].bias += offset
        y = torch.arange(len(x)) % 2
        with torch.no_grad():
            least = margins(model, x, y, Linf(1e-3), DOMAINS[domain])
        z = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(leads(model(z), y).sum(), z)
        with torch.no_grad():
            assert (leads(model(x - 1e-3 * gradient.sign()), y) >= least).all()


@pytest.mark.parametrize("domain", DOMAINS)
def test_margins_in_single_precision_agree(domain):
    """The partner of the last two: they give way by no more than the logits' rounding."""
    model, x = network("perceptron")
    exact = margins(model, x, Y, Linf(0.05), DOMAINS[domain])
    single = margins(model.float(), x.float(), Y, Linf(0.05), DOMAINS[domain])
    assert ((single.double() - exact).abs() <= 2e-5 * exact.abs().max()).all()


@pytest.mark.parametrize("domain", DOMAINS)
def test_what_margins_give_way_by_has_no_gradient(domain, monkeypatch):
    model, x = network("perceptron")
    weights = [each for each in model.parameters() if each.dim() > 1]

    def gradients():
        whole = margins(model, x, Y, Linf(0.05), DOMAINS[domain]).sum()
        return torch.autograd.grad(whole, weights)

    expected = gradients()
    monkeypatch.setattr(bounding, "_widened", lambda lower: lower)
    for found, before in zip(gradients(), expected, strict=True):
        assert torch.equal(found, before)


@given(seed=seeds, radius=st.floats(0, 1), name=st.sampled_from(list(NETWORKS)))
@settings(max_examples=25, deadline=None)
def test_any_network_any_radius(seed, radius, name):
    model, x = network(name, seed)
    for config in DOMAINS.values():
        with torch.no_grad():
            found = output_bounds(model, x, Linf(radius), config)
            answers = model(points(x, Linf(radius), None, 50, seeded(seed))).view(len(x), 50, -1)
        assert (answers >= found.lower.unsqueeze(1)).all()
        assert (answers <= found.upper.unsqueeze(1)).all()
        assert math.isfinite(found.lower.sum().item())
