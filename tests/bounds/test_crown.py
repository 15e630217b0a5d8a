"""CROWN, CROWN-IBP and Fast-Lin against matrices written out, closed forms and exact minima."""

import itertools

import pytest
import torch
from exact import exact_minimum, matrices
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NETWORKS, network
from torch import nn

from trilemma.bounds import Crown, CrownIBP, FastLin, Interval, margins, output_bounds
from trilemma.core.balls import L2, Linf
from trilemma.core.box import UNIT
from trilemma.core.generators import seeded

seeds = st.integers(0, 2**32 - 1)
CLOSE = {"rtol": 1e-9, "atol": 1e-9}
OWN = [Crown(), FastLin()]  # whose hidden bounds are their own
PLAIN = [*OWN, CrownIBP()]
BETTER = [Crown(intersect=True), CrownIBP(intersect=True), FastLin(intersect=True)]
BALLS = [Linf(0.1), L2(0.3)]
Y = torch.tensor([0, 2, 1, 0])


def mlp(seed, *widths):
    """Alternating linear layers and ReLUs, with random weights."""
    g, layers = seeded(seed), []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after).double(), nn.ReLU()]
        with torch.no_grad():
            layers[-2].weight.normal_(generator=g).div_(before**0.5)
            layers[-2].bias.normal_(generator=g).div_(2)
    return nn.Sequential(*layers[:-1]), torch.rand(4, widths[0], generator=g).double()


def slopes(low, high, domain):
    """Upper slope, upper intercept, lower slope; feature by feature."""
    s = [1.0 if a >= 0 else b / (b - a) if b > 0 else 0.0 for a, b in zip(low, high, strict=True)]
    if isinstance(domain, FastLin):
        alpha = s
    else:
        alpha = [1.0 if a >= 0 or b > -a else 0.0 for a, b in zip(low, high, strict=True)]
    t = [-k * a if a < 0 < b else 0.0 for k, a, b in zip(s, low, high, strict=True)]
    return (torch.tensor(each, dtype=torch.float64) for each in (s, t, alpha))


def relaxed(C, d, low, high, domain):
    """Lower bound of C relu(z) + d by a matrix for z and a constant."""
    s, t, alpha = slopes(low.tolist(), high.tolist(), domain)
    return C.clamp(min=0) * alpha + C.clamp(max=0) * s, d + C.clamp(max=0) @ t


def at_the_input(C, d, x, ball):
    return C @ x + d - ball.radius * C.norm(p=1 if isinstance(ball, Linf) else 2, dim=1)


def written_out(layers, x, ball, domain):
    """Lower bounds of one row's outputs; every hidden neuron is passed back, by matrices.

    Args:
        layers: (W, b) between the ReLUs.
        x: (d,) the row.
        ball: of the L_inf or the L_2 norm.
        domain: whose lines are taken, and whose hidden bounds.
    """

    def least(C, d, depth):
        """Of C z + d, z the values of a layer."""
        W, b = layers[depth]
        C, d = C @ W, C @ b + d
        if depth == 0:
            return at_the_input(C, d, x, ball)
        return least(*relaxed(C, d, *hidden[depth - 1], domain), depth - 1)

    hidden = []
    for depth, (W, b) in enumerate(layers[:-1]):
        one, none = torch.eye(len(b)).double(), torch.zeros(len(b)).double()
        if isinstance(domain, CrownIBP) and depth > 0:
            low, high = (each.relu() for each in hidden[-1])
            middle, reach = W @ (low + high) / 2 + b, W.abs() @ (high - low) / 2
            hidden.append((middle - reach, middle + reach))
        else:
            hidden.append((least(one, none, depth), -least(-one, none, depth)))
    k = len(layers[-1][1])
    return least(torch.eye(k).double(), torch.zeros(k).double(), len(layers) - 1)


def equals(model, x, ball, domain, layers):
    found = output_bounds(model, x, ball, domain)
    (W, b), rest = layers[-1], layers[:-1]
    both = [*rest, (torch.cat([W, -W]), torch.cat([b, -b]))]
    for row, lower, upper in zip(x.flatten(1), found.lower, found.upper, strict=True):
        expected = written_out(both, row, ball, domain)
        torch.testing.assert_close(torch.cat([lower, -upper]), expected, **CLOSE)


@pytest.mark.parametrize("domain", PLAIN, ids=repr)
@given(
    seed=seeds,
    radius=st.floats(0, 0.5),
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    kind=st.sampled_from([Linf, L2]),
    sums=st.booleans(),
)
@settings(max_examples=15)
def test_they_are_what_matrices_give(domain, seed, radius, widths, kind, sums):
    """The passes that are saved, and the order of things, change nothing.

    Where hidden features are added up, interval bounds may know of a neuron that it is stable,
    and CROWN may not.
    """
    model, x = mlp(seed, *widths)
    with torch.no_grad():
        for layer in model[2::2] if sums else ():
            layer.weight.abs_()
        equals(model, x, kind(radius), domain, matrices(model, x))


@pytest.mark.parametrize("domain", PLAIN, ids=repr)
@pytest.mark.parametrize("ball", BALLS, ids=repr)
def test_convolutions_pools_and_norms_are_matrices_too(domain, ball):
    model, x = network("convolutional")
    with torch.no_grad():
        for each in model.parameters():  # so that deep neurons are unstable
            each.mul_(1.5)
        equals(model, x, ball, domain, matrices(model, x))


@pytest.mark.parametrize("domain", OWN, ids=repr)
@pytest.mark.parametrize("ball", BALLS, ids=repr)
@torch.no_grad()
def test_the_first_layers_are_as_tight_as_their_product(domain, ball):
    """Interval bounds of two layers in a row are loose, and so are those of a pool in L_2."""
    (first, x), (second, _) = mlp(0, 16, 9), mlp(1, 9, 8, 8, 3)
    pool = nn.Sequential(nn.Unflatten(1, (1, 4, 4)), nn.AvgPool2d(2, 1), nn.Flatten())
    norm = nn.BatchNorm1d(9).double().eval()
    for before in ([*pool], [*pool, norm], [*first, nn.Linear(9, 9).double(), norm]):
        for after in (second, [nn.ReLU(), *second]):
            model = nn.Sequential(*before, *after)
            equals(model, x, ball, domain, matrices(model, x))


class Skipping(nn.Module):
    """W_2 relu(W_1 h + b_1) - W_3 h, h = relu(W_0 x + b_0)."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(mlp(i, *w)[0][0] for i, w in enumerate(WIDTHS))

    def forward(self, x):
        first, second, third, fourth = self.layers
        h = first(x).relu()
        return third(second(h).relu()) - fourth(h)


WIDTHS = [(5, 8), (8, 7), (7, 3), (8, 3)]


@pytest.mark.parametrize("domain", OWN, ids=repr)
def test_coefficients_of_two_branches_add_up(domain):
    model, x = Skipping(), mlp(9, 5, 1)[1]
    (W0, b0), (W1, b1), (W2, b2), (W3, b3) = ((e.weight, e.bias) for e in model.layers)
    ball = Linf(0.5)
    with torch.no_grad():
        found = output_bounds(model, x, ball, domain).lower
        for row, lower in zip(x, found, strict=True):
            first = [written_out([(s * W0, s * b0)], row, ball, domain) for s in (1, -1)]
            hidden = [written_out([(W0, b0), (s * W1, s * b1)], row, ball, domain) for s in (1, -1)]
            assert ((hidden[0] < 0) & (hidden[1] < 0)).any()
            C, d = relaxed(W2, b2 - b3, hidden[0], -hidden[1], domain)
            C, d = relaxed(C @ W1 - W3, C @ b1 + d, first[0], -first[1], domain)
            torch.testing.assert_close(lower, at_the_input(C @ W0, C @ b0 + d, row, ball), **CLOSE)


@pytest.mark.parametrize(
    ("low", "high", "crown", "fast_lin"),
    [(-1, 3, -1, -0.75), (-3, 1, 0, -0.75), (-2, 2, 0, -1), (1, 2, 1, 1), (-2, -1, 0, 0)],
)
def test_of_one_neuron_the_lower_line_is_seen(low, high, crown, fast_lin):
    """The least value of each line over [low, high]; that of intervals is larger, or as large."""
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU()).double()
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].bias.fill_((low + high) / 2)
    x, ball = torch.zeros(1, 1, dtype=torch.float64), Linf((high - low) / 2)
    for domain, least in ((Crown(), crown), (CrownIBP(), crown), (FastLin(), fast_lin)):
        found = output_bounds(model, x, ball, domain)
        assert found.lower.item() == pytest.approx(least, abs=1e-12)
        assert found.upper.item() == pytest.approx(max(high, 0), abs=1e-12)
    for domain in BETTER:
        assert output_bounds(model, x, ball, domain).lower.item() == pytest.approx(max(low, 0))


@given(seed=seeds, radius=st.floats(0, 1), kind=st.sampled_from([(Linf, 1), (L2, 2)]))
@settings(max_examples=15)
def test_fast_lin_of_one_hidden_layer_in_closed_form(seed, radius, kind):
    """v s (W x + b) - radius ||W^T s v|| - sum over v_j < 0 of |v_j| u_j |l_j| / (u_j - l_j)."""
    (ball, dual), (model, x) = kind, mlp(seed, 5, 8, 2)
    W, b, v = model[0].weight, model[0].bias, model[2].weight
    reach = radius * W.norm(p=dual, dim=1)
    z = x @ W.T + b
    low, high = z - reach, z + reach
    s = (high.relu() / (high.relu() + (-low).relu()).clamp(min=1e-300)).unsqueeze(1) * v
    expected = (s @ z.unsqueeze(2)).squeeze(2) + model[2].bias
    expected -= radius * (s @ W).norm(p=dual, dim=2)
    expected += (
        v.clamp(max=0) * (high.relu() * (-low).relu() / (high - low + 1e-300)).unsqueeze(1)
    ).sum(2)
    found = output_bounds(model, x, ball(radius), FastLin())
    torch.testing.assert_close(found.lower, expected, **CLOSE)


@pytest.mark.parametrize("domain", [*PLAIN, *BETTER], ids=repr)
@pytest.mark.parametrize(("ball", "dual"), [(Linf(0.1), 1), (L2(0.3), 2)])
def test_where_every_relu_is_stable_the_bounds_are_exact(domain, ball, dual):
    """The network is affine there; active and dead ReLUs both occur."""
    model, x = mlp(0, 5, 9, 7, 3)
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.div_(10)
            layer.bias.copy_((torch.arange(len(layer.bias)) % 3 - 1.5).sign() * 10)
    x.requires_grad_()
    found = margins(model, x, Y, ball, domain)
    margin = model(x).gather(1, Y.view(-1, 1)) - model(x)
    for j in range(3):
        (gradient,) = torch.autograd.grad(margin[:, j].sum(), x, retain_graph=True)
        exact = margin[:, j] - ball.radius * gradient.norm(p=dual, dim=1)
        torch.testing.assert_close(found[:, j], exact, **CLOSE)


@pytest.mark.parametrize("seed", range(3))
def test_below_the_exact_minimum_and_closing_with_the_radius(seed):
    """Soundness with its partner; and wider balls must not come to what smaller ones do."""
    model, x = mlp(seed, 3, 6, 6, 3)
    v = torch.tensor([1.0, -1.0, 0.0]).double()
    gaps = {repr(domain): [] for domain in (*PLAIN, *BETTER)}
    with torch.no_grad():
        for radius in (0.5, 0.1, 0.02, 1e-5):
            exact, where = exact_minimum(model, x[0], radius, v)
            assert (model(where[None])[0] @ v).item() == pytest.approx(exact, abs=1e-6)
            assert exact <= (model(x[:1])[0] @ v).item()
            for domain in (*PLAIN, *BETTER):
                bound = margins(model, x[:1], torch.tensor([0]), Linf(radius), domain)[0, 1].item()
                assert bound <= exact + 1e-6
                gaps[repr(domain)].append((exact - bound) / radius)
    for gap in gaps.values():
        assert gap[0] > 0.01  # on a wide ball a relaxation is not exact
        assert gap[-1] * 1e-5 < 1e-6
        assert gap[-2] < gap[0] / 2


@pytest.mark.parametrize("domain", BETTER, ids=repr)
@pytest.mark.parametrize("ball", BALLS, ids=repr)
@pytest.mark.parametrize("name", NETWORKS)
def test_intersected_bounds_are_sound_and_never_worse_than_intervals(domain, ball, name):
    model, x = network(name)
    for box in (None, UNIT):
        with torch.no_grad():
            found = output_bounds(model, x, ball, domain, box)
            loose = output_bounds(model, x, ball, Interval(), box)
            rows = x.repeat_interleave(500, 0)
            moved = rows + ball.project(3 * ball.sample(rows, seeded(0)))
            moved = moved if box is None else box.clip(moved)
            answers = model(moved).view(len(x), 500, -1)
        assert (found.lower >= loose.lower).all()
        assert (found.upper <= loose.upper).all()
        assert (found.lower.unsqueeze(1) <= answers).all()
        assert (answers <= found.upper.unsqueeze(1)).all()


@given(seed=seeds, radius=st.floats(0.01, 1))
@settings(max_examples=10)
def test_crown_ibp_intersected_is_the_better_of_the_two(seed, radius):
    model, x = mlp(seed, 5, 8, 8, 3)
    with torch.no_grad():
        plain, loose, both = (
            margins(model, x, Y, Linf(radius), domain)
            for domain in (CrownIBP(), Interval(), CrownIBP(intersect=True))
        )
    torch.testing.assert_close(both, plain.maximum(loose), **CLOSE)


@torch.no_grad()
def test_crown_does_not_always_beat_intervals():
    """Why there is something to intersect: sums of features that are not negative."""
    model, x = mlp(0, 5, 8, 8, 3)
    model[-1].weight.abs_()
    plain, loose, both = (
        output_bounds(model, x, Linf(0.5), domain).lower
        for domain in (Crown(), Interval(), Crown(intersect=True))
    )
    assert (plain < loose).any()
    assert (both >= loose).all()


@pytest.mark.parametrize("domain", [*PLAIN, *BETTER], ids=repr)
def test_how_much_is_held_at_once_does_not_matter(domain, monkeypatch):
    model, x = network("residual")
    with torch.no_grad():
        whole = margins(model, x, Y, Linf(0.05), domain)
        monkeypatch.setattr("trilemma.bounds.backward.HELD", {"cpu": 20000})
        monkeypatch.setattr("trilemma.bounds.crown.SHARED", 20000)
        torch.testing.assert_close(margins(model, x, Y, Linf(0.05), domain), whole, **CLOSE)


@pytest.mark.parametrize("domain", BETTER, ids=repr)
def test_a_row_does_not_depend_on_its_neighbours(domain):
    """Where bounds are intersected, what another row needs must not make this one's better."""
    model, x = mlp(2, 5, 12, 12, 12, 3)
    with torch.no_grad():
        whole = margins(model, x, Y, Linf(0.2), domain)
        alone = [
            margins(model, x[i : i + 1], Y[i : i + 1], Linf(0.2), domain) for i in range(len(x))
        ]
    torch.testing.assert_close(whole, torch.cat(alone), **CLOSE)


@pytest.mark.parametrize("domain", [*PLAIN, *BETTER], ids=repr)
def test_the_gradient_is_that_of_differences_where_hidden_bounds_move_too(domain):
    model, x = mlp(1, 4, 6, 6, 3)

    def value(W):
        with torch.no_grad():
            model[0].weight.copy_(W)
        return margins(model, x, Y, Linf(0.2), domain).sum()

    W = model[0].weight.detach().clone()
    (gradient,) = torch.autograd.grad(value(W), model[0].weight)
    for i in range(6):
        step = torch.zeros_like(W)
        step[i, i % 4] = 1e-6
        slope = (value(W + step) - value(W - step)) / 2e-6
        torch.testing.assert_close(gradient[i, i % 4], slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("domain", PLAIN, ids=repr)
def test_gradients_are_numbers_where_nothing_is_uncertain(domain):
    """Bounds that coincide have a width of 0, by which nothing may be divided."""
    model, x = mlp(1, 4, 6, 6, 3)
    for ball in (Linf(0.0), L2(0.0)):
        margins(model, x, Y, ball, domain).sum().backward()
        assert all(weight.grad.isfinite().all() for weight in model.parameters())
