"""Examples towards each wrong label: each is what PGD makes of its row and label alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trilemma.attacks.evasion import PGD, Margin, pgd, targeted_examples
from trilemma.attacks.evasion.targeted import wrong_labels
from trilemma.core.balls import L2, Linf
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded


def net(k=4):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, k)).double()


def rows(n=6, k=4):
    g = seeded(1)
    return torch.rand(n, 5, generator=g, dtype=torch.float64), torch.randint(
        0, k, (n,), generator=g
    )


@given(labels=st.lists(st.integers(0, 6), max_size=8), extra=st.integers(0, 3))
def test_the_labels_aimed_at_are_all_but_the_true_one(labels, extra):
    k = 7 + extra
    found = wrong_labels(torch.tensor(labels, dtype=torch.long), k).tolist()
    assert found == [[j for j in range(k) if j != label] for label in labels]


@pytest.mark.parametrize(
    "config",
    [
        PGD(ball=Linf(0.1), steps=6),
        PGD(ball=L2(0.2), steps=6, restarts=2),
        PGD(ball=Linf(0.1), steps=6, loss=Margin(), targeted=True, random_start=False),
    ],
)
@pytest.mark.parametrize("batch", [None, 5])
def test_each_is_the_targeted_attack_on_its_own(config, batch):
    model, (x, y) = net(), rows()
    examples, labels = targeted_examples(model, x, y, config, rng=seeded(3), batch=batch)
    assert examples.shape == (6, 3, 5)
    own = PGD(
        ball=config.ball,
        steps=6,
        restarts=config.restarts,
        loss=config.loss,
        random_start=config.random_start,
        targeted=True,
    )
    for j in range(3):
        alone = pgd(model, x, labels[:, j], own, rng=seeded(3))
        torch.testing.assert_close(examples[:, j], alone, rtol=0, atol=1e-12)


def test_the_label_aimed_at_becomes_likelier():
    model, (x, y) = net(), rows(40)
    examples, labels = targeted_examples(model, x, y, PGD(ball=Linf(0.2)), rng=seeded(0))
    before = model(x).log_softmax(1).gather(1, labels)
    after = model(examples.flatten(0, 1)).log_softmax(1).gather(1, labels.view(-1, 1))
    assert (after.view(40, 3) > before).all()


def test_images_of_two_classes():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    x, y = torch.rand(3, 3, 4, 4, generator=seeded(0)), torch.tensor([0, 1, 0])
    examples, labels = targeted_examples(model, x, y, PGD(ball=Linf(0.1)), rng=seeded(0))
    assert examples.shape == (3, 1, 3, 4, 4)
    assert labels.tolist() == [[1], [0], [1]]


@pytest.mark.parametrize("n", [0, 3])
def test_nothing_to_move(n):
    model, (x, y) = net(), rows(n)
    examples, labels = targeted_examples(model, x, y, PGD(ball=Linf(0.0)), rng=seeded(0))
    assert labels.shape == (n, 3)
    assert torch.equal(examples, x.unsqueeze(1).expand(n, 3, 5))


def test_the_model_comes_back_as_it_went_and_inputs_are_checked():
    model, (x, y) = net().train(), rows()
    targeted_examples(model, x, y, PGD(ball=Linf(0.1), steps=1), rng=seeded(0))
    assert model.training
    x[0, 0] = 3
    with pytest.raises(BadInput, match="1 of 6 inputs lie outside"):
        targeted_examples(model, x, y, PGD(ball=Linf(0.1)), rng=seeded(0))


class Watched(nn.Module):
    """Keeps the largest number of rows that a call had."""

    def __init__(self):
        super().__init__()
        self.most = 0
        self.inner = nn.Linear(5, 20).double()

    def forward(self, z):
        self.most = max(self.most, len(z))
        return self.inner(z)


def test_no_call_is_larger_than_the_batch():
    model, (x, y) = Watched(), rows(10)
    targeted_examples(model, x, y, PGD(ball=Linf(0.1), steps=1), rng=seeded(0), batch=7)
    assert model.most == 7
