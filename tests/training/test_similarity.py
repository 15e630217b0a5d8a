"""The training of SEAT's encoder: it falls, it is repeated by its seed, it knows copies again."""

import pytest
import torch
from sklearn.datasets import load_digits

from trilemma.core.balls import Linf
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.oracles.detectors import SimilarityEncoder, distant_copies, similarity_loss
from trilemma.training import (
    MLP,
    SGD,
    Adam,
    Constant,
    DifferentialPrivacy,
    PixelNoise,
    SmallCNN,
    train_encoder,
)

RECIPE = MLP(hidden=(128,), epochs=20, batch=100, optimiser=Adam(learning_rate=2e-3))
LOSS = SimilarityEncoder(margin=1.0, ball=Linf(0.1), steps=3)


@pytest.fixture(scope="module")
def digits():
    return torch.from_numpy(load_digits().images).float().flatten(1) / 16


@pytest.fixture(scope="module")
def trained(digits):
    return train_encoder(digits[:600], RECIPE, LOSS, 1, features=32)


def weights(trained):
    return torch.cat([each.flatten() for each in trained.model.state_dict().values()])


def nearer(encoder, x, copies):
    """Share of the rows whose copy is nearer to it than every other of the rows."""
    own = encoder(x)
    apart = torch.cdist(own, own).fill_diagonal_(torch.inf).amin(1)
    return ((own - encoder(copies)).norm(dim=1) < apart).double().mean().item()


def test_the_loss_falls(trained):
    assert len(trained.losses) == RECIPE.epochs
    assert trained.losses[-1] < 0.5 * trained.losses[0]


def test_it_knows_adversarial_copies_of_unseen_rows_again(digits, trained):
    """Nearer than the nearest of 300 rows that have nothing to do with them."""
    x = digits[600:900]
    copies = distant_copies(trained.model, x, LOSS, rng=seeded(0))
    noisy = (x + 0.1 * torch.randn(x.shape, generator=seeded(0)).sign()).clamp(0, 1)
    assert nearer(trained.model, x, copies) > 0.8
    assert nearer(trained.model, x, noisy) > 0.95


def test_partner_without_copies_an_encoder_does_not_know_them(digits, trained):
    """The ball has no radius, so that only different rows are told apart."""
    apart = SimilarityEncoder(margin=1.0, ball=Linf(0.0), steps=1)
    other = train_encoder(digits[:600], RECIPE, apart, 1, features=32)
    x = digits[600:900]
    found = [
        nearer(each.model, x, distant_copies(each.model, x, LOSS, rng=seeded(0)))
        for each in (trained, other)
    ]
    assert found[0] > found[1] + 0.2


def test_the_seed_decides_and_nothing_else_does(digits):
    short = MLP(hidden=(8,), epochs=2, batch=50, augmentation=())
    torch.manual_seed(0)
    first = train_encoder(digits[:101], short, LOSS, 1)  # the last batch has one row
    torch.manual_seed(1)
    again = train_encoder(digits[:101], short, LOSS, 1)
    other = train_encoder(digits[:101], short, LOSS, 2)
    assert torch.equal(weights(first), weights(again))
    assert first.losses == again.losses
    assert not torch.equal(weights(first), weights(other))
    assert not first.model.training


def test_a_step_is_that_of_the_loss(digits):
    """One batch, one epoch, plain gradient descent: the first loss is that of the drawn weights."""
    x = digits[:40]
    still = SGD(learning_rate=1e-12, momentum=0.0)
    recipe = MLP(hidden=(8,), epochs=1, batch=40, optimiser=still, course=Constant())
    fixed = SimilarityEncoder(margin=3.0, ball=Linf(0.0), steps=1)
    trained = train_encoder(x, recipe, fixed, 1, features=5)
    by_hand = [
        similarity_loss(trained.model, x, fixed, rng=seeded(seed)).item() for seed in range(200)
    ]
    assert min(by_hand) - 1e-5 < trained.losses[0] < max(by_hand) + 1e-5


def test_the_ball_grows_with_the_ramp(digits):
    """Nothing is looked for in the warm-up: as without a ball."""
    images = digits[:60].view(-1, 1, 8, 8)
    warm = MLP(hidden=(8,), epochs=2, batch=60, warmup=1)
    cold = MLP(hidden=(8,), epochs=2, batch=60)
    none = SimilarityEncoder(margin=1.0, ball=Linf(0.0), steps=3)
    found = [
        train_encoder(images, recipe, config, 1).losses
        for recipe, config in ((warm, LOSS), (cold, LOSS), (cold, none))
    ]
    assert found[0][0] == found[2][0] != found[1][0]


def test_copies_are_augmented(digits):
    images = digits[:60].view(-1, 1, 8, 8)
    noisy = SmallCNN(epochs=1, batch=30, augmentation=(PixelNoise(sigma=0.3),))
    found = [
        train_encoder(images, recipe, LOSS, 1).losses
        for recipe in (noisy, SmallCNN(epochs=1, batch=30))
    ]
    assert found[0] != found[1]


def test_what_cannot_be_trained_is_refused(digits):
    with pytest.raises(BadInput, match="are 1 in batches"):
        train_encoder(digits[:1], RECIPE, LOSS, 1)
    with pytest.raises(BadInput, match="in batches of 1"):
        train_encoder(digits[:10], MLP(batch=1), LOSS, 1)
    with pytest.raises(BadInput, match="features: are 0"):
        train_encoder(digits[:10], RECIPE, LOSS, 1, features=0)
    private = MLP(privacy=DifferentialPrivacy(noise_multiplier=1.0, clip_norm=1.0, delta=0.1))
    with pytest.raises(BadInput, match=r"recipe\.privacy"):
        train_encoder(digits[:10], private, LOSS, 1)
