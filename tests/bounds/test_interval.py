"""Interval bounds against closed forms, and what they share with every way of bounding."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NETWORKS, network
from torch import nn
from torch.nn import functional as F

from trilemma.bounds import Interval, margins, output_bounds
from trilemma.bounds.interval import intervals
from trilemma.bounds.region import region_of
from trilemma.bounds.tracing import read
from trilemma.core.balls import L2, Linf
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput

seeds = st.integers(0, 2**32 - 1)
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def layer(seed, before=5, after=3):
    g = torch.Generator().manual_seed(seed)
    dense = nn.Linear(before, after).double()
    with torch.no_grad():
        for weight in dense.parameters():
            weight.normal_(generator=g)
    return dense, torch.rand(4, before, generator=g, dtype=torch.float64)


@given(seed=seeds, radius=st.floats(0, 2))
@settings(max_examples=20)
def test_what_scales_the_outputs_is_merged_with_the_last_layer(seed, radius):
    """A margin is then one linear map: lead(x) - radius |difference of two scaled rows|_1."""
    dense, x = layer(seed)
    norm = nn.BatchNorm1d(3).double().eval()
    with torch.no_grad():
        norm.running_var.copy_(torch.tensor([0.5, 2.0, 3.0]))
        norm.bias.copy_(torch.tensor([1.0, -2.0, 0.5]))
        model, y = nn.Sequential(dense, norm), torch.tensor([0, 1, 2, 0])
        rows = dense.weight / (norm.running_var + norm.eps).sqrt().unsqueeze(1)
        lead = model(x).gather(1, y.view(-1, 1)) - model(x)
        reach = (rows[y].unsqueeze(1) - rows).abs().sum(2)
        found = margins(model, x, y, Linf(radius))
    torch.testing.assert_close(found, lead - radius * reach, rtol=1e-9, atol=1e-9)


@given(seed=seeds, radius=st.floats(0, 2))
@settings(max_examples=20)
def test_one_layer_is_exact_in_both_balls(seed, radius):
    """max over the ball of <w, delta> is radius times the dual norm of w."""
    dense, x = layer(seed)
    for ball, dual in ((Linf(radius), 1), (L2(radius), 2)):
        found = output_bounds(dense, x, ball)
        reach = radius * dense.weight.norm(p=dual, dim=1)
        torch.testing.assert_close(found.upper, dense(x) + reach, **CLOSE)
        torch.testing.assert_close(found.lower, dense(x) - reach, **CLOSE)


@given(seed=seeds, radius=st.floats(0.01, 2))
@settings(max_examples=20)
def test_one_layer_is_exact_where_the_box_cuts_the_ball(seed, radius):
    """The optimum is at a corner: feature by feature, an end of the interval that is left."""
    dense, x = layer(seed)
    found = output_bounds(dense, x, Linf(radius), box=UNIT)
    for sign, ends in ((1, found.upper), (-1, found.lower)):
        for j, w in enumerate(dense.weight):
            corner = (x + sign * radius * w.sign()).clamp(0, 1)
            torch.testing.assert_close(ends[:, j], dense(corner)[:, j], **CLOSE)


def test_a_convolution_is_exact_in_the_l2_ball_at_its_borders_too():
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, stride=2), nn.Flatten()).double()
    x, radius = torch.rand(2, 2, 5, 5, dtype=torch.float64), 0.7
    units = torch.eye(50, dtype=torch.float64).view(-1, 2, 5, 5)
    matrix = conv(units) - conv(torch.zeros_like(units[:1]))
    found = output_bounds(conv, x, L2(radius))
    torch.testing.assert_close(found.upper, conv(x) + radius * matrix.norm(dim=0), **CLOSE)


def test_a_factor_before_the_layer_stretches_the_l2_ball():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense, _ = layer(1)
            self.register_buffer("scale", torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0]).double())

        def forward(self, x):
            return self.dense((x - 0.5) / 2.0 * self.scale)

    model, (_, x) = Scaled(), layer(1)
    weight = model.dense.weight * model.scale / 2
    found = output_bounds(model, x, L2(0.3))
    torch.testing.assert_close(found.upper, model(x) + 0.3 * weight.norm(dim=1), **CLOSE)


def test_the_published_rule_for_two_layers():
    (first, x), (second, _) = layer(2, 5, 4), layer(3, 4, 3)
    found = output_bounds(nn.Sequential(first, nn.ReLU(), second), x, Linf(0.2))
    reach = 0.2 * first.weight.abs().sum(1)
    low, high = F.relu(first(x) - reach), F.relu(first(x) + reach)
    centre, radius = (low + high) / 2, (high - low) / 2
    torch.testing.assert_close(
        found.lower, second(centre) - radius @ second.weight.abs().T, **CLOSE
    )


@given(seed=seeds)
@settings(max_examples=20)
def test_a_network_without_negative_weights_is_bounded_exactly(seed):
    """It is monotone: its extremes are at the ends of the interval."""
    (first, x), (second, _) = layer(seed, 5, 4), layer(seed + 1, 4, 3)
    with torch.no_grad():
        first.weight.abs_(), second.weight.abs_()
    model = nn.Sequential(first, nn.ReLU(), second)
    found = output_bounds(model, x, Linf(0.5))
    torch.testing.assert_close(found.lower, model(x - 0.5), **CLOSE)
    torch.testing.assert_close(found.upper, model(x + 0.5), **CLOSE)


@pytest.mark.parametrize("name", NETWORKS)
def test_margins_are_those_of_the_merged_layer(name):
    """Written out: the interval of the last hidden value under the rows w_y - w_j."""
    model, x = network(name)
    y, ball = torch.tensor([0, 1, 2, 1]), Linf(0.05)
    low, high = intervals(read(model, x), region_of(x, ball, None))[-2]
    last = [each for each in model.modules() if isinstance(each, nn.Linear)][-1]
    weight = last.weight[y].unsqueeze(1) - last.weight
    bias = last.bias[y].unsqueeze(1) - last.bias
    positive, negative = weight.clamp(min=0), weight.clamp(max=0)
    expected = torch.einsum("nkh,nh->nk", positive, low)
    expected = expected + torch.einsum("nkh,nh->nk", negative, high) + bias
    torch.testing.assert_close(margins(model, x, y, ball), expected, **CLOSE)


def test_a_network_that_ends_in_no_dense_layer():
    """Then margins are differences of two intervals."""
    dense, x = layer(4)
    model, y = nn.Sequential(dense, nn.ReLU()), torch.tensor([0, 1, 2, 0])
    found, bounds = margins(model, x, y, Linf(0.1)), output_bounds(model, x, Linf(0.1))
    expected = bounds.lower.gather(1, y.view(-1, 1)) - bounds.upper
    torch.testing.assert_close(found, expected.scatter(1, y.view(-1, 1), 0.0), **CLOSE)


def test_an_addition_knows_no_common_cause():
    """x - x is 0, and its interval as wide as twice that of x: what zonotopes do better."""

    class Difference(nn.Module):
        def forward(self, x):
            return x - x

    found = output_bounds(Difference(), torch.zeros(1, 2), Linf(0.5))
    assert math.isclose(found.upper.max().item(), 1.0, rel_tol=1e-5)


REFUSED = {
    "no rows": (torch.zeros(0, 5), None, "no rows"),
    "no number": (torch.full((1, 5), math.nan), None, "no finite numbers"),
    "outside the box": (torch.full((1, 5), 1.5), UNIT, "outside the box: values from 1.5"),
}


@pytest.mark.parametrize(("x", "box", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_rows_are_refused(x, box, said):
    with pytest.raises(BadInput, match=said):
        output_bounds(layer(0)[0].float(), x, Linf(0.1), box=box)


@pytest.mark.parametrize("y", [torch.tensor([0, 1, 2, 3]), -torch.ones(4).long()])
def test_bad_labels_are_refused(y):
    dense, x = layer(0)
    with pytest.raises(BadInput, match="3 classes"):
        margins(dense, x, y, Linf(0.1))


def test_logits_are_a_vector():
    conv = nn.Conv2d(1, 2, 3)
    with pytest.raises(BadInput, match=r"answers each row with shape \(2, 3, 3\)"):
        output_bounds(conv, torch.rand(2, 1, 5, 5), Linf(0.1))


def test_a_box_of_tensors():
    dense, x = layer(5)
    low = torch.tensor([0.0, -1.0, 0.0, -0.5, 0.0], dtype=torch.float64)
    box = Box(low, torch.ones(5, dtype=torch.float64))
    found = output_bounds(dense, x, Linf(0.8), Interval(), box)
    for j, w in enumerate(dense.weight):
        corner = box.clip(x + 0.8 * w.sign())
        torch.testing.assert_close(found.upper[:, j], dense(corner)[:, j], **CLOSE)
