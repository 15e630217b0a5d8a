"""Adversarial regularisation: the game's value, its steps, and what it leaves alone."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trilemma.attacks.evasion import PGD
from trilemma.core.balls import Linf
from trilemma.core.box import UNIT
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.core.modes import training
from trilemma.experiments.decode import decode
from trilemma.oracles import log_probabilities
from trilemma.training import (
    MLP,
    SGD,
    Adam,
    Adversarial,
    AdversarialRegularisation,
    Batch,
    Checkpoint,
    Crop,
    Devices,
    DifferentialPrivacy,
    Flip,
    Natural,
    Objective,
    SmallCNN,
    Validation,
    WideResNet,
    build,
    train,
)
from trilemma.training.engine import ALONE
from trilemma.training.objectives import adversarial_regularisation, game
from trilemma.training.objectives.adversarial_regularisation import gain, learn
from trilemma.training.playing import game_of

TERM = AdversarialRegularisation(answer=(16, 8), label=(8,), both=(8,))
FAST = AdversarialRegularisation(answer=(64,), label=(64,), both=(64,), learning_rate=0.01)
ATTACK = PGD(ball=Linf(0.1), steps=2)
ODDS = st.lists(st.floats(-20, 20), min_size=1, max_size=6).map(
    lambda each: torch.tensor(each, dtype=torch.float64)
)


def rows(n, seed, shape=(6,), classes=3):
    g = seeded(seed)
    y = torch.randint(0, classes, (n,), generator=g)
    x = torch.rand(n, *shape, generator=g)
    x.flatten(1)[:, 0] = y / classes
    return Dataset(x, y)


def double(data):
    return Dataset(data.x.double(), data.y)


def playing(term=TERM, members=None, reference=None, seed=0):
    members, reference = members or rows(30, 0), reference or rows(30, 1)
    found = game_of(
        MLP(), term, double(members), double(reference), seed, classes=3, box=UNIT, engine=ALONE
    )
    return replace(found, network=found.network.double())


def network():
    return build(MLP(hidden=(8,)), (6,), 3, seeded(3)).double()


@given(members=ODDS, others=ODDS)
def test_the_gain_is_equation_5(members, others):
    h, g = members.sigmoid(), others.sigmoid()
    expected = h.log().mean() / 2 + (1 - g).log().mean() / 2
    torch.testing.assert_close(gain(members, others), expected, rtol=1e-6, atol=1e-9)
    assert gain(members, others) <= 0


@settings(max_examples=20)
@given(odds=ODDS)
def test_no_network_gains_more_than_a_guess_where_both_sides_are_one(odds):
    assert gain(odds, odds) <= -math.log(2) + 1e-12


def test_where_answers_are_identical_the_gain_goes_to_that_of_a_guess():
    """Whatever the network learns of a model whose answers are the same on both sides."""
    same = rows(40, 0)
    g, model = playing(FAST, same, same), network()
    for _ in range(150):
        learn(model, g, 40)
    with torch.no_grad():
        odds = g.odds(model(g.members.x), g.members.y, learn=False)
    assert gain(odds, odds).item() == pytest.approx(-math.log(2), abs=0.01)


def test_where_they_differ_the_network_finds_out():
    members = rows(40, 0)
    wrong = Dataset(members.x, (members.y + 1) % 3)  # labels that the answers do not go with
    model = nn.Linear(6, 3).double()
    with torch.no_grad():
        model.weight.zero_()
        model.weight[:, 0] = torch.tensor([-6.0, 0.0, 6.0])
        model.bias.copy_(torch.tensor([2.0, 1.0, -3.0]))
    g = playing(FAST, members, wrong)
    for _ in range(150):
        learn(model, g, 40)
    with torch.no_grad():
        sides = [g.odds(model(s.x), s.y, learn=False) for s in (g.members, g.reference)]
    assert gain(*sides) > -0.2


@pytest.mark.parametrize("sign", [1, -1])
def test_a_step_of_the_network_raises_its_gain(sign, monkeypatch):
    """On the rows that it is taken on, and a step the other way lowers it."""
    if sign < 0:
        monkeypatch.setattr(adversarial_regularisation, "gain", lambda *odds: -gain(*odds))
    g, model = playing(), network()
    sgd = torch.optim.SGD(g.network.parameters(), lr=0.05)
    g = replace(g, optimiser=sgd)

    def gained():
        again = replace(g, rng=seeded(9))
        sides = [again.drawn(data, 20) for data in (g.members, g.reference)]
        with torch.no_grad():
            return gain(*(g.odds(model(s.x), s.y, learn=False) for s in sides)).item()

    before, weights = gained(), [w.clone() for w in model.parameters()]
    learn(model, replace(g, rng=seeded(9)), 20)
    assert sign * (gained() - before) > 1e-6
    assert all(map(torch.equal, weights, model.parameters()))
    assert all(w.grad is None for w in model.parameters())


def test_the_models_gradient_is_that_of_the_gain():
    """By finite differences of the gain in each weight, h and its draws held still."""
    g, model = playing(), network()
    batch_rows = double(rows(12, 5))

    def value(again):
        sgd = torch.optim.SGD(g.network.parameters(), lr=0.0)
        held = replace(g, rng=seeded(4), optimiser=sgd)
        return TERM(again, Batch(batch_rows.x, batch_rows.y, seeded(0), game=held))

    weights = list(model.parameters())
    found = torch.autograd.grad(value(model), weights)
    step = 1e-6
    for weight, gradient in zip(weights, found, strict=True):
        for place in range(0, weight.numel(), 7):
            flat = weight.data.view(-1)
            ends = []
            for sign in (1, -1):
                flat[place] += sign * step
                ends.append(value(model).item())
                flat[place] -= sign * step
            difference = (ends[0] - ends[1]) / (2 * step)
            assert gradient.view(-1)[place].item() == pytest.approx(difference, rel=1e-4, abs=1e-8)
    assert max(each.abs().max() for each in found) > 1e-4


def test_the_models_step_does_not_move_the_network():
    g, model = playing(), network()
    data = double(rows(12, 5))
    loss = TERM(model, Batch(data.x, data.y, seeded(0), game=g))
    before = [w.clone() for w in g.network.parameters()]
    g.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    assert all(w.grad is None for w in g.network.parameters())
    assert all(map(torch.equal, before, g.network.parameters()))


def test_it_takes_as_many_steps_as_it_says():
    for steps in (1, 3):
        term = replace(TERM, steps=steps)
        g, data = playing(term), double(rows(12, 5))
        term(network(), Batch(data.x, data.y, seeded(0), game=g))
        (first, *_) = g.optimiser.state.values()
        assert first["step"].item() == steps


def test_soft_targets_are_labels_that_weigh():
    g, model, data = playing(), network(), double(rows(5, 5))
    soft = nn.functional.one_hot(data.y, 3).double()
    z = model(data.x)
    torch.testing.assert_close(g.odds(z, soft, learn=False), g.odds(z, data.y, learn=False))


def test_batch_norm_does_not_see_what_the_game_asks():
    model = build(WideResNet(scale=1), (1, 8, 8), 3, seeded(0))
    before = {name: each.clone() for name, each in model.named_buffers()}
    with training(model):
        game.unseen(model, torch.rand(4, 1, 8, 8))
    assert all(torch.equal(each, before[name]) for name, each in model.named_buffers())
    with training(model):
        model(torch.rand(4, 1, 8, 8))
    assert any(not torch.equal(each, before[name]) for name, each in model.named_buffers())


def trained(recipe, objective, seed=0, shape=(6,), **more):
    data, reference = rows(60, 0, shape), rows(40, 1, shape)
    return train(recipe, objective, data, seed, classes=3, reference=reference, **more)


def same(one, other):
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


SHORT = {"epochs": 3, "batch": 16}
RECIPES = {
    "MLP": (MLP(**SHORT, hidden=(8,)), (6,)),
    "dropout": (MLP(**SHORT, hidden=(8,), dropout=0.5, optimiser=SGD()), (6,)),
    "augmented": (SmallCNN(**SHORT, augmentation=(Crop(padding=1), Flip())), (1, 8, 8)),
    "batch norm": (WideResNet(**SHORT, scale=1, optimiser=SGD(learning_rate=0.01)), (1, 8, 8)),
}


@pytest.mark.parametrize("name", RECIPES)
def test_at_lambda_0_it_is_natural_training_to_the_bit(name):
    recipe, shape = RECIPES[name]
    plain = trained(recipe, Natural(), shape=shape)
    for objective in (Natural() + 0.0 * TERM, 0.0 * TERM + Natural()):
        assert same(plain, trained(recipe, objective, shape=shape))
    assert not same(plain, trained(recipe, Natural() + 1.0 * TERM, shape=shape))


class Stopped(Exception):
    """What a test raises where a process would be killed."""


@pytest.mark.parametrize("validation", [None, Validation(data=rows(20, 2), attack=ATTACK)])
def test_stopped_and_taken_up_again_it_ends_at_the_same_weights(tmp_path, validation):
    """The network's weights and its optimiser's moments go on, too."""

    def stop(done, total, note):
        if done == 2:
            raise Stopped

    recipe = MLP(epochs=4, batch=16, hidden=(8,), dropout=0.3)
    objective = Natural() + 5 * replace(TERM, steps=2) + 0.1 * Adversarial(attack=ATTACK)
    checkpoint = Checkpoint(tmp_path, every_seconds=0.0)
    whole = trained(recipe, objective, validation=validation)
    with pytest.raises(Stopped):
        trained(recipe, objective, validation=validation, checkpoint=checkpoint, progress=stop)
    seen = []
    again = trained(
        recipe,
        objective,
        validation=validation,
        checkpoint=checkpoint,
        progress=lambda done, *_: seen.append(done),
    )
    assert seen == [3, 4]
    assert same(whole, again)
    assert whole.history == again.history


def auc(members, others):
    wins = members[:, None] > others
    return (wins + 0.5 * (members[:, None] == others)).mean().item()


def test_an_attack_finds_less_as_lambda_rises():
    """On rows with wrong labels, which can only be learnt by heart."""
    g = seeded(0)
    x, y = torch.rand(240, 20, generator=g), torch.randint(0, 3, (240,), generator=g)
    members, reference, others = (Dataset(x[i : i + 80], y[i : i + 80]) for i in (0, 80, 160))
    recipe = MLP(epochs=50, batch=40, hidden=(128,), optimiser=Adam(learning_rate=3e-3))
    found = []
    for weight in (0.0, 3.0, 10.0):
        objective = Natural() + weight * replace(FAST, steps=2)
        model = train(recipe, objective, members, 0, classes=3, reference=reference).model
        own = [log_probabilities(model, d.x).gather(1, d.y[:, None]) for d in (members, others)]
        found.append(auc(own[0].double().flatten(), own[1].double().flatten()))
    assert found[0] > 0.75
    assert found[0] > found[1] + 0.04
    assert found[1] > found[2] + 0.04


@pytest.mark.parametrize("reference", [None, Dataset(torch.zeros(0, 6), torch.zeros(0).long())])
def test_without_reference_rows_it_is_refused(reference):
    with pytest.raises(BadInput, match="reference: has no rows: adversarial regularisation plays"):
        train(MLP(), Natural() + TERM, rows(9, 0), 0, classes=3, reference=reference)
    with pytest.raises(BadInput, match="reference: is missing"):
        TERM(network(), Batch(*vars(double(rows(5, 0))).values(), seeded(0)))


def test_reference_rows_must_fit():
    wrong = Dataset(torch.rand(4, 6), torch.tensor([0, 1, 2, 3]))
    with pytest.raises(BadInput, match="reference: labels span 0 to 3 with 3 classes"):
        train(MLP(), Natural() + TERM, rows(9, 0), 0, classes=3, reference=wrong)


def test_others_do_not_look_at_them():
    plain = train(RECIPES["MLP"][0], Natural(), rows(60, 0), 0, classes=3)
    assert same(plain, trained(RECIPES["MLP"][0], Natural()))


def test_one_game_at_a_time():
    with pytest.raises(BadInput, match="objective: plays 2 games"):
        trained(MLP(), Natural() + TERM + 2 * TERM)


def test_devices_and_privacy_are_refused():
    with pytest.raises(BadInput, match="AdversarialRegularisation is no mean over the rows"):
        trained(MLP(), Natural() + TERM, devices=Devices(count=2, accelerator="cpu"))
    private = MLP(privacy=DifferentialPrivacy(epsilon=1))
    with pytest.raises(BadInput, match="AdversarialRegularisation is no mean of losses"):
        trained(private, Natural() + TERM)


def test_one_device_of_choice_trains_the_same():
    pytest.importorskip("lightning_fabric")
    recipe, objective = RECIPES["MLP"][0], Natural() + 3 * TERM
    there = trained(recipe, objective, devices=Devices(count=1, accelerator="cpu"))
    assert same(there, trained(recipe, objective))


def test_yaml_declares_it():
    table = {
        "kind": "Sum",
        "terms": [
            {"kind": "Natural"},
            {
                "kind": "Scaled",
                "factor": 3,
                "term": {"kind": "AdversarialRegularisation", "steps": 2},
            },
        ],
    }
    assert decode(table, Objective) == Natural() + 3 * AdversarialRegularisation(steps=2)
    with pytest.raises(BadInput, match="steps"):
        decode({"kind": "AdversarialRegularisation", "steps": 0}, Objective)
