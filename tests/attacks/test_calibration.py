"""Scores that reference models calibrate: LiRA, RMIA, BASE."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trilemma.attacks.membership.calibration import CALIBRATIONS, score
from trilemma.attacks.membership.lira import (
    LiRA,
    ModeratedVariance,
    PerRowVariance,
    PooledVariance,
    lira,
    prior,
)
from trilemma.attacks.membership.ratio import BASE, RMIA, Population, base, rmia
from trilemma.attacks.membership.references import check_references
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded

CONFIGS = [
    LiRA(variance=PerRowVariance()),
    LiRA(variance=PooledVariance()),
    LiRA(),
    LiRA(offline=True),
    BASE(),
    BASE(offline=0.3),
    RMIA(),
    RMIA(offline=1.0, gamma=2.0),
]


def scene(n, r, *, delta=1.0, spread=2.0, scales=1.0, seed=0):
    """Row i's signal is N(mu_i + delta if trained with it, scale_i^2); the target is one more."""
    rng = seeded(seed)
    mu = spread * torch.randn(n, generator=rng, dtype=torch.float64)
    trained = torch.rand(r, n, generator=rng) < 0.5
    trained[0], trained[1], trained[2], trained[3] = True, False, True, False
    member = torch.arange(n) % 2 == 0
    both = torch.cat([member[None], trained])
    noise = torch.randn(r + 1, n, generator=rng, dtype=torch.float64) * scales
    signals = mu + delta * both + noise
    return signals[0], signals[1:], trained, member


def auc(scores, member):
    ranks = stats.rankdata(scores.numpy())
    inside = member.numpy()
    many = inside.sum()
    whole = ranks[inside].sum() - many * (many + 1) / 2
    return whole / (many * (len(ranks) - many))


def by_hand(group):
    """Of one row: mean, standard deviation (n - 1), how many."""
    return group.mean(), group.std(ddof=1), len(group)


@pytest.mark.parametrize("offline", [False, True])
def test_each_rows_own_variance_gives_the_normal_likelihood_ratio(offline):
    target, shadow, trained, _ = scene(12, 9)
    found = lira(target, shadow, trained, LiRA(offline=offline, variance=PerRowVariance()))
    for i in range(12):
        seen, unseen = (shadow[of[:, i], i].numpy() for of in (trained, ~trained))
        s = target[i].item()
        (m_1, d_1, _), (m_0, d_0, _) = by_hand(seen), by_hand(unseen)
        expected = stats.norm.logpdf(s, m_1, d_1) - stats.norm.logpdf(s, m_0, d_0)
        expected = (s - m_0) / d_0 if offline else expected
        assert found[i].item() == pytest.approx(expected, rel=1e-9)


def test_a_pooled_variance_is_the_mean_of_the_rows():
    target, shadow, trained, _ = scene(30, 8)
    found = lira(target, shadow, trained, LiRA(variance=PooledVariance()))
    means, pooled = [], []
    for of in (trained, ~trained):
        rows = [shadow[of[:, i], i].numpy() for i in range(30)]
        means.append(np.array([row.mean() for row in rows]))
        squares = sum(((row - row.mean()) ** 2).sum() for row in rows)
        pooled.append(math.sqrt(squares / sum(len(row) - 1 for row in rows)))
    s = target.numpy()
    expected = stats.norm.logpdf(s, means[0], pooled[0]) - stats.norm.logpdf(s, means[1], pooled[1])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_a_moderated_variance_predicts_with_students_distribution():
    scales = torch.rand(40, dtype=torch.float64, generator=seeded(3)) * 3 + 0.1
    target, shadow, trained, _ = scene(40, 9, scales=scales)
    found = lira(target, shadow, trained)
    parts = []
    for of in (trained, ~trained):
        rows = [shadow[of[:, i], i].numpy() for i in range(40)]
        own = torch.tensor([row.var(ddof=1) for row in rows])
        d = torch.tensor([len(row) - 1.0 for row in rows], dtype=torch.float64)
        usual, d_0 = prior(own, d)
        assert 0.5 < d_0 < 50  # neither pooled nor each its own
        moderated = (d_0 * usual + d * own) / (d_0 + d)
        mean = np.array([row.mean() for row in rows])
        scale = np.sqrt(moderated.numpy() * (1 + 1 / (d.numpy() + 1)))
        parts.append(stats.t.logpdf(target.numpy(), d_0 + d.numpy(), mean, scale))
    np.testing.assert_allclose(found.numpy(), parts[0] - parts[1], rtol=1e-8)


def test_equal_variances_are_pooled():
    """What chance alone scatters is not taken for a difference between rows."""
    target, shadow, trained, _ = scene(20_000, 9)
    for of in (trained, ~trained):
        many = of.sum(0).double()
        own = torch.where(of, shadow, 0).sum(0) / many
        squares = torch.where(of, shadow - own, 0).square().sum(0)
        usual, d_0 = prior(squares / (many - 1), many - 1)
        assert usual == pytest.approx(1.0, rel=0.03)
        assert d_0 > 60
    assert torch.isfinite(lira(target, shadow, trained)).all()


@pytest.mark.parametrize(("d_0", "usual"), [(3.0, 2.0), (12.0, 0.5)])
def test_the_prior_of_variances_is_recovered(d_0, usual):
    rng = np.random.default_rng(0)
    true = d_0 * usual / rng.chisquare(d_0, 100_000)
    d = rng.integers(3, 12, 100_000)
    own = true * rng.chisquare(d) / d
    found, freedom = prior(torch.tensor(own), torch.tensor(d, dtype=torch.float64))
    assert found == pytest.approx(usual, rel=0.03)
    assert freedom == pytest.approx(d_0, rel=0.06)


@pytest.mark.parametrize("config", CONFIGS[:3], ids=["own", "pooled", "moderated"])
def test_gaussian_signals_leak_as_the_closed_form_says(config):
    """AUC of the likelihood ratio between N(mu, 1) and N(mu + 1.5, 1) is Phi(1.5 / sqrt(2))."""
    target, shadow, trained, member = scene(6000, 256, delta=1.5, spread=4.0)
    exact = stats.norm.cdf(1.5 / math.sqrt(2))
    error = math.sqrt(exact * (1 - exact) / 3000)  # an upper bound
    assert auc(lira(target, shadow, trained, config), member) == pytest.approx(exact, abs=3 * error)
    assert auc(target, member) < exact - 0.15  # the same signals, not calibrated


def test_few_references_are_better_moderated_than_each_on_its_own():
    scales = torch.rand(6000, dtype=torch.float64, generator=seeded(5)) * 2 + 0.2
    target, shadow, trained, member = scene(6000, 8, delta=1.0, scales=scales)
    found = {
        type(each).__name__: auc(lira(target, shadow, trained, LiRA(variance=each)), member)
        for each in (PerRowVariance(), PooledVariance(), ModeratedVariance())
    }
    assert found["ModeratedVariance"] > found["PerRowVariance"] + 0.02
    assert found["ModeratedVariance"] > found["PooledVariance"]


@pytest.mark.parametrize("offline", [None, 0.0, 0.4, 1.0])
def test_base_is_the_probability_over_its_average(offline):
    target, shadow, trained, _ = scene(12, 9)
    found = base(target, shadow, trained, BASE(offline=offline))
    p, refs = target.sigmoid().numpy(), shadow.sigmoid().numpy()
    for i in range(12):
        seen, unseen = (refs[of[:, i].numpy(), i].mean() for of in (trained, ~trained))
        usual = (seen + unseen) / 2
        if offline is not None:
            usual = ((1 + offline) * unseen + 1 - offline) / 2
        assert found[i].item() == pytest.approx(math.log(p[i] / usual), rel=1e-9)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_rmia_counts_whom_a_row_dominates(gamma):
    target, shadow, trained, _ = scene(14, 9)
    z = Population(*scene(11, 9, seed=1)[:3])
    found = rmia(target, shadow, trained, RMIA(gamma=gamma), population=z)
    own = base(target, shadow, trained).exp()
    others = base(z.target_signal, z.shadow_signals, z.shadow_membership).exp()
    expected = [np.mean([x / each >= gamma for each in others.tolist()]) for x in own.tolist()]
    assert found.tolist() == pytest.approx(expected)


@given(seed=st.integers(0, 50), offline=st.sampled_from([None, 0.3]))
def test_rmia_orders_rows_as_base_does(seed, offline):
    target, shadow, trained, _ = scene(20, 8, seed=seed)
    plain = base(target, shadow, trained, BASE(offline=offline))
    found = rmia(target, shadow, trained, RMIA(offline=offline))
    order = plain.argsort()
    assert (found[order].diff() >= 0).all()
    assert found.max() == 1  # the first dominates all, and itself


def test_rmia_is_calibrated_on_rows_like_its_population():
    target, shadow, trained, _ = scene(4000, 8, delta=0.0)
    halves = [
        (target[part], shadow[:, part], trained[:, part])
        for part in (slice(2000), slice(2000, None))
    ]
    found = rmia(*halves[0], population=Population(*halves[1]))
    for t in (0.01, 0.1, 0.5):
        rate = (found > 1 - t).double().mean().item()
        assert rate == pytest.approx(t, abs=4 * math.sqrt(2 * t * (1 - t) / 2000))


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_signals_that_know_nothing_leak_nothing(config):
    target, shadow, trained, member = scene(4000, 12, delta=0.0)
    assert auc(score(target, shadow, trained, config), member) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_the_order_of_rows_and_of_references_does_not_matter(config):
    target, shadow, trained, _ = scene(15, 9)
    whole = score(target, shadow, trained, config)
    rows = torch.randperm(15, generator=seeded(1))
    models = torch.randperm(9, generator=seeded(2))
    turned = score(target[rows], shadow[models][:, rows], trained[models][:, rows], config)
    torch.testing.assert_close(turned, whole[rows])
    again = score(target.float(), shadow.float(), trained, config)
    torch.testing.assert_close(again, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", CONFIGS[:-1], ids=repr)
def test_members_score_higher_where_training_shows(config):
    target, shadow, trained, member = scene(400, 16, delta=3.0)
    assert auc(score(target, shadow, trained, config), member) > 0.9


def test_a_row_is_scored_by_its_own_references():
    """Each row's own variance and BASE look at no other row."""
    target, shadow, trained, _ = scene(15, 9)
    for config in (LiRA(variance=PerRowVariance()), BASE()):
        whole = score(target, shadow, trained, config)
        torch.testing.assert_close(
            score(target[3:5], shadow[:, 3:5], trained[:, 3:5], config), whole[3:5]
        )


def test_signals_that_never_vary_are_scored_all_the_same():
    shadow, trained = torch.ones(6, 3), torch.arange(18).view(6, 3) % 2 == 0
    target = torch.tensor([1.0, 2.0, 0.0])
    for config in CONFIGS:
        assert torch.isfinite(score(target, shadow, trained, config)).all(), config


@pytest.mark.parametrize(
    ("change", "config", "said"),
    [
        ({"target_signal": torch.tensor([1.0, math.inf, 0])}, RMIA(), "1 of 3 are NaN"),
        ({"shadow_signals": torch.full((4, 3), math.nan)}, LiRA(), "12 of 12 are NaN"),
        ({"shadow_membership": torch.zeros(4, 3, dtype=torch.bool)}, LiRA(), "with them"),
        ({"shadow_membership": torch.zeros(4, 3, dtype=torch.bool)}, BASE(), "go offline"),
        (
            {"shadow_membership": torch.ones(4, 3, dtype=torch.bool)},
            BASE(offline=1),
            "without them",
        ),
        (
            {"shadow_membership": torch.tensor([[True], [False], [False], [False]]).expand(4, 3)},
            LiRA(),
            "fewer than 2 reference models with them",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(change, config, said):
    given_ = {
        "target_signal": torch.zeros(3),
        "shadow_signals": torch.zeros(4, 3),
        "shadow_membership": torch.arange(12).view(4, 3) % 2 == 0,
    }
    with pytest.raises(BadInput, match=said):
        score(**(given_ | change), config=config)


@pytest.mark.parametrize("shapes", [((2,), (4, 3), (4, 3)), ((3,), (4, 2), (4, 3))])
def test_shapes_that_do_not_belong_together_are_refused(shapes):
    with pytest.raises(BadInput, match=r"has shape \(4, .*Give \(references, rows\)"):
        check_references(*(torch.zeros(shape) for shape in shapes))


def test_an_empty_population_is_refused():
    target, shadow, trained, _ = scene(6, 6)
    nobody = Population(target[:0], shadow[:, :0], trained[:, :0])
    with pytest.raises(BadInput, match="population: is empty"):
        rmia(target, shadow, trained, population=nobody)


def test_the_table_has_every_method():
    assert {type(each) for each in CONFIGS} == set(CALIBRATIONS)
    assert all(dataclasses.is_dataclass(each) for each in CALIBRATIONS)
