"""Networks for the dual: wide enough that vectors can be packed, or of plain layers."""

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from trilemma.core.generators import seeded


def seeded_layers(build, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build().double().eval()


def perceptron(seed, sizes=(4, 7, 6, 3)):
    def build():
        pairs = itertools.pairwise(sizes)
        layers = [step for pair in pairs for step in (nn.Linear(*pair), nn.ReLU())]
        return nn.Sequential(*layers[:-1])

    rows = torch.rand(3, sizes[0], generator=seeded(seed), dtype=torch.float64)
    return seeded_layers(build, seed), rows


class Branches(nn.Module):
    """Convolutions wide enough for vectors to be packed; branches with windows of two sizes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 3, 4, stride=2, padding=1)
        self.second = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.short = nn.Conv2d(3, 4, 1, stride=2)
        self.third = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(4 * 5 * 5, 3)

    def forward(self, x):
        x = F.relu(self.first(x))
        x = F.relu(self.short(x) - self.third(F.relu(self.second(x))))
        return self.last(x.flatten(1))


class Shifted(nn.Module):
    """Branches whose windows have one size and, by the zeros around, other places."""

    def __init__(self):
        super().__init__()
        self.around = nn.ZeroPad2d((3, 0, 1, 2))
        self.first = nn.Conv2d(1, 2, 3)
        self.elsewhere = nn.ZeroPad2d((0, 3, 2, 1))
        self.second = nn.Conv2d(1, 2, 3)
        self.last = nn.Linear(2 * 12 * 12, 3)

    def forward(self, x):
        x = F.relu(self.first(self.around(x)) + self.second(self.elsewhere(x)))
        return self.last(x.flatten(1))


def shifted(seed=0):
    x = torch.rand(3, 1, 11, 11, generator=seeded(seed), dtype=torch.float64)
    return seeded_layers(Shifted, seed), x


def branches(seed=0):
    x = torch.rand(3, 1, 20, 20, generator=seeded(seed), dtype=torch.float64)
    return seeded_layers(Branches, seed), x


def convolutional(seed):
    def build():
        return nn.Sequential(
            nn.Conv2d(1, 2, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(),
            nn.Flatten(), nn.Linear(48, 5), nn.ReLU(), nn.Linear(5, 3),
        )  # fmt: skip

    x = torch.rand(2, 1, 8, 8, generator=seeded(seed), dtype=torch.float64)
    return seeded_layers(build, seed), x
