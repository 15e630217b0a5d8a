"""Temperature scaling: labels stay, answers become alike, bounds and weights are the network's."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trilemma.bounds import Crown, Interval, margins, output_bounds
from trilemma.core.balls import Linf
from trilemma.core.errors import BadInput
from trilemma.core.generators import global_from, seeded
from trilemma.models import Tempered, load_weights, mlp, save_weights

X = torch.rand(6, 4, generator=seeded(0), dtype=torch.float64)
Y = torch.arange(6) % 3
TEMPERATURES = st.floats(1e-2, 1e3)


def network(seed=0):
    with global_from(seeded(seed)):
        return mlp((4,), 3, hidden=(8,)).double().eval()


@given(temperature=TEMPERATURES)
def test_the_probabilities_are_equation_21s(temperature):
    logits = network()(X)
    powers = (logits / temperature).exp()
    expected = powers / powers.sum(1, keepdim=True)
    torch.testing.assert_close(Tempered(network(), temperature)(X).softmax(1), expected)


@given(temperature=TEMPERATURES)
def test_the_label_stays(temperature):
    assert torch.equal(Tempered(network(), temperature)(X).argmax(1), network()(X).argmax(1))


def test_at_1_nothing_changes():
    assert torch.equal(Tempered(network(), 1.0)(X), network()(X))


def test_a_higher_temperature_lowers_the_confidence_to_that_of_chance():
    confidences = [Tempered(network(), t)(X).softmax(1).amax(1) for t in (0.5, 1.0, 2.0, 10.0, 1e7)]
    for hotter, cooler in zip(confidences[1:], confidences, strict=False):
        assert (hotter < cooler).all()
    torch.testing.assert_close(
        confidences[-1], torch.full_like(confidences[-1], 1 / 3), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("domain", [Interval(), Crown()])
@pytest.mark.parametrize("temperature", [0.3, 7.0])
def test_bounds_are_divided_by_it(domain, temperature):
    """Nothing is lost between the last layer and the division."""
    plain, tempered = network(), Tempered(network(), temperature)
    ball = Linf(0.1)
    found, before = output_bounds(tempered, X, ball, domain), output_bounds(plain, X, ball, domain)
    torch.testing.assert_close(found.lower, before.lower / temperature)
    torch.testing.assert_close(found.upper, before.upper / temperature)
    torch.testing.assert_close(
        margins(tempered, X, Y, ball, domain), margins(plain, X, Y, ball, domain) / temperature
    )


def test_weights_fit_with_and_without_it(tmp_path):
    cool, plain, other = Tempered(network(), 3.0), network(1), Tempered(network(2), 3.0)
    save_weights(tmp_path / "cool.safetensors", cool)
    load_weights(plain, tmp_path / "cool.safetensors")
    assert torch.equal(plain(X), network()(X))
    save_weights(tmp_path / "plain.safetensors", plain)
    load_weights(other, tmp_path / "plain.safetensors")
    assert torch.equal(other(X), cool(X))
    assert list(cool.state_dict()) == list(plain.state_dict())


def test_weights_fit_inside_other_modules():
    inside = nn.ModuleDict({"a": Tempered(Tempered(network(), 2.0), 3.0), "b": network(1)})
    other = nn.ModuleDict({"a": network(2), "b": network(3)})
    assert inside.state_dict().keys() == other.state_dict().keys()
    inside.load_state_dict(other.state_dict())
    torch.testing.assert_close(inside["a"](X), network(2)(X) / 6)
    assert torch.equal(inside["b"](X), network(3)(X))


def test_weights_of_another_network_are_refused():
    with pytest.raises(RuntimeError, match="Missing key"):
        Tempered(network(), 2.0).load_state_dict({})
    with pytest.raises(RuntimeError, match="Unexpected key"):
        Tempered(network(), 2.0).load_state_dict({**network().state_dict(), "more": X})


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_no_temperature_at_all_is_refused(temperature):
    with pytest.raises(BadInput, match=r"temperature: is .*above 0"):
        Tempered(network(), temperature)


def test_it_cannot_be_changed_behind_the_bounds():
    with pytest.raises(AttributeError):
        Tempered(network(), 2.0).temperature = 3.0
