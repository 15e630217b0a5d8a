"""Randomized smoothing: a linear model's radius is the distance; bounds err as often as said."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom, norm
from torch import nn

from trilemma.bounds import (
    Smoothing,
    certified_radius,
    certified_radius_lower,
    certify_smoothed,
    noisy_counts,
    own_and_rival,
    smoothing,
)
from trilemma.core.box import UNIT
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.core.pace import usual
from trilemma.oracles import Local, Metered

SIGMA = 0.5
W = torch.tensor([3.0, -4.0, 1.0], dtype=torch.float64)
B = 0.7


def linear():
    """Class 1 on the side w x + b > 0, class 0 on the other."""
    layer = nn.Linear(3, 2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.stack([torch.zeros(3), W]))
        layer.bias.copy_(torch.tensor([0.0, B]))
    return layer


def spread(n, seed=0):
    return 0.3 * torch.randn(n, 3, generator=seeded(seed), dtype=torch.float64)


def distance(x):
    """To the boundary, and the label of the side."""
    height = x @ W + B
    return height.abs() / W.norm(), (height > 0).long()


def network():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 5)
        ).double()


def rows(n):
    return torch.rand(n, 6, generator=seeded(7), dtype=torch.float64)


def counts(*values):
    return torch.tensor(values)


# The two radii


@given(
    samples=st.integers(2, 10**6),
    own=st.floats(0, 1),
    rest=st.floats(0, 1),
    sigma=st.floats(0.01, 9),
)
def test_the_estimate_is_that_of_the_frequencies(samples, own, rest, sigma):
    mine = int(own * samples)
    other = int(rest * (samples - mine))
    found = certified_radius(counts(mine), counts(other), samples, sigma).item()
    p, q = (min(max(c / samples, 0.5 / samples), 1 - 0.5 / samples) for c in (mine, other))
    assert found == pytest.approx(max(0.0, sigma / 2 * (norm.ppf(p) - norm.ppf(q))), abs=1e-9)
    assert math.isfinite(found)
    assert (found > 0) == (mine > other)


@given(samples=st.integers(1, 10**5), share=st.floats(0, 1), alpha=st.floats(1e-6, 0.999))
def test_the_bound_is_that_of_clopper_and_pearson(samples, share, alpha):
    hits = round(share * samples)
    p = beta.ppf(alpha, hits, samples - hits + 1) if hits else 0.0
    found = certified_radius_lower(counts(hits), samples, SIGMA, alpha).item()
    assert found == pytest.approx(max(0.0, SIGMA * norm.ppf(p)), rel=1e-9, abs=1e-9)
    assert (found > 0) == (p > 0.5)


def test_both_grow_with_the_votes_and_the_bound_with_what_it_may_err():
    votes = torch.arange(1001)
    estimate = certified_radius(votes, 1000 - votes, 1000, SIGMA)
    lower = certified_radius_lower(votes, 1000, SIGMA, 0.001)
    bolder = certified_radius_lower(votes, 1000, SIGMA, 0.05)
    for each in (estimate, lower, bolder):
        assert (each.diff() >= 0).all()
        assert (each[:501] == 0).all()
        assert each.isfinite().all()
    assert (lower <= bolder).all()
    assert (bolder <= estimate).all()
    assert (bolder[600:] > lower[600:]).all()


@given(k=st.integers(1, 3), n=st.integers(0, 4))
def test_the_votes_for_a_label_and_for_the_best_of_the_others(k, n):
    votes = torch.randint(0, 9, (n, k + 1), generator=seeded(n))
    y = torch.randint(0, k + 1, (n,), generator=seeded(k))
    own, rival = own_and_rival(votes, y)
    for i, row in enumerate(votes.tolist()):
        mine = row.pop(int(y[i]))
        assert (own[i], rival[i]) == (mine, max(row))


# What they say of a linear model, whose smoothed radius is the distance to the boundary


def test_the_estimate_comes_to_the_distance():
    x = spread(30)
    exact, y = distance(x)
    errors = {}
    for samples in (400, 20_000):
        config = Smoothing(sigma=SIGMA, samples=samples)
        own, rival = own_and_rival(noisy_counts(linear(), x, config, rng=seeded(1)), y)
        near = exact < 2 * SIGMA  # beyond, draws on the other side are too few
        errors[samples] = (certified_radius(own, rival, samples, SIGMA) - exact)[near].abs().max()
    assert errors[20_000] < 0.05 * SIGMA
    assert errors[400] > errors[20_000]


def frequency_beyond(bound, alpha, trials=4000, samples=200):
    """How often the bound of a linear model passes its distance, by simulated votes; the truth."""
    worst, p = 0.0, torch.linspace(0.6, 0.99, 14, dtype=torch.float64)
    for each in p.tolist():
        hits = torch.from_numpy(binom.rvs(samples, each, size=trials, random_state=5))
        exact = SIGMA * norm.ppf(each)
        worst = max(worst, (bound(hits, samples, alpha) > exact).double().mean().item())
    return worst


@pytest.mark.parametrize("alpha", [0.01, 0.1])
def test_the_bound_passes_the_distance_as_seldom_as_promised_and_no_seldomer(alpha):
    def honest(hits, samples, alpha):
        return certified_radius_lower(hits, samples, SIGMA, alpha)

    allowed = alpha + 4 * math.sqrt(alpha / 4000)
    assert alpha / 3 < frequency_beyond(honest, alpha) < allowed


def test_partner_the_estimate_is_no_bound():
    def estimate(hits, samples, alpha):
        return certified_radius(hits, samples - hits, samples, SIGMA)

    assert frequency_beyond(estimate, 0.01) > 0.3


def test_partner_a_label_chosen_by_the_same_draws_has_no_bound():
    """At the boundary of many classes the most frequent of few draws looks better than it is."""
    votes = torch.from_numpy(binom.rvs(20, 0.5, size=4000, random_state=6))
    same = torch.maximum(votes, 20 - votes)
    alpha = 0.06
    assert (certified_radius_lower(votes, 20, SIGMA, alpha) > 0).double().mean() < alpha
    assert (certified_radius_lower(same, 20, SIGMA, alpha) > 0).double().mean() > alpha


def test_a_certificate_holds_and_is_that_of_other_draws():
    x = torch.cat([spread(200), spread(200, seed=1) / 20 - 0.7 * W / W.square().sum()])
    exact, side = distance(x)
    config = Smoothing(sigma=SIGMA, samples=500, selection=40, alpha=0.02)
    found = certify_smoothed(linear(), x, config, rng=seeded(2))
    wrong = (found.radius > 0) & ((found.label != side) | (found.radius > exact))
    assert wrong.double().mean() < 0.08  # rows share their draws
    assert (found.radius > 0.5 * exact)[
        :200
    ].double().mean() > 0.6  # the others are at the boundary
    rng = seeded(2)
    first = noisy_counts(linear(), x, Smoothing(sigma=SIGMA, samples=40), rng=rng)
    votes = noisy_counts(linear(), x, config, rng=rng)
    own, _ = own_and_rival(votes, first.argmax(1))
    assert torch.equal(found.label, first.argmax(1))
    assert torch.equal(found.radius, certified_radius_lower(own, 500, SIGMA, 0.02))


# The sampler


def test_votes_are_those_of_one_draw_after_another():
    """Brute force, by the bank as it is documented: whole blocks, in float32."""
    model, x, config = linear(), spread(3), Smoothing(sigma=SIGMA, samples=70)
    bank = torch.randn(smoothing.DRAWS, 3, generator=seeded(4))[:70].double()
    expected = torch.zeros(3, 2, dtype=torch.int64)
    for i, row in enumerate(x):
        for draw in bank:
            expected[i, int(model(row + SIGMA * draw).argmax())] += 1
    assert torch.equal(noisy_counts(model, x, config, rng=seeded(4)), expected)


@pytest.mark.parametrize("batch", [1, 3, 64, 10_000, None])
def test_neither_neighbours_nor_the_batch_change_a_row(batch, monkeypatch):
    monkeypatch.setattr(smoothing, "DRAWS", 16)  # several blocks
    model, x, config = network(), rows(9), Smoothing(sigma=0.3, samples=50)
    whole = noisy_counts(model, x, config, rng=seeded(0), batch=7)
    assert torch.equal(noisy_counts(model, x, config, rng=seeded(0), batch=batch), whole)
    alone = torch.cat([noisy_counts(model, x[[i]], config, rng=seeded(0)) for i in range(9)])
    assert torch.equal(alone, whole)
    assert torch.equal(noisy_counts(model, x.flip(0), config, rng=seeded(0)).flip(0), whole)
    assert not torch.equal(noisy_counts(model, x, config, rng=seeded(1)), whole)
    assert (whole > 0).sum(1).double().mean() > 1.5  # the votes are divided
    assert (whole.sum(1) == 50).all()


def test_partner_noise_by_place_in_the_batch_is_seen():
    model, x, config = network(), rows(9), Smoothing(sigma=0.3, samples=50)
    rng = seeded(0)
    by_place = torch.cat([noisy_counts(model, x[[i]], config, rng=rng) for i in range(9)])
    assert not torch.equal(by_place, noisy_counts(model, x, config, rng=seeded(0)))


def test_more_samples_begin_with_fewer(monkeypatch):
    monkeypatch.setattr(smoothing, "DRAWS", 16)
    few, more = (
        noisy_counts(network(), rows(5), Smoothing(sigma=0.3, samples=m), rng=seeded(0))
        for m in (37, 50)
    )
    assert (more >= few).all()


@pytest.mark.parametrize("wrap", [False, True])
def test_the_model_comes_back_and_nothing_else_is_touched(wrap):
    model, x = network().train(), rows(4)
    model[0].eval()
    modes = [each.training for each in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(0)
    before = torch.get_rng_state()
    config = Smoothing(sigma=0.3, samples=30)
    oracle = Metered(Local(model, classes=5), limit=120)
    found = noisy_counts(oracle if wrap else model, x, config, rng=seeded(0))
    assert torch.equal(found, noisy_counts(model.eval(), x, config, rng=seeded(0)))
    assert oracle.spent == (120 if wrap else 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(x, rows(4))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    model.train()
    model[0].eval()
    noisy_counts(model, x, config, rng=seeded(0))
    assert [each.training for each in model.modules()] == modes


def test_the_model_is_asked_no_more_rows_at_once_than_said():
    asked = []

    def model(x):
        asked.append(len(x))
        return x[:, :2]

    noisy_counts(model, rows(10), Smoothing(samples=33), rng=seeded(0), batch=8)
    assert sum(asked) == 330
    assert max(asked) == 8
    asked.clear()
    noisy_counts(model, rows(10), Smoothing(samples=33), rng=seeded(0))
    assert max(asked) == usual(rows(1)).rows


def test_noisy_inputs_stay_in_the_box_only_if_asked():
    ends = []

    def model(x):
        ends.extend([x.min().item(), x.max().item()])
        return x[:, :2]

    noisy_counts(model, rows(5), Smoothing(samples=20), rng=seeded(0), box=UNIT)
    assert min(ends) >= 0
    assert max(ends) <= 1
    noisy_counts(model, rows(5), Smoothing(samples=20), rng=seeded(0))
    assert min(ends) < 0
    assert max(ends) > 1


def test_images_and_half_precision():
    def model(x):
        return x.flatten(1)[:, :3]

    x = torch.rand(2, 3, 4, 4, generator=seeded(0))
    found = noisy_counts(model, x, Smoothing(samples=20), rng=seeded(0))
    assert found.sum(1).tolist() == [20, 20]
    noisy_counts(model, x.bfloat16(), Smoothing(samples=20), rng=seeded(0))


# What is stored


def test_the_votes_are_those_of_the_revision():
    """When they change and are meant to, raise the REVISION and record the new ones under it."""
    recorded = {1: [[36, 64], [55, 45], [42, 58]]}
    x = torch.tensor([[0.1, 0.0, -0.2], [-0.3, 0.1, 0.2], [0.0, 0.1, 0.2]], dtype=torch.float64)
    config = Smoothing(sigma=SIGMA, samples=100)
    votes = noisy_counts(linear(), x, config, rng=seeded(0))
    assert votes.tolist() == recorded[Smoothing.REVISION]


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((counts(11), counts(0), 10, 1.0), "not all among 0 ... 10"),
        ((counts(-1), counts(0), 10, 1.0), "not all among"),
        ((counts(6), counts(5), 10, 1.0), "more than 10 draws"),
        ((counts(6), counts(4), 10, 0.0), "sigma: is 0"),
        ((counts(6), counts(4), 10, math.nan), "sigma: is nan"),
    ],
)
def test_impossible_counts_are_refused(arguments, message):
    with pytest.raises(BadInput, match=message):
        certified_radius(*arguments)


@pytest.mark.parametrize("alpha", [0.0, 1.0, math.nan])
def test_an_alpha_that_is_no_probability_is_refused(alpha):
    with pytest.raises(BadInput, match="alpha"):
        certified_radius_lower(counts(3), 10, 1.0, alpha)


def test_models_and_rows_that_cannot_be_counted_are_refused():
    config = Smoothing(samples=5)
    with pytest.raises(BadInput, match="no rows"):
        noisy_counts(linear(), spread(0), config, rng=seeded(0))
    with pytest.raises(BadInput, match="NaN or infinite"):
        noisy_counts(lambda x: x / 0, spread(2), config, rng=seeded(0))
    with pytest.raises(BadInput, match="output of shape"):
        noisy_counts(lambda x: x[:1], spread(2), config, rng=seeded(0))
    with pytest.raises(BadInput, match="no column"):
        own_and_rival(torch.ones(2, 3, dtype=torch.int64), counts(0, 3))
