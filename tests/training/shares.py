"""Trainings that processes share: for those that tests start, and for threads in their place."""

import threading
from copy import deepcopy

import torch
from torch import nn

from trilemma.attacks.evasion import PGD, BenignKL, Distributional
from trilemma.bounds import Dual, Interval
from trilemma.core import balls
from trilemma.core.balls import Linf
from trilemma.core.errors import TrainingDiverged
from trilemma.core.generators import seeded
from trilemma.training import (
    L2,
    TRADES,
    Adversarial,
    DistributionalTraining,
    IntervalBoundPropagation,
    MixedAdversarial,
    Natural,
    Standing,
    Verified,
    fit,
)

ATTACK = PGD(ball=Linf(0.1), steps=3)
OBJECTIVES = {
    "natural": Natural(),
    "adversarial": Adversarial(attack=ATTACK),
    "restarts": Adversarial(attack=PGD(ball=balls.L2(0.3), steps=2, restarts=2)),
    "mixed": MixedAdversarial(attack=ATTACK, ratio=0.3),
    "hardly mixed": MixedAdversarial(attack=ATTACK, ratio=0.06) + L2() * 0.01,
    "trades": TRADES(attack=PGD(ball=Linf(0.1), steps=2, loss=BenignKL())),
    "distributional": DistributionalTraining(attack=Distributional(gamma=2.0, steps=2)),
    "interval": IntervalBoundPropagation(ball=Linf(0.05)),
    "verified": Verified(ball=Linf(0.05), domain=Interval()) + 0.5 * Natural(),
    "projected": Verified(ball=Linf(0.05), domain=Dual(projections=3)),
}


def digits(n=70, dtype=torch.float64):
    """Rows of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = torch.from_numpy(found.images[:n] / 16).to(dtype).unsqueeze(1)
    return x, torch.from_numpy(found.target[:n]).long()


def network(dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = [nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10)]
        return nn.Sequential(*layers).to(dtype)


def batches(x, y, size):
    standing = Standing(torch.randperm(len(x), generator=seeded(9)), len(x))
    return [
        (x[i : i + size], y[i : i + size], standing[torch.arange(i, min(i + size, len(x)))])
        for i in range(0, len(x), size)
    ]


def steps(objective, model, *, data=None, engine=None, size=16, clip_norm=None):
    """Two epochs of Adam; the last batch is smaller. Also where the generator stands then."""
    rng, (x, y) = seeded(4), data or digits()
    more = {} if engine is None else {"engine": engine}
    adam = torch.optim.Adam(model.parameters(), lr=0.02)
    given = batches(x.to(next(model.parameters()).dtype), y, size) * 2
    done = fit(model, given, objective, adam, rng=rng, clip_norm=clip_norm, **more)
    losses = [step.loss for step in done]
    return [w.detach() for w in model.parameters()], losses, rng.get_state()


def several(engine, progress, names, data):
    """For processes: the trainings of those names, in float64 and in float32."""
    found = {}
    for number, name in enumerate(names):
        for dtype in (torch.float64, torch.float32):
            model = engine.place(network(dtype))
            weights, losses, state = steps(OBJECTIVES[name], model, data=data, engine=engine)
            found[name, str(dtype)] = [w.cpu() for w in weights], losses, state
        progress(number + 1, len(names), name)
    return found


def fails(engine, progress, rank):
    """For processes: one of them diverges while the others wait for it."""
    if engine.fabric.global_rank == rank:
        raise TrainingDiverged(step=7, loss=float("nan"), learning_rate=0.1)
    engine.total(1)


class Threads:
    """Threads that exchange as the processes of `lightning_fabric.Fabric` do.

    One works at a time, while the others wait for it: tracing a model is not for several threads.
    """

    def __init__(self, size):
        self.size, self.barrier, self.turn = size, threading.Barrier(size), threading.Lock()
        self.slots = [None] * size

    def run(self, work):
        """What `work(fabric)` answers in each."""
        found, errors = [None] * self.size, []

        def body(rank):
            with self.turn:
                try:
                    found[rank] = work(Member(self, rank))
                except Exception as error:
                    errors.append(error)
                    self.barrier.abort()

        threads = [threading.Thread(target=body, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return found

    def exchange(self, rank, value):
        self.slots[rank] = deepcopy(value)
        self.wait()
        everybody = list(self.slots)
        self.wait()
        return everybody

    def wait(self):
        self.turn.release()
        try:
            self.barrier.wait()
        finally:
            self.turn.acquire()


class Member:
    """One of them."""

    device = torch.device("cpu")

    def __init__(self, threads, rank):
        self.threads, self.global_rank, self.world_size = threads, rank, threads.size

    def all_reduce(self, tensor, reduce_op):
        assert reduce_op == "sum"
        return sum(self.threads.exchange(self.global_rank, tensor))

    def broadcast(self, value, src):
        return self.threads.exchange(self.global_rank, value)[src]
