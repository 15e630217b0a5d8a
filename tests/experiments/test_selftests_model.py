"""The checks that ask a model: the scale of its inputs, and whether it answers the same."""

import pytest
import torch
from torch import nn

from trilemma.core.box import UNIT, Box
from trilemma.experiments.selftests import determinism, normalisation

RNG = torch.Generator().manual_seed(0)
X = torch.randint(0, 51, (300, 3, 4, 4), generator=RNG) / 50
MEAN, DEVIATION = (
    torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)
OWN_MEAN, OWN_DEVIATION = X.mean((0, 2, 3), keepdim=True), X.std((0, 2, 3), keepdim=True)


def truth(x):
    return (50 * x).round().sum(tuple(range(1, x.ndim))).remainder(5).long()


class Trained(nn.Module):
    """Right about every row if it comes on the scale of training, and near chance if not."""

    def __init__(self, undo):
        super().__init__()
        self.undo = undo

    def forward(self, z):
        return 10.0 * nn.functional.one_hot(truth(self.undo(z)), 5)


SCALES = {
    "in [0, 255]": lambda z: z / 255,
    "in [-1, 1]": lambda z: (z + 1) / 2,
    "normalised with ImageNet's means and deviations": lambda z: z * DEVIATION + MEAN,
    "standardised to mean 0 and deviation 1 for each channel": lambda z: (
        z * OWN_DEVIATION + OWN_MEAN
    ),
}


def test_a_model_on_the_scale_of_its_inputs_passes():
    check = normalisation(Trained(lambda z: z), X, truth(X), box=UNIT)
    assert check["status"] == "pass"
    assert check["details"]["accuracy"]["as given"]["value"] == 1
    assert set(check["details"]["accuracy"]) == {"as given", *SCALES}


@pytest.mark.parametrize("name", SCALES)
def test_a_model_that_was_trained_on_another_scale_is_caught(name):
    check = normalisation(Trained(SCALES[name]), X, truth(X), box=UNIT)
    assert check["status"] == "warn"
    assert f"seems to expect inputs {name}: it classifies 100.0%" in check["summary"]


def test_pixels_up_to_255_for_a_model_that_expects_up_to_1():
    check = normalisation(Trained(lambda z: z), 255 * X, truth(X), box=Box(0.0, 255.0))
    assert "seems to expect inputs in [0, 1]" in check["summary"]


def test_a_table_is_standardised_feature_by_feature():
    table = torch.randint(0, 51, (300, 6), generator=RNG) / 50 * torch.arange(1.0, 7)
    unit = table / torch.arange(1.0, 7)
    mean, deviation = table.mean(0), table.std(0)
    model = Trained(lambda z: (z * deviation + mean) / torch.arange(1.0, 7))
    everywhere = Box(-float("inf"), float("inf"))
    check = normalisation(model, table, truth(unit), box=everywhere)
    assert "standardised to mean 0 and deviation 1 for each feature" in check["summary"]


def test_a_few_errors_count_where_the_other_scale_makes_none_of_them():
    """The intervals of the two accuracies overlap, but the rows that differ are all on one side."""

    class Mostly(nn.Module):
        def forward(self, z):
            if z.max() > 1:
                return Trained(lambda z: z / 255)(z)
            answers = Trained(lambda z: z)(z)
            dark = z[:, 0, 0, 0] < 0.03
            return torch.where(dark[:, None], answers.roll(1, dims=1), answers)

    check = normalisation(Mostly(), X, truth(X), box=UNIT)
    accuracy = check["details"]["accuracy"]
    assert accuracy["in [0, 255]"]["low"] <= accuracy["as given"]["high"]
    assert "in [0, 255]: it classifies 100.0% of 300 members correctly then" in check["summary"]


def test_a_bad_model_on_the_right_scale_is_not_blamed_on_the_scale():
    y = torch.randint(5, (300,), generator=RNG)
    assert normalisation(Trained(lambda z: z), X, y, box=UNIT)["status"] == "pass"


def test_a_model_that_refuses_other_scales_passes_and_soft_targets_are_labels():
    def unit_only(z):
        assert 0 <= z.min() <= z.max() <= 1
        return z

    y = nn.functional.one_hot(truth(X), 5).float()
    check = normalisation(Trained(unit_only), X, y, box=UNIT)
    assert check["status"] == "pass"
    assert set(check["details"]["accuracy"]) == {"as given"}


def test_inputs_outside_of_the_box_are_told():
    x = X.clone()
    x[:7, 0, 0, 0] = 1.5
    check = normalisation(Trained(lambda z: z), x, truth(x), box=UNIT)
    assert check["status"] == "warn"
    assert "7 of 300 members leave the declared box (values from 0 to 1.5)" in check["summary"]


def network(*layers):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 32), *layers, nn.Linear(32, 5))


@pytest.mark.parametrize("layers", [(), (nn.Dropout(),), (nn.BatchNorm1d(32),)])
def test_a_function_of_the_row_passes_and_comes_back_as_it_was(layers):
    model = network(*layers).train()
    check = determinism(model, X)
    assert check["status"] == "pass"
    assert all(module.training for module in model.modules())
    assert check["details"]["rows"] == 64


class DropoutAlways(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.1)


def test_dropout_in_eval_mode_is_caught():
    check = determinism(network(DropoutAlways()), X)
    assert check["status"] == "warn"
    assert "differently to identical inputs" in check["summary"]
    assert check["details"]["twice"] > 0.01


def test_batch_statistics_in_eval_mode_are_caught():
    check = determinism(network(nn.BatchNorm1d(32, track_running_stats=False)), X)
    assert check["status"] == "warn"
    assert "64 rows together but not one alone" in check["summary"]


class OfTheBatch(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


def test_an_answer_that_depends_on_its_neighbours_is_caught():
    check = determinism(network(OfTheBatch()), X)
    assert check["status"] == "warn"
    assert "depends on the other rows of its batch" in check["summary"]


def test_one_row_is_enough():
    assert determinism(network(), X[:1])["status"] == "pass"


@pytest.mark.xfail(strict=True, reason="negative control: a plain network must not warn")
def test_a_plain_network_is_caught():
    assert determinism(network(), X)["status"] == "warn"
