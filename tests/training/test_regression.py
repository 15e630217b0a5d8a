"""Regressions: which rows teach, which epoch is kept, and what the losses come to."""

import math

import numpy as np
import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.training import MLP, SGD, Adam, Cosine, Crop, Regressed, SmallCNN, Stopping, regress

RECIPE = MLP(hidden=(16,), epochs=12, batch=16, optimiser=Adam(learning_rate=1e-2))


def squared(outputs, targets):
    return (outputs[:, 0] - targets).square()


def pinball(outputs, targets):
    above = targets - outputs[:, 0]
    return torch.maximum(0.8 * above, -0.2 * above)


def rows(n=120, seed=0):
    rng = seeded(seed)
    x = torch.rand(n, 2, generator=rng)
    return x, 3 * x[:, 0] - x[:, 1] + 0.3 * torch.randn(n, generator=rng)


def regressed(recipe=RECIPE, loss=squared, seed=1, data=None, stopping=None) -> Regressed:
    x, targets = data or rows()
    return regress(recipe, loss, x, targets, seed, outputs=1, stopping=stopping)


def test_the_kept_epoch_is_the_one_with_the_lowest_loss_on_rows_held_out():
    x, targets = rows()
    recipe = MLP(hidden=(64,), epochs=40, batch=4, optimiser=Adam(learning_rate=0.05))
    done = regressed(recipe, stopping=Stopping(patience=6))
    with torch.no_grad():
        left = squared(done.model(x), targets)[done.held_out].mean()
    assert float(left) == pytest.approx(min(done.losses), rel=1e-5)
    assert done.losses[done.kept - 1] == min(done.losses)
    assert len(done.losses) == done.kept + 6 < 40  # or it would have gone on
    assert not done.model.training


def test_a_share_is_held_out_and_teaches_nothing_but_when_to_end():
    x, targets = rows()
    brief = MLP(hidden=(16,), epochs=1, batch=16)
    one = regressed(brief)
    assert int(one.held_out.sum()) == 24
    others = regressed(brief, data=(x, targets + 1000 * one.held_out))
    assert others.losses[0] > 1e5
    for mine, yours in zip(one.model.parameters(), others.model.parameters(), strict=True):
        torch.testing.assert_close(mine, yours, rtol=0, atol=0)
    moved = regressed(brief, data=(x, targets + (~one.held_out)))
    assert not torch.equal(one.model[-1].bias, moved.model[-1].bias)  # the rest do teach


def test_where_inputs_tell_nothing_it_comes_to_the_quantile():
    """Of rows that are all alike the pinball loss leaves the quantile of what is taught."""
    x, targets = torch.zeros(250, 1), torch.randn(250, generator=seeded(5))
    recipe = MLP(hidden=(), epochs=200, batch=250, optimiser=SGD(learning_rate=0.1))
    done = regressed(recipe, pinball, data=(x, targets), stopping=Stopping(patience=200))
    taught = targets[~done.held_out].numpy()
    low, high = np.quantile(taught, [0.75, 0.85])
    assert low < done.model(x[:1]).item() < high


def test_what_a_line_explains_is_explained():
    x, _ = rows(300)
    recipe = MLP(hidden=(), epochs=80, batch=10, optimiser=Adam(learning_rate=0.1), course=Cosine())
    done = regressed(recipe, data=(x, 3 * x[:, 0] - x[:, 1]), stopping=Stopping(patience=80))
    found = torch.cat([done.model[-1].weight.flatten(), done.model[-1].bias]).detach()
    torch.testing.assert_close(found, torch.tensor([3.0, -1.0, 0.0]), atol=0.02, rtol=0)


def test_equal_seeds_give_equal_networks_and_nobody_elses_draws_move():
    state = torch.random.get_rng_state()
    one, other, third = (regressed(seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.losses == other.losses != third.losses
    assert torch.equal(one.held_out, other.held_out)


def test_images_are_augmented_as_the_recipe_says():
    x = torch.rand(20, 1, 8, 8, generator=seeded(0))
    data = x, x.mean((1, 2, 3))
    common = {"epochs": 2, "batch": 10}
    plain = regressed(SmallCNN(**common), data=data)
    cropped = regressed(SmallCNN(**common, augmentation=(Crop(),)), data=data)
    assert plain.losses != cropped.losses


@pytest.mark.parametrize(
    ("x", "targets", "message"),
    [
        (torch.zeros(1, 2), torch.zeros(1), "two rows"),
        (torch.zeros(3, 2), torch.zeros(2), "two rows"),
        (torch.zeros(3, 2), torch.tensor([0.0, math.nan, 1.0]), "NaN"),
        (torch.zeros(3, 2).double(), torch.zeros(3).double(), "float64"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(x, targets, message):
    with pytest.raises(BadInput, match=message):
        regressed(data=(x, targets))


@pytest.mark.parametrize("given", [{"share": 0.0}, {"share": 1.0}, {"patience": 0}])
def test_nothing_held_out_and_no_patience_are_refused(given):
    with pytest.raises(BadInput, match="holds out"):
        Stopping(**given)
