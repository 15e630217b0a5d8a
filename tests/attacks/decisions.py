"""A small model, inputs and an oracle that keeps a record, for tests of decision-based attacks."""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from trilemma.core.box import Box
from trilemma.core.generators import seeded
from trilemma.oracles import Local, Metered, Oracle

ANYWHERE = Box(-math.inf, math.inf)
SHAPE = (2, 4, 3)  # of an image


def small_net(d=6, k=3, seed=0):
    """All logits are 0 close to the middle of the unit box: every class has its part of it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Linear(d, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, k)
        model = nn.Sequential(nn.Flatten(), *layers).double()
    with torch.no_grad():
        model[-1].bias -= model.eval()(torch.full((1, d), 0.47, dtype=torch.float64)).squeeze(0)
    return model


def rows(n=6, d=6, seed=10):
    """Inputs, and labels of which about a third is wrong."""
    g = seeded(seed)
    x = torch.rand(n, d, generator=g, dtype=torch.float64)
    return x, torch.randint(0, 3, (n,), generator=g)


def right(model, x):
    return model.eval()(x).argmax(1)


@dataclass
class Recording:
    """An oracle that keeps what it answered."""

    inner: Oracle
    points: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)

    @property
    def classes(self):
        return self.inner.classes

    @property
    def spent(self):
        return sum(map(len, self.points))

    def __call__(self, x):
        answer = self.inner(x)
        self.points.append(x.clone())
        self.labels.append(answer.argmax(1))
        return answer


def recording(model, limit=None, k=3):
    local = Local(model, classes=k)
    return Recording(local if limit is None else Metered(local, limit))


def within(config, max_queries):
    return replace(config, max_queries=max_queries)
