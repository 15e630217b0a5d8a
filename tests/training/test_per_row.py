"""Gradients row by row: clipped and averaged as brute force does, noise of the declared size."""

import math
from contextlib import nullcontext

import pytest
import torch
from scipy import stats

from trilemma.attacks.evasion import PGD, BenignKL, Distributional
from trilemma.core.balls import Linf
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.models import PixelDP
from trilemma.training import (
    L1,
    L2,
    MLP,
    TRADES,
    Adversarial,
    Batch,
    DistributionalTraining,
    FashionCNN,
    Natural,
    PlainResNet,
    PooledCNN,
    SmallCNN,
    WideResNet,
    YaleCNN,
    build,
    fit,
)
from trilemma.training.objectives import Scaled
from trilemma.training.privacy import Account
from trilemma.training.private import free_terms

pytest.importorskip("opacus")

from trilemma.training import per_row  # which imports it
from trilemma.training.per_row import check_layers, private_steps, sampled

ATTACK = PGD(ball=Linf(0.1), steps=3)
OBJECTIVES = [
    Natural(),
    Adversarial(attack=ATTACK),
    DistributionalTraining(attack=Distributional(gamma=0.5, steps=2)),
    TRADES(attack=PGD(ball=Linf(0.1), steps=3, loss=BenignKL())),
    0.5 * Natural() + 0.5 * Adversarial(attack=ATTACK),
]
NETWORKS = {
    "MLP": (MLP(hidden=(5,)), (4,)),
    "SmallCNN": (SmallCNN(), (1, 8, 8)),
    "YaleCNN": (YaleCNN(scale=1, halving=4), (2, 16, 16)),
    "FashionCNN": (FashionCNN(scale=0.01), (1, 12, 12)),
    "PlainResNet": (PlainResNet(channels=(3, 4), hidden=5), (2, 8, 8)),
    "PooledCNN": (PooledCNN(), (3, 16, 16)),
    "noisy": (MLP(hidden=(5,), noise=PixelDP(draws=2)), (4,)),
}
LINEAR = 4  # inputs of the network below


def account(n, *, noise=0.0, clip=1.0, batch=None):
    return Account(
        mechanism="DP-SGD",
        clip_norm=clip,
        noise_multiplier=noise,
        delta=1e-5,
        rows=n,
        batch=batch or n,
    )


def network(recipe=NETWORKS["MLP"][0], shape=(LINEAR,), classes=3):
    return build(recipe, shape, classes, seeded(0)).double()


def rows(n, shape=(LINEAR,), classes=3):
    rng = seeded(5)
    x = torch.rand(n, *shape, generator=rng, dtype=torch.float64)
    return x, torch.randint(classes, (n,), generator=rng)


def flat(tensors):
    return torch.cat([each.flatten() for each in tensors])


def stepped(model, objective, batches, book, *, noise_seed=0):
    """What one step of SGD at rate 1 subtracts from the weights."""
    before = flat(model.parameters()).detach().clone()
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    free = free_terms(objective)
    with private_steps(model, sgd, book, free, seeded(noise_seed)) as private:
        list(fit(model, batches, objective, private, rng=seeded(7)))
    return before - flat(model.parameters()).detach()


def alone(model, objective, x, y):
    """Each row's gradient, of a batch that is that row."""
    found = []
    for i in range(len(x)):
        model.train()
        loss = objective(model, Batch(x[i : i + 1], y[i : i + 1], _same_draws(7)))
        found.append(flat(torch.autograd.grad(loss, list(model.parameters()))))
    return torch.stack(found)


def _same_draws(seed):
    """The generator where a step's attacks find it."""
    rng = seeded(seed)
    torch.randint(2**62, (), generator=rng)  # the seed of the step's global generator
    return rng


def clipped(gradients, clip):
    """With Opacus's 1e-6 against a division by 0."""
    return gradients * (clip / (gradients.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda each: type(each).__name__)
def test_the_step_is_the_mean_of_the_rows_clipped_gradients(objective):
    """An attack in the objective flows back through the same layers, and must leave no trace."""
    x, y = rows(6)
    gradients = alone(network(), objective, x, y)
    clip = gradients.norm(dim=1).median().item()  # some are clipped, some are not
    expected = clipped(gradients, clip).mean(0)
    found = stepped(network(), objective, [(x, y)], account(6, clip=clip))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    assert not torch.allclose(found, gradients.mean(0), rtol=1e-2)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "noisy"])
def test_so_it_is_for_every_network(name):
    recipe, shape = NETWORKS[name]
    x, y = rows(3, shape)
    gradients = alone(network(recipe, shape), Natural(), x, y)
    clip = gradients.norm(dim=1).median().item()
    found = stepped(network(recipe, shape), Natural(), [(x, y)], account(3, clip=clip))
    torch.testing.assert_close(found, clipped(gradients, clip).mean(0), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("hook", "objective", "name"),
    [
        ("capture_backprops_hook", OBJECTIVES[3], "MLP"),  # attacks count as the loss
        ("rearrange_grad_samples", Natural(), "SmallCNN"),  # channels-last memory read as rows
    ],
)
def test_opacus_alone_would_break_the_law(monkeypatch, hook, objective, name):
    monkeypatch.delattr(per_row.Hooks, hook)
    recipe, shape = NETWORKS[name]
    x, y = rows(4, shape)
    expected = clipped(alone(network(recipe, shape), objective, x, y), 0.1).mean(0)
    try:
        found = stepped(network(recipe, shape), objective, [(x, y)], account(4, clip=0.1))
    except (ValueError, IndexError, RuntimeError):
        return  # it lost count of what it saw
    assert not torch.allclose(found, expected, rtol=1e-3)


def test_no_row_moves_the_sum_by_more_than_the_longest_gradient():
    x, y = rows(8)
    for clip in (0.05, 1e3):
        book = account(8, clip=clip)  # the sum is over 8 with and without the row
        with_it = stepped(network(), Natural(), [(x, y)], book) * 8
        without = stepped(network(), Natural(), [(x[1:], y[1:])], book) * 8
        moved = (with_it - without).norm().item()
        length = alone(network(), Natural(), x, y)[0].norm().item()
        assert moved == pytest.approx(min(clip, length), rel=1e-4)


def test_a_penalty_is_added_unclipped_behind_the_noise():
    x, y = rows(5)
    plain = stepped(network(), Natural(), [(x, y)], account(5, clip=1e-3))
    for penalty in (3.0 * L2(), -0.5 * (L1() + 2.0 * L2())):
        model = network()
        terms = penalty(model, Batch(x, y, seeded(0)))
        weights = list(model.parameters())
        found = torch.autograd.grad(terms, weights, allow_unused=True)
        free = flat(
            [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]
        )
        both = stepped(network(), Natural() + penalty, [(x, y)], account(5, clip=1e-3))
        torch.testing.assert_close(both, plain + free, rtol=1e-9, atol=1e-12)
        assert free.norm() > 1


def test_the_noise_has_the_declared_deviation():
    """On a loss without gradients nothing else moves the weights: N(0, (sigma C / L)^2)."""
    model = network(MLP(hidden=(300, 100)))
    x, y = rows(10)
    book = account(40, noise=1.5, clip=0.2, batch=20)
    moved = stepped(model, Scaled(factor=0.0, term=Natural()), [(x, y)], book)
    assert len(moved) > 30_000
    assert moved.std().item() == pytest.approx(1.5 * 0.2 / 20, rel=0.02)
    assert stats.kstest(moved.numpy() / (1.5 * 0.2 / 20), "norm").pvalue > 1e-3


def test_the_noise_comes_from_its_generator():
    x, y = rows(4)
    book = account(4, noise=1.0)
    one, again, other = (
        stepped(network(), Natural(), [(x, y)], book, noise_seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert (one - other).norm() > 0.1


@pytest.mark.parametrize("name", ["MLP", "SmallCNN", "PlainResNet", "PooledCNN"])
def test_a_step_without_rows_is_its_noise(name):
    recipe, shape = NETWORKS[name]
    x, y = rows(4, shape)
    book = account(4, noise=1.0, clip=0.5, batch=2)
    alone_ = stepped(network(recipe, shape), Natural(), [(x[:0], y[:0])], book)
    still = stepped(network(recipe, shape), 0.0 * Natural(), [(x, y)], book)
    torch.testing.assert_close(alone_, still)


def test_a_batch_in_parts_is_the_batch(monkeypatch):
    """Parts add up to one step, with one draw of noise."""
    x, y = rows(7)
    book = account(7, noise=0.3, clip=0.1)

    def moved():
        model = network()
        sgd = torch.optim.SGD(model.parameters(), lr=1.0)
        before = flat(model.parameters()).detach().clone()
        with private_steps(model, sgd, book, [L2()], seeded(1)) as private:
            places = sampled(book, private, model, seeded(2))
            given = ((x[i], y[i]) for i in places)
            steps = list(fit(model, given, Natural() + L2(), private, rng=seeded(3)))
        return before - flat(model.parameters()).detach(), [step.rows for step in steps]

    whole, counts = moved()
    assert counts == [7]
    monkeypatch.setattr(per_row, "NUMBERS", 3 * 43)  # the network's weights, three times
    parts, counts = moved()
    assert counts == [3, 3, 1]
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-12)


def test_each_row_is_drawn_by_itself_at_the_sampling_rate():
    model = network()
    book = account(20, batch=5)
    assert book.sampling_rate == 0.25
    assert book.steps == 4
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    drawn = []
    rng = seeded(0)
    with private_steps(model, sgd, book, [], seeded(1)) as private:
        for _ in range(500):
            drawn += list(sampled(book, private, model, rng))
    assert len(drawn) == 2000
    member = torch.zeros(2000, 20)
    for step, places in enumerate(drawn):
        member[step, places] = 1
        assert len(places.unique()) == len(places)
    slack = 4.5 * math.sqrt(0.25 * 0.75 / 2000)
    assert ((member.mean(0) - 0.25).abs() < slack).all()
    sizes = member.sum(1)  # binomial, where a shuffle's would all be 5
    assert sizes.var().item() == pytest.approx(20 * 0.25 * 0.75, rel=0.15)
    both = (member[:, 0] * member[:, 1]).mean().item()
    assert both == pytest.approx(1 / 16, abs=4.5 * math.sqrt(1 / 16 / 2000))


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_handed_back_as_it_came(fails):
    recipe, shape = NETWORKS["SmallCNN"]
    model = network(recipe, shape)
    state = set(model.state_dict())
    marks = [set(vars(each)) for each in (*model.modules(), *model.parameters())]
    x, y = rows(3, shape)
    x = x / 0 if fails else x
    with pytest.raises(BadInput) if fails else nullcontext():
        stepped(model, Adversarial(attack=ATTACK), [(x, y)], account(3))
    assert set(model.state_dict()) == state
    assert [set(vars(each)) for each in (*model.modules(), *model.parameters())] == marks
    assert not any(each._forward_hooks or each._backward_hooks for each in model.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_that_give_gradients_by_row_pass(name):
    recipe, shape = NETWORKS[name]
    model = network(recipe, shape)
    before = [set(vars(each)) for each in model.parameters()]
    check_layers(model, rows(2, shape)[0])
    assert [set(vars(each)) for each in model.parameters()] == before
    assert all(each.grad is None for each in model.parameters())


@pytest.mark.parametrize(
    ("model", "shape", "said"),
    [
        (network(WideResNet(scale=1), (3, 8, 8)), (3, 8, 8), "BatchNorm2d .* over the rows"),
        (
            network(SmallCNN(noise=PixelDP(draws=2, after_convolution=True)), (1, 8, 8)),
            (1, 8, 8),
            "before.0.layer.weight has no gradient for each row",
        ),
    ],
)
def test_layers_that_do_not_are_refused(model, shape, said):
    with pytest.raises(BadInput, match=said):
        check_layers(model, rows(2, shape)[0])
