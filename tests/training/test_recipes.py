"""Recipes: the published networks by their settings, and what a noise layer makes of a training."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from trilemma.bounds import Interval, margins
from trilemma.core.balls import Linf
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.core.keys import encode
from trilemma.experiments.decode import decode
from trilemma.models import NoisyNetwork, PixelDP, UnitConvolution
from trilemma.models.residual import WideUnit
from trilemma.training import (
    MLP,
    SGD,
    Adam,
    FashionCNN,
    Natural,
    PlainResNet,
    PooledCNN,
    Recipe,
    SmallCNN,
    WideResNet,
    YaleCNN,
    build,
    train,
)
from trilemma.training.recipes import NETWORKS

IMAGE = (1, 8, 8)


def parameters(recipe, shape, classes):
    with torch.device("meta"):
        network = NETWORKS[type(recipe)](recipe, shape, classes)
    return sum(each.numel() for each in network.parameters())


def convolution(before, after, kernel=3):
    return (kernel * kernel * before + 1) * after


def test_yales_network_for_the_dual_is_table_13_with_appendix_c():
    """Two convolutions a block, the second of 4x4; 192x192 is halved four times."""
    blocks = ((1, 8), (8, 16), (16, 32), (32, 64))
    expected = sum(convolution(a, b) + convolution(b, b, 4) for a, b in blocks)
    expected += (64 * 12 * 12 + 1) * 200 + 201 * 38
    assert parameters(YaleCNN(halving=4), (1, 192, 168), 38) == expected


def test_fashions_network_is_table_13():
    expected = sum(convolution(a, b) + 2 * convolution(b, b) for a, b in ((1, 256), (256, 512)))
    expected += (512 * 7 * 7 + 1) * 200 + 201 * 10
    assert parameters(FashionCNN(scale=1), (1, 28, 28), 10) == expected


def test_the_wide_network_is_table_13_and_its_scale_is_figure_3s():
    with torch.device("meta"):
        network = NETWORKS[WideResNet](WideResNet(scale=10, units=5), (3, 32, 32), 10)
    units = [each.second.out_channels for each in network if isinstance(each, WideUnit)]
    assert units == [160] * 5 + [320] * 5 + [640] * 5
    small, large = (parameters(WideResNet(scale=s, units=5), (3, 32, 32), 10) for s in (1, 8))
    assert 60 < large / small < 64


def test_the_plain_network_is_that_of_section_6():
    units = [16, 16, 32, 64]
    expected = convolution(3, 16) + sum(
        convolution(a, b, 3 if a == b else 4) + convolution(b, b) for a, b in pairwise(units)
    )
    expected += sum(convolution(a, b, 2) for a, b in ((16, 32), (32, 64)))  # shortcuts
    expected += (64 * 8 * 8 + 1) * 1000 + 1001 * 10
    assert parameters(PlainResNet(hidden=1000), (3, 32, 32), 10) == expected


def test_the_pooled_network_is_four_convolutions_four_poolings_and_two_layers():
    network = NETWORKS[PooledCNN](PooledCNN(), (3, 32, 32), 10)
    kinds = [type(layer) for layer in network if not isinstance(layer, nn.ReLU)]
    assert kinds == [nn.Conv2d, nn.MaxPool2d] * 4 + [nn.Flatten] + [nn.Linear] * 3
    assert [layer.out_features for layer in network if isinstance(layer, nn.Linear)] == [
        256,
        256,
        10,
    ]
    expected = sum(convolution(a, b) for a, b in pairwise((3, 64, 128, 256, 1024)))
    expected += (1024 * 4 + 1) * 256 + 257 * 256 + 257 * 10
    assert parameters(PooledCNN(), (3, 32, 32), 10) == expected
    hundred = parameters(PooledCNN(), (3, 32, 32), 100)
    assert hundred == pytest.approx(3.84e6, rel=0.02)  # the paper's, on CIFAR-100
    with pytest.raises(BadInput, match="cannot be halved 4 times"):
        parameters(PooledCNN(), (3, 15, 40), 10)


def test_the_network_for_har_is_that_of_section_7():
    expected = 562 * 1000 + 1001 * 100 + 101 * 6
    assert parameters(MLP(hidden=(1000, 100)), (561,), 6) == expected


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "YaleCNN", "scale": 4, "halving": 4, "epochs": 3},
        {"kind": "FashionCNN", "scale": 1, "halving": 4},
        {"kind": "WideResNet", "scale": 10, "units": 5, "optimiser": {"kind": "SGD"}},
        {"kind": "PlainResNet", "channels": [8, 16], "hidden": 30},
        {"kind": "PooledCNN", "channels": [8, 16], "hidden": [30]},
        {"kind": "MLP", "hidden": [1000, 100]},
        {"kind": "SmallCNN", "noise": {"budget": 0.2, "after_convolution": True}},
        {"kind": "WideResNet", "noise": {"kind": "PixelDP", "eps": 0.5, "delta": "1/100"}},
        {"kind": "SmallCNN", "noise": None},
    ],
)
def test_a_table_names_a_recipe(table):
    recipe = decode(table, Recipe)
    given = encode(recipe)
    assert given["kind"] == table["kind"]
    assert given["REVISION"] == type(recipe).REVISION
    for name, value in table.items():
        if not isinstance(value, dict):
            assert given[name] == value
    noise = table.get("noise")
    assert (recipe.noise is None) == (noise is None)
    if noise is not None:
        assert given["noise"]["REVISION"] == PixelDP.REVISION


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"kind": "YaleCNN", "halving": 5}, "halving"),
        ({"kind": "YaleCNN", "scale": 0}, "scale"),
        ({"kind": "WideResNet", "units": 0}, "units"),
        ({"kind": "PlainResNet", "channels": []}, "channels"),
        ({"kind": "SmallCNN", "noise": {"eps": 2}}, "noise.eps"),
    ],
)
def test_a_setting_out_of_range_is_named(table, said):
    with pytest.raises(BadInput, match=said):
        decode(table, Recipe)


RECIPES = [
    SmallCNN(),
    YaleCNN(scale=2),
    YaleCNN(scale=2, halving=4),
    FashionCNN(scale=0.02, halving=4),
    WideResNet(scale=1),
    PlainResNet(channels=(4, 8), hidden=10),
]


@pytest.mark.parametrize("recipe", [*RECIPES, MLP()])
def test_bounds_can_follow_every_network(recipe):
    model, x = build(recipe, IMAGE, 3, seeded(0)).eval(), torch.rand(2, *IMAGE)
    with torch.no_grad():
        lower = margins(model, x, torch.tensor([0, 2]), Linf(0.0), Interval())
        logits = model(x)
    own = logits.gather(1, torch.tensor([[0], [2]]))
    torch.testing.assert_close(lower, own - logits, rtol=1e-3, atol=1e-3 * logits.abs().max())


def noise(after_convolution):
    return PixelDP(budget=0.05, draws=3, after_convolution=after_convolution)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("inside", [False, True])
def test_every_network_of_images_takes_a_noise_layer(recipe, inside):
    settings = {each: getattr(recipe, each) for each in vars(recipe) if each[0] != "_"}
    noisy = build(type(recipe)(**{**settings, "noise": noise(inside)}), IMAGE, 3, seeded(0))
    assert isinstance(noisy, NoisyNetwork)
    assert isinstance(noisy.before, nn.Identity) != inside
    assert inside == any(isinstance(each, UnitConvolution) for each in noisy.modules())
    plain = build(recipe, IMAGE, 3, seeded(0))
    drawn = [each for name, each in noisy.state_dict().items() if name != "seed"]
    for got, expected in zip(drawn, plain.state_dict().values(), strict=True):
        assert torch.equal(got, expected)  # the layer takes nothing from the weights' draws


FAST = Adam(learning_rate=5e-3)


def blobs():
    """Bright above or bright below."""
    x = 0.2 * torch.rand(40, *IMAGE, generator=seeded(0))
    y = torch.arange(40) % 2
    x[y == 0, :, :4] += 0.6
    x[y == 1, :, 4:] += 0.6
    return Dataset(x, y)


@pytest.mark.parametrize(
    "recipe",
    [
        WideResNet(scale=1, epochs=6, batch=10, optimiser=SGD(learning_rate=0.02)),
        PlainResNet(channels=(4, 8), hidden=10, epochs=10, batch=10, optimiser=FAST),
        YaleCNN(scale=2, halving=4, epochs=10, batch=10, optimiser=FAST),
        SmallCNN(epochs=5, batch=10, noise=noise(False)),
        SmallCNN(epochs=8, batch=10, noise=noise(True)),
    ],
)
def test_each_learns(recipe):
    data = blobs()
    trained = train(recipe, Natural(), data, 0, classes=2)
    assert trained.history[-1].loss < 0.5 * trained.history[0].loss
    with torch.no_grad():
        assert (trained.model(data.x).argmax(1) == data.y).float().mean() > 0.95


def test_a_training_with_noise_repeats_and_leaves_the_global_generator():
    recipe, state = SmallCNN(epochs=2, batch=10, noise=noise(True)), torch.get_rng_state()
    first, again, other = (
        train(recipe, Natural(), blobs(), seed, classes=2).model.state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["seed"], other["seed"])
    assert torch.equal(torch.get_rng_state(), state)
