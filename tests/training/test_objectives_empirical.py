"""Objectives on adversarial examples: parts of the training set, prices, divergences, penalties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from trilemma.attacks.evasion import (
    PGD,
    BenignKL,
    Distributional,
    L2Penalty,
    distributional,
)
from trilemma.core.balls import Linf
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.training import (
    L1,
    L2,
    MLP,
    SGD,
    TRADES,
    Adversarial,
    Batch,
    DistributionalTraining,
    DomainAdaptation,
    MixedAdversarial,
    Natural,
    Standing,
    fit,
    train,
)

ATTACK = PGD(ball=Linf(0.1), steps=3)
DIVERGING = PGD(ball=Linf(0.1), steps=5, loss=BenignKL())


def net(seed=0, d=4, k=3):
    g = seeded(seed)
    layers = [nn.Linear(d, 6), nn.ReLU(), nn.Linear(6, k)]
    for each in (layers[0], layers[2]):
        each.weight.data.normal_(generator=g)
        each.bias.data.normal_(generator=g)
    return nn.Sequential(*layers).double()


def rows(n=12, d=4, k=3, seed=1):
    g = seeded(seed)
    x = torch.rand(n, d, generator=g, dtype=torch.float64)
    return x, torch.randint(0, k, (n,), generator=g)


def batch(n=12, strength=1.0, rank=None):
    x, y = rows(n)
    standing = None if rank is None else Standing(torch.as_tensor(rank), n)
    return Batch(x, y, seeded(2), strength=strength, standing=standing)


def data(n=30):
    x, y = rows(n)
    return Dataset(x.float(), y)


def same(one, other):
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# A part of the training set (section 5.2.2)


@given(n=st.integers(1, 200), ratio=st.floats(0, 1), seed=st.integers(0, 9))
def test_the_part_has_the_size_of_its_ratio_and_contains_smaller_ones(n, ratio, seed):
    standing = Standing(torch.randperm(n, generator=seeded(seed)), n)
    chosen = standing.first(ratio)
    assert chosen.sum() == round(ratio * n)
    assert (standing.first(ratio / 2) <= chosen).all()
    assert standing.first(1.0).all()
    assert not standing.first(0.0).any()


def test_where_some_rows_stand_is_their_part_of_where_all_do():
    standing, index = Standing(torch.randperm(9, generator=seeded(0)), 9), torch.tensor([7, 0, 3])
    assert torch.equal(standing[index].first(0.5), standing.first(0.5)[index])


def test_mixed_training_averages_adversarial_losses_of_a_part_and_natural_ones_of_the_rest():
    model, rank = net(), [0, 9, 1, 8, 2, 7, 3, 6, 4, 5, 10, 11]
    b = batch(rank=rank)
    attacked = torch.tensor(rank) < 6
    x_adv = b.adversarial(model, ATTACK)  # in a batch of its own, so that the draws agree
    natural = F.cross_entropy(model(b.x), b.y, reduction="none")
    robust = F.cross_entropy(model(x_adv), b.y, reduction="none")
    expected = torch.where(attacked, robust, natural).mean()
    mixed = MixedAdversarial(attack=ATTACK, ratio=0.5)
    torch.testing.assert_close(mixed(model, batch(rank=rank)), expected)
    assert (robust > natural).any()  # or the law says nothing


@pytest.mark.parametrize(("ratio", "plain"), [(0.0, Natural()), (1.0, Adversarial(attack=ATTACK))])
def test_the_ends_of_the_ratio_are_the_plain_trainings_to_the_bit(ratio, plain):
    recipe = MLP(epochs=3, batch=7, hidden=(5,))
    mixed = MixedAdversarial(attack=ATTACK, ratio=ratio)
    assert same(
        train(recipe, mixed, data(), 5, classes=3), train(recipe, plain, data(), 5, classes=3)
    )


def attacked_in(ratio, seed, epochs=3, n=30):
    """Which rows were attacked in each epoch, by a feature that names the row."""
    named = data(n)
    named.x[:, 0] = torch.arange(n) / n
    found = [set() for _ in range(epochs)]

    class Watching(MixedAdversarial):
        def __call__(self, model, batch):
            x_adv = batch.adversarial(model, self.attack, self.ratio)
            moved = (x_adv != batch.x).any(1)
            names = (batch.x[moved][:, 0] * n).round().int().tolist()
            found[self.seen(batch)] |= set(names)
            return MixedAdversarial.__call__(self, model, batch)

        def seen(self, batch):
            counted.append(len(batch.x))
            return (sum(counted) - 1) // n

    counted = []
    train(
        MLP(epochs=epochs, batch=7, hidden=(5,)),
        Watching(attack=ATTACK, ratio=ratio),
        named,
        seed,
        classes=3,
    )
    return found


def test_the_attacked_part_is_the_same_in_each_epoch_and_drawn_from_the_seed():
    first, *later = attacked_in(0.5, seed=1)
    assert len(first) == 15
    assert all(each == first for each in later)
    assert attacked_in(0.5, seed=1)[0] == first
    assert attacked_in(0.5, seed=2)[0] != first
    assert attacked_in(0.25, seed=1)[0] < first


def test_the_loop_hands_on_where_the_rows_stand():
    rank, mixed = (
        torch.randperm(12, generator=seeded(0)),
        MixedAdversarial(attack=ATTACK, ratio=0.5),
    )
    x, y = rows()
    losses = []
    for places in (rank, torch.zeros(12, dtype=torch.long), torch.full((12,), 11)):
        model = net()
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        (step,) = fit(model, [(x, y, Standing(places, 12))], mixed, sgd, rng=seeded(0))
        losses.append(step.loss)
    assert losses[2] == pytest.approx(Natural()(net(), batch()).item())
    assert losses[2] < losses[0] < losses[1]
    with pytest.raises(BadInput, match="which rows"):
        next(fit(net(), [(x, y)], mixed, sgd, rng=seeded(0)))


def test_a_part_of_unknown_rows_is_refused():
    with pytest.raises(BadInput, match=r"which rows belong to 0\.5 of the training set"):
        MixedAdversarial(attack=ATTACK, ratio=0.5)(net(), batch())


# Prices instead of a ball (eq. 10)


@pytest.mark.parametrize("penalty", [None, L2Penalty()])
@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_distributional_training_sees_the_lagrangian_examples_at_gamma_over_strength(
    penalty, strength
):
    model, b = net(), batch(strength=strength)
    extra = {} if penalty is None else {"penalty": penalty}
    attack = Distributional(gamma=0.5, steps=4, **extra)
    dearer = Distributional(gamma=0.5 / strength, steps=4, **extra)
    x_adv = distributional(model, b.x, b.y, dearer, rng=seeded(0))
    loss = DistributionalTraining(attack=attack)(model, b)
    torch.testing.assert_close(loss, F.cross_entropy(model(x_adv), b.y))
    assert loss > Natural()(model, b)


def test_at_a_high_price_distributional_training_is_natural():
    model, b = net(), batch()
    dear = DistributionalTraining(attack=Distributional(gamma=1e9, steps=3))
    torch.testing.assert_close(dear(model, b), Natural()(model, b))


# Divergences (eq. 11-12)


def test_trades_is_the_loss_plus_the_divergence_of_adversarial_answers_from_benign_ones():
    model, b = net(), batch()
    p = model(b.x).softmax(1)
    q = model(b.adversarial(model, DIVERGING)).softmax(1)
    divergence = (p * (p / q).log()).sum(1).mean()
    expected = -p.gather(1, b.y[:, None]).log().mean() + 2.5 * divergence
    torch.testing.assert_close(TRADES(attack=DIVERGING, weight=2.5)(model, b), expected)
    reversed_ = (q * (q / p).log()).sum(1).mean()  # eq. 11 as printed
    assert abs(reversed_ - divergence) > 1e-3


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_without_a_ball_trades_is_natural(strength):
    model = net()
    ball = Linf(0.0 if strength else 0.1)
    objective = TRADES(attack=PGD(ball=ball, steps=3, loss=BenignKL()))
    found = objective(model, batch(strength=strength))
    torch.testing.assert_close(found, Natural()(model, batch()), rtol=1e-12, atol=0)


def test_the_examples_of_trades_diverge_more_than_random_points_of_the_ball():
    """The divergence has hills on several sides; from a few starts the highest is found."""
    model, b = net(), batch()
    benign, kl = model(b.x), BenignKL()
    attack = PGD(ball=Linf(0.1), steps=10, restarts=8, loss=kl)
    found = kl(model(b.adversarial(model, attack)), b.y, benign)
    draws = (2 * torch.rand(100, *b.x.shape, generator=seeded(3), dtype=torch.float64) - 1) * 0.1
    best = torch.stack([kl(model((b.x + d).clamp(0, 1)), b.y, benign) for d in draws]).amax(0)
    assert (found >= best - 1e-9).all()


def test_gradients_flow_through_both_answers_of_trades():
    model, b = net(), batch()
    x_adv = b.adversarial(model, DIVERGING)
    trades = TRADES(attack=DIVERGING, weight=1.0)(model, b) - Natural()(model, b)
    found = torch.autograd.grad(trades, model[2].weight)[0]
    p, q = model(b.x).softmax(1), model(x_adv).softmax(1)
    both = torch.autograd.grad((p * (p / q).log()).sum(1).mean(), model[2].weight)[0]
    torch.testing.assert_close(found, both)


# Two distributions of logits (section 7.2.2)


def test_domain_adaptation_is_the_distance_of_means_and_covariances():
    model, b = net(), batch()
    z = model(b.x).detach().numpy()
    z_adv = model(b.adversarial(model, ATTACK)).detach().numpy()
    means = np.abs(z.mean(0) - z_adv.mean(0)).sum() / 3
    covariances = np.abs(np.cov(z.T) - np.cov(z_adv.T)).sum() / 9
    for weights in ((1.0, 1.0), (2.0, 0.0), (0.0, 11.0)):
        objective = DomainAdaptation(attack=ATTACK, means=weights[0], covariances=weights[1])
        expected = weights[0] * means + weights[1] * covariances
        assert objective(model, b).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("radius", "strength"), [(0.0, 1.0), (0.1, 0.0)])
def test_domain_adaptation_is_0_where_adversarial_is_benign(radius, strength):
    objective = DomainAdaptation(attack=PGD(ball=Linf(radius), steps=2))
    assert objective(net(), batch(strength=strength)) == 0
    assert DomainAdaptation(attack=ATTACK)(net(), batch()) > 0


def test_domain_adaptation_sees_a_shift_and_a_spread():
    """Logits moved by c have another mean only; turned about their mean, another covariance."""

    class Shown(nn.Module):
        def forward(self, x):
            return x

    class Given(Batch):
        def adversarial_logits(self, model, attack, ratio=1.0):
            return other

    x, y = rows()
    objective = DomainAdaptation(attack=ATTACK)
    other = x + 0.25
    assert objective(Shown(), Given(x, y, seeded(0))).item() == pytest.approx(0.25)
    other = x.mean(0) + 2 * (x - x.mean(0))
    expected = 3 * torch.cov(x.T).abs().mean()
    assert objective(Shown(), Given(x, y, seeded(0))).item() == pytest.approx(expected.item())


def test_one_row_has_no_covariance():
    model, b = net(), batch(1)
    z, z_adv = model(b.x), model(b.adversarial(model, ATTACK))
    expected = (z - z_adv).abs().mean()
    torch.testing.assert_close(DomainAdaptation(attack=ATTACK)(model, b), expected)


def test_domain_adaptation_shares_examples_and_forwards():
    asked = []
    model = net().train()
    model.register_forward_hook(lambda module, *_: asked.append(module.training))
    (Adversarial(attack=ATTACK) + 0.1 * DomainAdaptation(attack=ATTACK) + Natural())(model, batch())
    assert asked.count(True) == 2
    assert asked.count(False) == ATTACK.steps


# Penalties


def test_penalties_are_sums_over_weights_and_not_biases():
    model = net()
    weights = torch.cat([model[0].weight.flatten(), model[2].weight.flatten()])
    torch.testing.assert_close(L1()(model, batch()), weights.abs().sum())
    torch.testing.assert_close(L2()(model, batch()), weights.square().sum() / 2)
    model[0].bias.data += 1
    torch.testing.assert_close(L1()(model, batch()), weights.abs().sum())


def test_l2_is_the_weight_decay_of_sgd_on_weights():
    x, y = rows()
    ends = []
    for decay, objective in ((0.1, Natural()), (0.0, Natural() + 0.1 * L2())):
        model = net()
        sgd = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=decay)
        list(fit(model, [(x, y)] * 1, objective, sgd, rng=seeded(0)))
        ends.append(model)
    torch.testing.assert_close(ends[0][0].weight, ends[1][0].weight)
    assert not torch.equal(ends[0][0].bias, ends[1][0].bias)


def test_a_strong_penalty_makes_small_weights():
    recipe = MLP(epochs=20, batch=10, hidden=(8,), optimiser=SGD(learning_rate=0.02))
    free = train(recipe, Natural(), data(), 1, classes=3).model
    for penalty, strength in ((L1(), 0.1), (L2(), 0.3)):
        bound = train(recipe, Natural() + strength * penalty, data(), 1, classes=3).model
        assert penalty(bound, batch()) < 0.5 * penalty(free, batch())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MixedAdversarial(attack=ATTACK), "ratio"),
        (lambda: MixedAdversarial(attack=ATTACK, ratio=1.1), "ratio"),
        (lambda: DistributionalTraining(attack=ATTACK), "attack"),
        (lambda: TRADES(attack=ATTACK), "must be BenignKL.*got CrossEntropy"),
        (lambda: TRADES(attack=DIVERGING, weight=-1.0), "weight"),
        (lambda: DomainAdaptation(attack=ATTACK, means=math.inf), "means"),
        (lambda: L1(weight=2.0), "weight"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, said):
    with pytest.raises(ValidationError, match=said):
        make()


@pytest.mark.parametrize("swapped", [False, True])
def test_domain_adaptation_takes_the_attack_of_the_sum(swapped):
    terms = [Adversarial(attack=ATTACK), 0.1 * DomainAdaptation()]
    objective = sum(terms[::-1] if swapped else terms, start=Natural())
    named = Natural() + Adversarial(attack=ATTACK) + 0.1 * DomainAdaptation(attack=ATTACK)
    assert set(objective.terms) == set(named.terms)


def test_an_attack_that_comes_later_is_taken_too():
    first = 2.0 * (0.5 * DomainAdaptation() + Natural())
    assert (first + TRADES(attack=DIVERGING)).terms[0].term.terms[0].term == DomainAdaptation(
        attack=DIVERGING
    )


@pytest.mark.parametrize(
    "objective",
    [
        DomainAdaptation(),
        DomainAdaptation() + Natural(),
        Adversarial(attack=ATTACK) + TRADES(attack=DIVERGING) + DomainAdaptation(),
    ],
)
def test_domain_adaptation_without_one_attack_is_refused(objective):
    with pytest.raises(BadInput, match="attack: is missing"):
        objective(net(), batch())
