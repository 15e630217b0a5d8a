"""A model is handed back as it came, module by module."""

import pytest
from torch import nn

from trilemma.core.modes import evaluating, training


def flags(model):
    return [module.training for module in model.modules()]


def net():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Sequential(nn.Dropout(), nn.ReLU()))


class Frozen(nn.Module):
    """Keeps its normalisation in eval mode whenever it is switched, as fine-tuning does."""

    def __init__(self):
        super().__init__()
        self.normalise, self.rest = nn.BatchNorm1d(3), nn.Linear(3, 2)

    def train(self, mode=True):
        super().train(mode)
        self.normalise.eval()
        return self


@pytest.mark.parametrize(("mode", "inside"), [(evaluating, False), (training, True)])
@pytest.mark.parametrize("odd", range(6))
def test_each_module_gets_its_own_mode_back(mode, inside, odd):
    for rest in (True, False):
        model = net().train(rest)
        list(model.modules())[odd].training = not rest
        before = flags(model)
        with mode(model):
            assert flags(model) == [inside] * 6
        assert flags(model) == before


def test_what_the_models_own_switch_changes_comes_back_too():
    model = Frozen()
    model.normalise.train()
    model.rest.eval()
    assert flags(model) == [True, True, False]
    with training(model):
        assert flags(model) == [True, False, True]
    assert flags(model) == [True, True, False]


def test_modes_come_back_after_an_error():
    def failing():
        with evaluating(model):
            assert not model.training
            raise ValueError

    model = net().train()
    with pytest.raises(ValueError):  # noqa: PT011
        failing()
    assert all(flags(model))


def test_where_nothing_is_to_be_switched_nothing_is(monkeypatch):
    """A model is asked many times: what is in eval mode is left alone."""
    model = net().eval()
    for name in ("train", "modules"):
        monkeypatch.setattr(nn.Module, name, lambda self, *_: pytest.fail("it was switched"))
    with evaluating(model):
        assert not model.training
    assert not model.training


def test_a_plain_function_is_left_alone():
    with evaluating(len), training(len):
        assert len([0]) == 1
