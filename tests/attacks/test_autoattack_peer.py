"""AutoAttack beside its authors' own program, on a network trained to resist."""

import time

import numpy as np
import pytest
import torch
from torch import nn

from trilemma.attacks.evasion import PGD, AutoAttack, autoattack, pgd
from trilemma.core.balls import Linf
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.data import FashionMNIST, load

RADIUS = 0.1
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the peer's own
]


def images(part, n):
    try:
        loaded = load(FashionMNIST())
    except BadInput as missing:
        pytest.skip(str(missing))
    at = np.flatnonzero(np.asarray(loaded.part) == part)[:n]
    x = torch.as_tensor(np.asarray(loaded.x[at])).float()
    return x, torch.as_tensor(np.asarray(loaded.y)[at])


def cnn():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 49, 56),
            nn.ReLU(),
            nn.Linear(56, 10),
        )


@pytest.fixture(scope="module")
def resistant():
    """Trained on the adversarial examples of a ball that grows from pass to pass."""
    (x, y), model, g = images(0, 12_000), cnn(), seeded(0)
    adam = torch.optim.Adam(model.parameters(), 2e-3)
    for share in (0.3, 1.0, 1.0):
        attack = PGD(ball=Linf(share * RADIUS), steps=4)
        for i in torch.randperm(len(x), generator=g).split(64):
            near = pgd(model, x[i], y[i], attack, rng=g)
            adam.zero_grad()
            nn.functional.cross_entropy(model(near), y[i]).backward()
            adam.step()
    return model.eval()


def theirs(model, x, y, batch):
    peer = pytest.importorskip("pyautoattack")
    attack = peer.AutoAttack(model, norm="Linf", eps=RADIUS, seed=0, version="standard")
    adv = attack.run_standard_evaluation(x, y, batch_size=batch)[0]
    return model(adv).argmax(1) == y


def ours(model, x, y):
    adv = autoattack(model, x, y, AutoAttack(ball=Linf(RADIUS)), rng=seeded(0))
    return model(adv).argmax(1) == y


def test_the_robust_accuracy_is_that_of_the_peer(resistant):
    """Within 0.5 points on 1,000 images, and hardly a row with another verdict."""
    x, y = images(1, 1000)
    mine, peers = ours(resistant, x, y), theirs(resistant, x, y, 250)
    assert 0.2 < peers.float().mean() < 0.9
    assert (mine.float().mean() - peers.float().mean()).abs() <= 0.005
    assert (mine != peers).float().mean() <= 0.01


def test_it_takes_less_time_than_the_peer(resistant):
    x, y = images(1, 128)
    seconds = []
    for attack in (lambda: ours(resistant, x, y), lambda: theirs(resistant, x, y, 128)):
        started = time.process_time()
        attack()
        seconds.append(time.process_time() - started)
    assert seconds[0] < seconds[1]
