"""The noise layer: how much, where, from which generator, and what a row's answer depends on."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trilemma.bounds import output_bounds
from trilemma.core.balls import Linf
from trilemma.core.errors import BadInput
from trilemma.core.generators import global_from, seeded
from trilemma.models import (
    NoisyNetwork,
    PixelDP,
    UnitConvolution,
    block_cnn,
    load_weights,
    mlp,
    noisy,
    save_weights,
)

SHAPE = (1, 6, 5)
X = torch.rand(7, *SHAPE, generator=seeded(0), dtype=torch.float64)


def model(seed=0, *, halving=3, **settings):
    """A small network with a noise layer, in eval mode."""
    with global_from(seeded(seed)):
        network = block_cnn(SHAPE, 3, channels=(2, 4), convolutions=1, hidden=(5,), halving=halving)
        return noisy(network.double(), SHAPE, PixelDP(**settings)).eval()


PLACES = pytest.mark.parametrize("inside", [False, True])


@given(
    budget=st.floats(1e-3, 10),
    eps=st.floats(1e-2, 1),
    delta=st.floats(1e-6, 0.99),
    factor=st.floats(1.1, 10),
)
def test_the_noise_is_that_of_the_gaussian_mechanism(budget, eps, delta, factor):
    sigma = PixelDP(budget=budget, eps=eps, delta=delta).sigma
    assert math.exp(-((sigma * eps / budget) ** 2) / 2) * 1.25 == pytest.approx(delta)
    wider = PixelDP(budget=factor * budget, eps=eps, delta=delta).sigma
    assert wider == pytest.approx(factor * sigma)
    assert PixelDP(budget=budget, eps=eps / factor, delta=delta).sigma == pytest.approx(wider)


@pytest.mark.parametrize(
    "wrong", [{"eps": 1.5}, {"eps": 0}, {"delta": 1}, {"budget": 0}, {"draws": 0}]
)
def test_what_the_equation_does_not_cover_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PixelDP(**wrong)


@PLACES
def test_an_answer_is_the_mean_of_the_softmax_over_the_bank(inside):
    noisy_one = model(after_convolution=inside, draws=6)
    drawn = list(noisy_one.drawn(X, int(noisy_one.seed), 6))
    expected = torch.stack(drawn).softmax(2).mean(0)
    torch.testing.assert_close(noisy_one(X).exp(), expected)
    assert torch.stack(drawn).std(0).min() > 0


@PLACES
def test_asking_twice_gains_nothing(inside):
    noisy_one, state = model(after_convolution=inside), torch.get_rng_state()
    assert torch.equal(noisy_one(X), noisy_one(X))
    assert torch.equal(torch.get_rng_state(), state)


@PLACES
@given(rows=st.permutations(range(7)), many=st.integers(1, 7))
def test_a_rows_answer_does_not_depend_on_its_neighbours(inside, rows, many):
    noisy_one, chosen = model(after_convolution=inside, draws=3), rows[:many]
    with torch.no_grad():
        whole = noisy_one(X)
        torch.testing.assert_close(noisy_one(X[chosen]), whole[chosen], rtol=1e-12, atol=1e-12)


@PLACES
def test_in_train_mode_each_row_has_its_own_draw_from_the_global_generator(inside):
    noisy_one, same = model(after_convolution=inside).train(), X[:1].expand(7, *SHAPE)
    with global_from(seeded(1)):
        first, second = noisy_one(same), noisy_one(same)
    with global_from(seeded(1)):
        again = noisy_one(same)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert len(first.unique(dim=0)) == 7


@PLACES
def test_the_noise_has_its_standard_deviation(inside):
    config = PixelDP(budget=0.3)
    before = UnitConvolution(nn.Conv2d(1, 2, 3).double(), SHAPE[1:]) if inside else nn.Identity()
    layer = NoisyNetwork(before, nn.Flatten(), config)
    clean = before(X).flatten(1)
    with global_from(seeded(0)):
        trained = layer.train()(X[:1].expand(4000, *SHAPE)) - clean[:1]
    asked = torch.cat(list(layer.eval().drawn(X, 5, 600))) - clean.repeat(600, 1)
    for noise in (trained, asked):
        assert noise.std().item() == pytest.approx(config.sigma, rel=0.02)
        assert abs(noise.mean().item()) < 0.02 * config.sigma


def test_the_expected_score_is_that_of_a_gaussian():
    """Behind a step, the score of a linear function is Phi(w x / (sigma |w|))."""
    w = torch.tensor([3.0, -4.0, 1.0], dtype=torch.float64)
    last = nn.Linear(3, 2, bias=False).double()
    with torch.no_grad():
        last.weight.copy_(1e9 * torch.stack([w, -w]))
    config = PixelDP(budget=0.4, draws=4000)
    with global_from(seeded(0)):
        layer = NoisyNetwork(nn.Identity(), last, config).eval()
    x = torch.rand(9, 3, generator=seeded(3), dtype=torch.float64)
    expected = torch.special.ndtr(x @ w / (config.sigma * w.norm()))
    assert (layer(x).exp()[:, 0] - expected).abs().max() < 5 * 0.5 / math.sqrt(4000)


def test_attacks_get_the_gradient_of_the_mean():
    noisy_one, x = model(draws=2), X[:2].clone().requires_grad_()
    assert torch.autograd.gradcheck(noisy_one, x)


@PLACES
def test_the_state_holds_the_bank(inside, tmp_path):
    first, second = model(0, after_convolution=inside), model(1, after_convolution=inside)
    assert not torch.allclose(first(X), second(X))
    save_weights(tmp_path / "w.safetensors", first)
    load_weights(second, tmp_path / "w.safetensors")
    assert torch.equal(first(X), second(X))


def test_zeros_around_the_image_come_before_the_convolution():
    noisy_one = model(after_convolution=True, halving=4)
    padding, convolution = noisy_one.before
    assert isinstance(padding, nn.ZeroPad2d)
    assert convolution.size == (8, 8)
    assert noisy_one(X).shape == (7, 3)


def test_without_a_convolution_there_is_nothing_to_stand_behind():
    network = mlp((4,), 2, hidden=(3,))
    with pytest.raises(BadInput, match=r"after_convolution: .*begins with Flatten.*on the input"):
        noisy(network, (4,), PixelDP(after_convolution=True))
    assert noisy(network, (4,), PixelDP()).eval()(torch.rand(2, 4)).shape == (2, 2)


def test_bounds_are_refused():
    with pytest.raises(BadInput, match=r"cannot be followed \(noise: is no layer with bounds"):
        output_bounds(model(), X, Linf(0.1))
