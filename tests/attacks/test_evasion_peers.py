"""PGD and CW beside a maintained library, on a network trained on real images."""

import math

import pytest
import torch
from torch import nn

from trilemma.attacks.evasion import PGD, CarliniWagner, carlini_wagner, pgd
from trilemma.core.balls import Linf
from trilemma.core.generators import global_from, seeded
from trilemma.data import FashionMNIST, load
from trilemma.data.catalogue import known, locate

pytestmark = pytest.mark.slow
ROWS = 100


@pytest.fixture(scope="module")
def setting(data_folder):
    """A CNN after two epochs on 6,000 images, and test images that it gets right."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRILEMMA_DATA", str(data_folder))
        if locate(known("fashion_mnist")) is None:
            pytest.skip("missing data: install dataset-fashion-mnist")
        loaded = load(FashionMNIST())
        x, y = (torch.from_numpy(each[:6_000]) for each in (loaded.x, loaded.y))
        z, labels = (torch.from_numpy(each[60_000:60_400]) for each in (loaded.x, loaded.y))
    with global_from(seeded(0)):
        model = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(784, 10)),
        )
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    for i in [*range(0, 6_000, 50)] * 2:
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x[i : i + 50]), y[i : i + 50]).backward()
        optimiser.step()
    model.eval()
    with torch.no_grad():
        right = model(z).argmax(1) == labels
    return model, z[right][:ROWS], labels[right][:ROWS]


def peer(model):
    foolbox = pytest.importorskip("foolbox")
    return foolbox, foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")


def accuracy(model, x, y):
    with torch.no_grad():
        return (model(x).argmax(1) == y).double().mean().item()


@pytest.mark.parametrize("eps", [0.02, 0.05])
def test_pgd_20_leaves_as_many_rows(setting, eps):
    model, x, y = setting
    foolbox, known_ = peer(model)
    config = PGD(ball=Linf(eps), steps=20)
    attack = foolbox.attacks.LinfPGD(abs_stepsize=config.rate, steps=20)
    with global_from(seeded(0)):
        _, theirs, _ = attack(known_, x, y, epsilons=eps)
    ours = pgd(model, x, y, config, rng=seeded(0))
    assert 0 < accuracy(model, ours, y) < 1
    assert abs(accuracy(model, ours, y) - accuracy(model, theirs, y)) <= 0.02


def test_cw_comes_as_near_and_leaves_as_many_rows(setting):
    model, x, y = setting
    x, y = x[:40], y[:40]  # the other's 9,000 steps take their time
    foolbox, known_ = peer(model)
    attack = foolbox.attacks.L2CarliniWagnerAttack(steps=1000, stepsize=0.01)
    _, theirs, _ = attack(known_, x, y, epsilons=None)
    ours = carlini_wagner(model, x, y, CarliniWagner(), rng=seeded(0))
    near, nearest = (_distances(model, x, each, y) for each in (ours, theirs))
    assert near.isfinite().all()
    assert near.median() <= 1.01 * nearest.median()
    for radius in (0.25, 0.5, 1.0):
        left, left_by_them = ((each > radius).double().mean() for each in (near, nearest))
        assert left <= left_by_them + 1 / 40


def _distances(model, x, x_adv, y):
    """In L_2; inf where nothing was found."""
    with torch.no_grad():
        wrong = model(x_adv).argmax(1) != y
    return torch.where(wrong, (x_adv - x).flatten(1).norm(dim=1), math.inf)
