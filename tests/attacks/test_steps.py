"""The steps of a walk on boundaries that are known in closed form, driven by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trilemma.attacks.evasion.directions import white
from trilemma.attacks.evasion.starts import HALVINGS, find
from trilemma.attacks.evasion.steps import Group, bisect, estimate, halve, swing
from trilemma.core.box import UNIT, Box
from trilemma.core.generators import seeded

ANYWHERE = Box(-math.inf, math.inf)
NORMS = [2.0, math.inf]
seeds = st.integers(0, 2**32 - 1)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def plane(d, seed, r=4):
    """A unit normal w, and inputs at distances 0.5 to 2 below the plane <w, x> = 0."""
    w = torch.nn.functional.normalize(normal(d, seed=seed), dim=0)
    x = normal(r, d, seed=seed + 1)
    x = x - (x @ w + torch.linspace(0.5, 2, r, dtype=torch.float64)).view(-1, 1) * w
    return w, x


def group(x, norm=2.0, box=ANYWHERE):
    return Group(torch.arange(len(x)), x, box, norm)


def driven(walk, adversarial):
    """What a walk returns, and all it asked, where `adversarial` says what answers."""
    asked = []
    try:
        question = next(walk)
        while True:
            points = question.points(slice(0, len(question.rows)))
            asked.append((question.rows, points))
            question = walk.send(adversarial(points))
    except StopIteration as end:
        return end.value, asked


@pytest.mark.parametrize("norm", NORMS)
@given(seed=seeds, halvings=st.integers(1, 30))
@settings(max_examples=15)
def test_a_bisection_ends_within_its_resolution_beyond_the_boundary(norm, seed, halvings):
    w, x = plane(7, seed)
    some = group(x, norm)
    beyond = (normal(4, 7, seed=seed + 2) @ w).abs() + 0.1
    far = x + normal(4, 7, seed=seed + 3)
    far = far + (beyond - far @ w).view(-1, 1) * w
    point, asked = driven(bisect(some, far, halvings), lambda p: p @ w > 0)
    assert len(asked) == halvings
    assert (point @ w > 0).all()
    reach, end = some.length(far - x), some.length(point - x)
    assert (end <= reach).all()
    steps = (end / reach * 2**halvings).round()  # a whole number of them, and one less is benign
    torch.testing.assert_close(end, steps * reach / 2**halvings, rtol=1e-9, atol=0)
    shorter = ((steps - 1) / 2**halvings).view(-1, 1)
    if norm == 2:
        before = x + shorter * (far - x)
    else:
        ball = shorter * reach.view(-1, 1)
        before = far.maximum(x - ball).minimum(x + ball)
    assert (before @ w <= 1e-12).all()


def test_a_bisection_that_finds_nothing_nearer_stays():
    x = normal(3, 5)
    far = x + 1
    point, _ = driven(bisect(group(x), far, 6), lambda p: torch.zeros(len(p), dtype=torch.bool))
    assert torch.equal(point, far)


def cosine_of(d, b, seed, across=False):
    """Mean cosine of estimates at the boundary with the plane's normal (across, if asked for)."""
    w, x = plane(d, seed, r=8)
    z = x - (x @ w).view(-1, 1) * w + 0.3 * normal(8, d, seed=seed + 5)
    z = z - (z @ w - 1e-9).view(-1, 1) * w
    way = torch.nn.functional.normalize(z - x, dim=1) if across else None
    directions = white(b, x, seeded(seed + 2))
    delta = torch.full((8,), 0.01, dtype=torch.float64)
    slope, asked = driven(estimate(group(x), z, directions, delta, way), lambda p: p @ w > 0)
    (rows, points), truth = asked[0], w.expand_as(x)
    assert rows.bincount().tolist() == [b] * 8
    moved = (points.view(b, 8, d) - z) / 0.01
    if way is None:
        torch.testing.assert_close(moved, directions[:, None].expand_as(moved), atol=1e-9, rtol=0)
        return torch.cosine_similarity(slope.sum, truth).mean().item()
    assert (moved * way).sum(2).abs().max() < 1e-9
    flat = truth - (truth * way).sum(1, keepdim=True) * way
    sideways = slope.sum - (slope.sum * way).sum(1, keepdim=True) * way
    return torch.cosine_similarity(sideways, flat).mean().item()


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("b", [20, 100, 400])
def test_an_estimate_points_up_the_gradient_as_far_as_theory_says(b, across):
    """Each sign tells E|<w, u>| = sqrt(2 / (pi d)) of w, beside b directions' noise of 1."""
    d = 300
    signal = b * (2 / (math.pi * d)) ** 0.5
    theory = signal / (signal**2 + b * (1 - 2 / (math.pi * d))) ** 0.5
    mean = sum(cosine_of(d, b, 10 * seed, across) for seed in range(15)) / 15
    assert mean == pytest.approx(theory, rel=0.15)
    if b == 20:
        assert theory == pytest.approx((2 * b / (math.pi * d)) ** 0.5, rel=0.03)


def test_estimates_of_many_directions_have_no_bias():
    assert cosine_of(10, 20000, 0) > 0.999


@given(seed=seeds)
@settings(max_examples=10)
def test_the_noise_of_an_estimate_is_as_large_as_it_says(seed):
    """Where labels are thrown like coins, a coordinate's variance is what is returned."""
    x = normal(400, 30, seed=seed)
    coins = torch.rand(50 * 400, generator=seeded(seed + 1)) < 0.5
    ones = torch.ones(400, dtype=torch.float64)
    slope, _ = driven(
        estimate(group(x), x, white(50, x, seeded(seed + 2)), ones), lambda p: coins[: len(p)]
    )
    assert slope.sum.square().mean().item() == pytest.approx(slope.variance.mean().item(), rel=0.15)


@pytest.mark.parametrize("answer", [True, False])
def test_where_all_answers_are_alike_the_mean_direction_is_taken(answer):
    x = normal(2, 6)
    directions = white(9, x, seeded(0))
    slope, _ = driven(
        estimate(group(x), x, directions, torch.ones(2, dtype=torch.float64)),
        lambda p: torch.full((len(p),), answer),
    )
    sign = 1 if answer else -1
    torch.testing.assert_close(slope.sum, sign * directions.sum(0).expand(2, 6))


@given(seed=seeds, parts=st.lists(st.integers(1, 9), min_size=1, max_size=9), across=st.booleans())
@settings(max_examples=20)
def test_points_are_the_same_in_whatever_parts_they_are_asked_for(seed, parts, across):
    x = torch.rand(3, 5, generator=seeded(seed), dtype=torch.float64)
    way = torch.nn.functional.normalize(normal(3, 5, seed=seed), dim=1) if across else None
    delta = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    question = next(estimate(group(x, box=UNIT), x, white(8, x, seeded(seed)), delta, way))
    whole, start = question.points(slice(0, 24)), 0
    assert torch.equal(UNIT.clip(whole), whole)
    for size in parts:
        part = slice(start % 24, min(start % 24 + size, 24))
        torch.testing.assert_close(question.points(part), whole[part], rtol=0, atol=1e-15)
        chosen = (torch.arange(size) * 7 + start) % 24
        torch.testing.assert_close(question.points(chosen), whole[chosen], rtol=0, atol=1e-15)
        start += size


def on_the_plane(w, x, seed):
    """Adversarial points on the boundary, about as far to the side as x is below."""
    z = x - (x @ w).view(-1, 1) * w
    aside = normal(*x.shape, seed=seed)
    aside = aside - (aside @ w).view(-1, 1) * w
    return z + aside / aside.norm(dim=1, keepdim=True) * (x @ w).abs().view(-1, 1)


@given(seed=seeds, halvings=st.integers(4, 20))
@settings(max_examples=20)
def test_a_swing_up_the_true_gradient_finds_the_foot(seed, halvings):
    """Thales: the half circle over the line from x to z meets the plane at the nearest point."""
    w, x = plane(9, seed)
    z = on_the_plane(w, x, seed + 3)
    z = z + 1e-12 * w
    point, asked = driven(swing(group(x), z, w.expand_as(x), halvings), lambda p: p @ w > 0)
    far, foot = (z - x).norm(dim=1), (x @ w).abs()
    assert (point @ w > 0).all()
    assert len(asked) == halvings
    # the angle is found within pi / 2^(h + 1), and the distance is far times its cosine
    assert ((point - x).norm(dim=1) <= foot + far * math.pi / 2 ** (halvings + 1) + 1e-9).all()
    assert ((point - x).norm(dim=1) >= foot).all()
    for _, points in asked:
        assert ((points - x).norm(dim=1) <= far + 1e-12).all()


@given(seed=seeds)
@settings(max_examples=20)
def test_a_swing_never_ends_farther_than_it_started(seed):
    """Whatever the direction: even one along the way itself, or none."""
    w, x = plane(9, seed)
    z = on_the_plane(w, x, seed + 3) + 1e-12 * w
    for v in (normal(4, 9, seed=seed + 4), -w.expand_as(x), z - x, torch.zeros_like(x)):
        point, _ = driven(swing(group(x), z, v, 8), lambda p: p @ w > 0)
        assert point.isfinite().all()
        assert (point @ w > 0).all()
        assert ((point - x).norm(dim=1) <= (z - x).norm(dim=1) + 1e-12).all()


@pytest.mark.parametrize("norm", NORMS)
@given(seed=seeds, t=st.integers(1, 50))
@settings(max_examples=15)
def test_a_halved_step_comes_back_to_the_boundary(norm, seed, t):
    """Its first try has the published size; what it returns is adversarial and near the plane."""
    w, x = plane(9, seed)
    z, some = on_the_plane(w, x, seed + 3) + 1e-12 * w, group(x, norm)
    v = w.expand_as(x)
    point, asked = driven(halve(some, z, v, t, 25), lambda p: p @ w > 0)
    step = v.sign() if norm == math.inf else v
    first = z + (some.length(z - x) / math.sqrt(t)).view(-1, 1) * step
    torch.testing.assert_close(asked[0][1], first)
    assert len(asked) == 1 + 25  # up the true gradient the first try is adversarial
    assert (point @ w > 0).all()
    assert (point @ w < 1e-5).all()


def test_a_step_that_never_is_adversarial_stays():
    w, x = plane(9, 0)
    z = on_the_plane(w, x, 3) + 1e-12 * w
    point, _ = driven(halve(group(x), z, -w.expand_as(x), 1, 5), lambda p: p @ w > 0)
    assert (point @ w > 0).all()
    assert ((point - x).norm(dim=1) <= (z - x).norm(dim=1)).all()


@pytest.mark.parametrize("norm", NORMS)
@given(seed=seeds, wanted=st.integers(1, 6))
@settings(max_examples=15)
def test_of_the_first_candidates_the_nearest_start_is_taken(norm, seed, wanted):
    """By brute force, each candidate's own bisection on its line; the first found if those fail."""
    w, x = plane(7, seed)
    tries = 3 * normal(12, 7, seed=seed + 4) - w
    some, good = group(x, norm), (tries @ w > 0).nonzero().flatten().tolist()
    (far, found), asked = driven(find(some, tries, wanted), lambda p: p @ w > 0)
    assert found.all() or not good
    assert (far[found] @ w > 0).all()
    if not good:
        assert torch.equal(found, -x @ w > 0)
        return
    racing = [k for k in good if k < wanted]
    if wanted == 1 or not racing:
        torch.testing.assert_close(far, tries[good[0]].expand_as(x))
        return
    ends, reaches = [], []
    for k in racing:
        candidate = tries[k].expand_as(x)
        end, _ = driven(bisect(group(x), candidate, 30), lambda p: p @ w > 0)
        ends.append(some.length(end - x))
        reaches.append(some.length(candidate - x))
    slack = torch.stack(reaches).amin(0) / 2**HALVINGS
    assert (some.length(far - x) <= torch.stack(ends).amin(0) + slack + 1e-9).all()
    assert sum(len(points) for _, points in asked) <= len(x) * (wanted + HALVINGS * len(racing))


def test_the_last_fall_back_is_the_negative():
    """Mirrored in the middle of the box; where that has no end, in 0."""
    x = torch.tensor([[0.1, 0.8]], dtype=torch.float64)

    def only(z):
        return lambda p: (p - torch.tensor(z, dtype=torch.float64)).abs().amax(1) < 1e-9

    nothing = x.new_zeros(0, 2)
    (far, found), _ = driven(find(group(x, box=UNIT), nothing, 1), only([0.9, 0.2]))
    assert found.tolist() == [True]
    torch.testing.assert_close(far, 1 - x)
    (far, found), _ = driven(find(group(x), nothing, 1), only([-0.1, -0.8]))
    assert torch.equal(far, -x)
    (_, found), _ = driven(find(group(x), nothing, 1), only([7.0, 7.0]))
    assert found.tolist() == [False]
