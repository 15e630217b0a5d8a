"""Three ways to the norm of a linear map, which agree, and estimates of it by projections."""

import dataclasses
import itertools
import math

import pytest
import torch
from networks import NETWORKS, network
from stacks import Branches, branches, convolutional, perceptron, seeded_layers, shifted
from torch import nn
from torch.nn import functional as F

from trilemma.bounds import Dual, margins, output_bounds
from trilemma.bounds import sources as ways
from trilemma.bounds.packing import packed
from trilemma.bounds.projections import Banks, Projections, estimates
from trilemma.bounds.sources import Relaxed, Source
from trilemma.bounds.tracing import read
from trilemma.core.balls import L2, Linf
from trilemma.core.box import UNIT
from trilemma.core.generators import seeded

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


# --- three ways to a norm ---


def relaxed_with_random_slopes(model, x, seed=0):
    """Sources at the input (both norms) and at every ReLU, some of whose units do not move."""
    net, g = read(model, x), seeded(seed)
    relaxed = Relaxed(net, sources=[])
    for norm, rows in ((1, 1), (2, 1), (1, len(x))):
        size = torch.rand(rows, *net.shape, generator=g, dtype=x.dtype)
        relaxed.sources.append(Source(0, size, norm))
    for place, node in enumerate(net.nodes, start=1):
        if type(node.operation).__name__ == "Rectifier":
            slope, size = torch.rand(2, len(x), *node.shape, generator=g, dtype=x.dtype)
            relaxed.slopes[place] = slope
            relaxed.sources.append(Source(place, size * (size > 0.7)))
    return relaxed


NETS = [lambda name=name: network(name) for name in NETWORKS] + [branches, lambda: convolutional(0)]


@pytest.mark.parametrize("build", NETS, ids=[*NETWORKS, "branches", "plain"])
@pytest.mark.parametrize("alive", [5000, 2**20])
def test_every_way_to_a_norm_is_the_same(build, alive, monkeypatch):
    monkeypatch.setattr(ways, "ALIVE", {"cpu": alive})
    model, x = build()
    relaxed, short = relaxed_with_random_slopes(model, x), 0
    with torch.no_grad():
        for end in (1, 3, len(relaxed.network.nodes) // 2, len(relaxed.network.nodes)):
            for source in relaxed.sources:
                if not (route := relaxed.route(source.place, end)):
                    continue
                forward = ways.by_columns(relaxed, source, route)
                back = ways.backward(relaxed, [source], end)[source]
                torch.testing.assert_close(*torch.broadcast_tensors(forward, back), **CLOSE)
                closed = ways.by_one_layer(relaxed, source, route)
                if closed is not None:
                    short += 1
                    torch.testing.assert_close(*torch.broadcast_tensors(closed, back), **CLOSE)
    assert short


@pytest.mark.parametrize("build", [branches, shifted])
def test_packed_vectors_never_meet(build):
    """Brute force: which features each unit sees; and fewer travel than there are features."""
    model, x = build()
    relaxed, saved = relaxed_with_random_slopes(model, x), 0
    for end, start in itertools.product(range(1, 7), range(6)):
        route = relaxed.route(start, end)
        if route is None or start >= end:
            continue
        numbers = packed(relaxed.network, start, route).flatten()
        units = torch.eye(len(numbers), dtype=x.dtype).view(1, -1, *relaxed.shape(start))
        image = ways.advanced(relaxed, {start: units}, end)
        seen = (image[0].flatten(1) != 0).to(x)
        shares = F.one_hot(numbers).to(x).T @ seen  # by vector and unit, how many are seen
        assert shares.max() <= 1
        saved += numbers.max() + 1 < len(numbers)
    assert saved >= 3


def test_vectors_that_meet_are_found_out(monkeypatch):
    """The negative control: packed more closely, images overlap and the norm is too small."""
    model, x = branches()
    relaxed = relaxed_with_random_slopes(model, x)
    source, route = relaxed.sources[0], relaxed.route(0, 3)
    right = ways.by_columns(relaxed, source, route)
    monkeypatch.setattr(ways, "packed", lambda *a: packed(*a) // 2)
    assert (ways.by_columns(relaxed, source, route) < right - 1e-6).any()


def test_the_cheaper_way_is_taken(monkeypatch):
    """Forward to a wide layer of convolutions, backward from a narrow one."""
    taken = []
    for name in ("by_columns", "backward"):
        way = getattr(ways, name)
        note = lambda *a, name=name, way=way: (taken.append(name), way(*a))[1]  # noqa: E731
        monkeypatch.setattr(ways, name, note)
    model, x = convolutional(0)
    output_bounds(model, x, Linf(0.1), Dual())
    assert taken[-1] == "backward"
    big = torch.rand(1, 1, 20, 20, dtype=torch.float64)
    output_bounds(Branches().double(), big, Linf(0.1), Dual())
    assert "by_columns" in taken


def test_an_l2_ball_that_the_box_cuts_is_bounded_by_both():
    """Never looser than by the ball alone, or than by the box around it alone."""
    model, x = perceptron(3)
    ball, whole = L2(0.4), L2(0.4)
    both = output_bounds(model, x, ball, Dual(), UNIT)
    alone = output_bounds(model, x, whole, Dual())
    first = output_bounds(model[:1], x, ball, Dual(), UNIT)
    sphere = output_bounds(model[:1], x, ball, Dual())
    hull = output_bounds(model[:1], x, Linf(0.4), Dual(), UNIT)
    torch.testing.assert_close(first.lower, sphere.lower.maximum(hull.lower), **CLOSE)
    torch.testing.assert_close(first.upper, sphere.upper.minimum(hull.upper), **CLOSE)
    assert (first.lower > sphere.lower + 1e-6).any()
    assert (first.lower > hull.lower + 1e-6).any()
    assert (both.lower > alone.lower).any()


# --- random projections ---

WIDE = (150, 120, 110, 3)


@pytest.mark.parametrize(("norm", "spread"), [(1, math.pi / 2), (2, math.sqrt(0.5))])
def test_estimates_are_centred_and_their_error_falls_with_the_root_of_their_number(norm, spread):
    """The asymptotic deviation: pi / 2 of a Cauchy median, 1 / sqrt(2) of a normal length."""
    model = seeded_layers(lambda: nn.Sequential(nn.Linear(400, 300), nn.Linear(300, 300)), 0)
    x = torch.zeros(1, 400, dtype=torch.float64)
    size = torch.rand(1, 400, generator=seeded(0), dtype=torch.float64)
    relaxed = Relaxed(read(model, x), [Source(0, size, norm)])
    weight = (model[1].weight @ model[0].weight * size).detach()
    exact, rms = weight.norm(p=norm, dim=1), {}
    for many in (63, 255):
        errors = []
        for seed in range(24):
            with torch.no_grad():
                (found,) = estimates(relaxed, 2, Projections(Banks(many, seeded(seed))))
            errors.append(found[0] / exact - 1)
        errors = torch.stack(errors)
        rms[many] = errors.square().mean().sqrt().item()
        assert abs(errors.mean().item()) < 0.5 * spread / math.sqrt(many)
        assert rms[many] == pytest.approx(spread / math.sqrt(many), rel=0.25)
    assert 1.6 < rms[63] / rms[255] < 2.5


@pytest.mark.parametrize("ball", [Linf(0.02), L2(0.15)], ids=["Linf", "L2"])
@pytest.mark.parametrize("box", [None, UNIT], ids=["anywhere", "unit"])
def test_bounds_by_projections_approach_the_exact_ones(ball, box):
    model, x = perceptron(0, WIDE)
    exact = output_bounds(model, x, ball, Dual(), box)
    wide = (exact.upper - exact.lower).abs().mean()

    def error(many):
        found = [
            output_bounds(model, x, ball, Dual(projections=many, seed=s), box) for s in range(6)
        ]
        return (
            torch.stack([(each.lower - exact.lower) / wide for each in found]) ** 2
        ).mean() ** 0.5

    with torch.no_grad():
        few, more, all_ = error(7), error(101), error(120)
    assert 0 < more < 0.7 * few
    assert few < 0.6
    assert all_ < 1e-9  # no norm takes more than so many vectors: nothing is estimated


@pytest.mark.parametrize("build", [branches, lambda: perceptron(0, WIDE)], ids=["conv", "dense"])
def test_projections_are_fixed_by_the_seed_and_shared_by_all_rows(build):
    model, x = build()
    y, config = torch.tensor([0, 1, 2]), Dual(projections=5, seed=3)
    ball = Linf(0.05)
    whole = margins(model, x, y, ball, config, UNIT)
    torch.testing.assert_close(margins(model, x, y, ball, config, UNIT), whole, rtol=0, atol=0)
    for part in (slice(0, 1), slice(1, 3)):
        alone = margins(model, x[part], y[part], ball, config, UNIT)
        torch.testing.assert_close(alone, whole[part], **CLOSE)
    other = margins(model, x, y, ball, dataclasses.replace(config, seed=4), UNIT)
    assert (other - whole).abs().max() > 1e-6


@pytest.mark.parametrize("held", [1, 2**40], ids=["computed twice", "held"])
@pytest.mark.parametrize("build", [branches, lambda: perceptron(0, WIDE)], ids=["conv", "dense"])
def test_estimates_and_gradients_are_those_of_all_rows_at_once(build, held, monkeypatch):
    model, x = build()
    y, config = torch.tensor([0, 1, 2]), Dual(projections=5)

    def outcome():
        model.zero_grad()
        found = margins(model, x, y, Linf(0.05), config, UNIT)
        found.clamp(max=1).sum().backward()
        return [found.detach(), *(each.grad.clone() for each in model.parameters())]

    whole = outcome()
    monkeypatch.setattr("trilemma.bounds.dual.TOGETHER", {"cpu": 1})
    monkeypatch.setattr("trilemma.bounds.dual.HELD", held)
    for one, other in zip(outcome(), whole, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


def test_projections_leave_the_global_generator_alone():
    model, x = branches()
    before = torch.get_rng_state()
    output_bounds(model, x, Linf(0.05), Dual(projections=5))
    assert torch.equal(torch.get_rng_state(), before)
