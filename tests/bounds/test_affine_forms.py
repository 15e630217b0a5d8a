"""Affine forms: symbols that values share, balls that the box cuts, numbers held at once."""

import pytest
import torch
from networks import NETWORKS, network
from test_bound_laws import BALLS, Y
from test_zonotope import FORMS, HYBRIDS, NINE, WIDE, double, lively
from torch import nn

from trilemma.bounds import Interval, Zonotope, affine_forms, generators, margins, output_bounds
from trilemma.bounds.affine_forms import alive
from trilemma.bounds.tracing import read
from trilemma.core.balls import L2, Linf
from trilemma.core.box import UNIT, Box


class Following(nn.Module):
    """A forward that is given."""

    def __init__(self, forward, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers).double()
        self.how = forward

    def forward(self, x):
        return self.how(x, *self.layers)


SHARED = {
    "x - x": (lambda x, a: x - x, True),
    "layer of x less itself": (lambda x, a: a(x) - a(x), True),
    "x less a round trip": (lambda x, a: x - (2 * x + 1 - x), True),
    "a ReLU less itself": (lambda x, a: (lambda z: z - z)(a(x).relu()), False),
    "less a ReLU, and it again": (
        lambda x, a: (lambda z: (x - z) + z - x)(a(x).relu()),
        False,
    ),
    "through a layer, and past it": (lambda x, a: (lambda z: a(z) + z - a(z))(x) - x, True),
    "spikes less columns": (
        lambda x, a: (lambda z: (a(z) + z) - (z + a(z)))(a(x).relu()),
        False,
    ),
}


@pytest.mark.parametrize(("how", "linear"), SHARED.values(), ids=SHARED.keys())
def test_what_cancels_has_no_width(how, linear):
    torch.manual_seed(0)
    model, x = Following(how, nn.Linear(4, 4)), torch.rand(3, 4, dtype=double)
    exact = ["Zonotope", *HYBRIDS] if linear else ["Zonotope"]
    for form in exact:
        found = output_bounds(model, x, Linf(0.5), FORMS[form])
        torch.testing.assert_close(found.upper, found.lower, **NINE)
    loose = output_bounds(model, x, Linf(0.5), Interval())
    assert (loose.upper - loose.lower).max() > 0.1


def test_equal_relus_of_two_steps_have_symbols_of_their_own():
    """The partner: what is computed twice is not known to be the same."""
    torch.manual_seed(0)
    model = Following(lambda x, a: a(x).relu() - a(x).relu(), nn.Linear(4, 4))
    x = torch.rand(3, 4, dtype=double)
    found = output_bounds(model, x, Linf(0.5), Zonotope())
    assert (found.upper - found.lower).max() > 0.1


def test_steps_that_lead_nowhere_are_left_out():
    model = Following(lambda x, a: (a(x).relu(), a(x))[1], nn.Linear(4, 3))
    x = torch.rand(3, 4, dtype=double)
    found = output_bounds(model, x, Linf(0.5), Zonotope())
    reach = 0.5 * model.layers[0].weight.abs().sum(1)
    torch.testing.assert_close(found.upper, model(x) + reach, **NINE)


def test_both_bounds_of_a_cut_ball_count():
    """That of the ball alone, and that of the hull alone (an L_inf ball), or better."""
    model, x = lively("convolutional")
    layer = nn.Sequential(model[0], nn.Flatten())
    both = output_bounds(layer, x, WIDE["L2 cut"], Zonotope(), UNIT)
    sphere = output_bounds(layer, x, WIDE["L2 cut"], Zonotope())
    hull = output_bounds(layer, x, Linf(1.5), Zonotope(), UNIT)
    torch.testing.assert_close(both.lower, sphere.lower.maximum(hull.lower), **NINE)
    torch.testing.assert_close(both.upper, sphere.upper.minimum(hull.upper), **NINE)
    assert 0.1 < (sphere.upper < hull.upper).double().mean() < 0.9


@pytest.mark.parametrize("form", ["Zonotope", "Switched"])
@pytest.mark.parametrize("name", NETWORKS)
def test_rows_and_symbols_at_a_time_change_nothing(form, name, monkeypatch):
    model, x = lively(name)
    whole = margins(model, x, Y, BALLS["Linf"], FORMS[form], UNIT)
    rows, inner = [], affine_forms._carried

    def watched(net, region, how):
        rows.append(len(region.x))
        return inner(net, region, how)

    monkeypatch.setattr(affine_forms, "_carried", watched)
    monkeypatch.setattr(affine_forms, "ALIVE", 1)
    monkeypatch.setattr(generators, "UNITS", 7)
    torch.testing.assert_close(
        margins(model, x, Y, BALLS["Linf"], FORMS[form], UNIT), whole, rtol=1e-12, atol=1e-12
    )
    assert rows == [1, 1, 1, 1]


def test_numbers_held_are_counted_before():
    """6 -> 12 -> 8 -> 3: a number's centre, 6 columns, and 12 more behind the first ReLU.

    Most are held where the second ReLU's input (norm) becomes its output, with spikes of its own;
    where no symbols are made, around the first ReLU.
    """
    model, x = network("perceptron")
    assert alive(read(model, x), growing=True) == 8 * (1 + 6 + 12) + 8 * (1 + 6 + 12 + 1)
    assert alive(read(model, x), growing=False) == 12 * 7 + 12 * 7


def test_a_feature_that_the_box_fixes_moves_nothing():
    dense = nn.Linear(3, 2).double()
    x = torch.tensor([[0.5, 1.0, 0.2]], dtype=double)
    moves = torch.tensor([[0.1, 0.0, 0.1]], dtype=double)
    low = torch.tensor([0.0, 1.0, 0.0], dtype=double)
    for ball, norm in ((Linf(0.1), 1), (L2(0.1), 2)):
        found = output_bounds(dense, x, ball, Zonotope(), Box(low, torch.ones(3, dtype=double)))
        reach = 0.1 * dense.weight[:, [0, 2]].norm(p=norm, dim=1)
        torch.testing.assert_close(found.upper, dense(x) + reach, **NINE)
        found = output_bounds(
            nn.Sequential(nn.ReLU()), x, ball, Zonotope(), Box(low, torch.ones(3, dtype=double))
        )
        torch.testing.assert_close(found.upper, (x + moves).clamp(max=1), **NINE)


def test_nothing_moves_where_the_box_is_a_point():
    model, x = network("convolutional")
    found = output_bounds(model, x[:1], Linf(0.1), Zonotope(), Box(x[0], x[0]))
    torch.testing.assert_close(found.upper, model(x[:1]), **NINE)
    torch.testing.assert_close(found.lower, model(x[:1]), **NINE)
