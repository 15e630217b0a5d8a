"""The loop: it descends, keeps its hands off what is not its own, and says when it diverges."""

import math
import pickle

import pytest
import torch
from torch import nn

from trilemma.core.errors import TrainingDiverged
from trilemma.core.generators import seeded
from trilemma.training import Batch, Natural, fit


def problem(n=32):
    g = seeded(0)
    x = torch.rand(n, 4, generator=g, dtype=torch.float64)
    return [(x, (x[:, 0] > 0.5).long())]


def net(dropout=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.Dropout(dropout), nn.Linear(8, 2)).double()


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr)


def test_a_step_is_the_gradient_times_the_learning_rate():
    model, before = net(), net()
    (step,) = fit(model, problem(), Natural(), sgd(model, 0.3), rng=seeded(0))
    loss = Natural()(before, Batch(*problem()[0], seeded(0)))
    loss.backward()
    assert step.loss == pytest.approx(loss.item(), rel=1e-12)
    assert (step.number, step.rows) == (0, 32)
    for new, old in zip(model.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old.detach() - 0.3 * old.grad)


@pytest.mark.parametrize("length", [0.01, 1e9])
def test_a_gradient_longer_than_clip_norm_is_shortened_to_it(length):
    model, before = net(), net()
    list(fit(model, problem(), Natural(), sgd(model, 1.0), rng=seeded(0), clip_norm=length))
    Natural()(before, Batch(*problem()[0], seeded(0))).backward()
    full = nn.utils.get_total_norm([p.grad for p in before.parameters()])
    moved = nn.utils.get_total_norm(
        [
            new.detach() - old.detach()
            for new, old in zip(model.parameters(), before.parameters(), strict=True)
        ]
    )
    torch.testing.assert_close(moved, full.clamp(max=length), rtol=1e-4, atol=0)


def test_nothing_happens_before_a_step_is_asked_for():
    model = net()
    steps = fit(model, problem() * 3, Natural(), sgd(model), rng=seeded(0))
    assert torch.equal(model[0].weight, net()[0].weight)
    next(steps)
    once = model[0].weight.clone()
    next(steps)
    assert not torch.equal(model[0].weight, once)


def test_steps_are_counted_from_first():
    model = net()
    steps = fit(model, problem() * 3, Natural(), sgd(model), rng=seeded(0), first=7)
    assert [step.number for step in steps] == [7, 8, 9]


def test_a_step_trains_in_train_mode_and_leaves_the_modes_as_they_were():
    model, modes = net(), []
    model.eval()
    model[1].train()
    model.register_forward_hook(lambda module, *_: modes.append(module[2].training))
    list(fit(model, problem(), Natural(), sgd(model), rng=seeded(0)))
    assert modes == [True]
    assert [module.training for module in model.modules()] == [False, False, True, False]


def test_dropout_draws_from_the_generator_and_the_global_one_is_left_alone():
    ends = []
    for seed in (1, 1, 2):
        model = net(dropout=0.5)
        torch.manual_seed(len(ends))
        before = torch.random.get_rng_state()
        list(fit(model, problem() * 3, Natural(), sgd(model), rng=seeded(seed)))
        assert torch.equal(before, torch.random.get_rng_state())
        ends.append(model[0].weight)
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_it_reaches_the_weights(bad):
    model = net()
    x, y = problem()[0]
    poisoned = x.clone()
    poisoned[3, 0] = bad
    batches = [(x, y), (poisoned, y), (x, y)]
    steps = fit(model, batches, Natural(), sgd(model, 0.25), rng=seeded(0), first=10)
    next(steps)
    before = model[0].weight.clone()
    with pytest.raises(TrainingDiverged, match=r"step 11 with learning rate 0\.25") as caught:
        next(steps)
    assert torch.equal(model[0].weight, before)
    assert pickle.loads(pickle.dumps(caught.value)).step == 11


def test_a_gradient_that_is_no_number_stops_too():
    """sqrt at 0: a finite loss with an infinite slope."""

    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(4, 2, dtype=torch.float64))

        def forward(self, x):
            return (x @ self.w).abs().sqrt()

    model = Root()
    with pytest.raises(TrainingDiverged, match="step 0"):
        list(fit(model, problem(), Natural(), sgd(model), rng=seeded(0)))
    assert (model.w == 0).all()
