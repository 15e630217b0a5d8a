"""Inference networks: what they find, that they find nothing in noise, and what they may see."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from trilemma.attacks.evasion import PGD, targeted_examples
from trilemma.attacks.membership import (
    LEARNED,
    Benign,
    Known,
    ModelInference,
    Targeted,
    Untargeted,
    model_inference,
)
from trilemma.core.balls import Linf
from trilemma.core.box import Box
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput, TrainingCollapsed
from trilemma.core.generators import global_from, seeded
from trilemma.metrics import membership, roc

WIDE = Box(-100.0, 100.0)
PGD_3 = PGD(ball=Linf(0.1), steps=3)
BENIGN = ModelInference(examples=Benign())
CONFIGS = [
    pytest.param(ModelInference(examples=examples), id=type(examples).__name__)
    for examples in (Benign(), Untargeted(attack=PGD_3), Targeted(attack=PGD_3))
]


def fit(data, rng):
    """A small network, trained on all rows at once."""
    with global_from(rng):
        model = nn.Sequential(nn.Linear(data.x.shape[1], 16), nn.ReLU(), nn.Linear(16, 2))
    adam = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        adam.zero_grad()
        nn.functional.cross_entropy(model(data.x), data.y).backward()
        adam.step()
    return model


def rows(n, seed, shift=0.0, classes=3):
    """Logits as inputs: members' (the first half) have a spread-out tail where `shift` is not 0."""
    g = seeded(seed)
    x = torch.randn(n, classes, generator=g, dtype=torch.float64)
    y, member = torch.arange(n) % classes, torch.arange(n) < n // 2
    x[member] += shift * nn.functional.one_hot(y[member], classes)
    return x, y, member


def attack(known, judged, config=BENIGN, fit=fit, seed=0, model=None, other=None):
    model = model or nn.Identity()
    (x, y, member), (found, labels, _) = known, judged
    taught = Known(model=other or model, data=Dataset(x, y), member=member)
    return model_inference(
        model, found, labels, taught, config, fit=fit, box=WIDE, rng=seeded(seed)
    )


@pytest.mark.parametrize("config", CONFIGS)
def test_predictions_that_differ_by_construction_are_told_apart(config):
    judged = rows(300, 2, shift=6.0)
    scores = attack(rows(300, 1, shift=6.0), judged, config)
    member = judged[2]
    assert roc(scores[member].numpy(), scores[~member].numpy()).auc > 0.97
    assert ((scores > 0) == member).double().mean() > 0.9  # they are log-odds
    assert scores.dtype == torch.float64


def test_what_no_threshold_on_the_confidence_sees_is_seen():
    """Members' probability goes to one wrong label rather than the other; the true one's stays."""

    def mixed(seed):
        x, y, member = rows(400, seed)
        wrong = torch.where(member, (y + 1) % 3, (y + 2) % 3)
        return x * 0.1 + 3 * nn.functional.one_hot(wrong, 3), y, member

    judged = mixed(2)
    scores = attack(mixed(1), judged)
    member = judged[2]
    confidence = judged[0].softmax(1).gather(1, judged[1].view(-1, 1)).squeeze(1)
    assert roc(scores[member].numpy(), scores[~member].numpy()).auc > 0.97
    assert abs(roc(confidence[member].numpy(), confidence[~member].numpy()).auc - 0.5) < 0.1


@pytest.mark.parametrize("config", CONFIGS)
def test_identically_distributed_predictions_leave_it_at_chance(config):
    """The networks fit the known rows, and that helps them nothing on others."""
    judged = rows(600, 4)
    scores = attack(rows(120, 3), judged, config)
    member = judged[2]
    auc = membership(scores[member].numpy(), scores[~member].numpy(), level=0.999).auc
    assert auc.low <= 0.5 <= auc.high


@pytest.mark.parametrize("config", CONFIGS)
def test_a_row_is_judged_by_itself_whatever_the_order(config):
    known, judged = rows(60, 1, shift=1.0), rows(40, 2, shift=1.0)
    scores = attack(known, judged, config)
    order = torch.randperm(40, generator=seeded(5))
    some = order[:7]
    torch.testing.assert_close(
        attack(known, [each[some] for each in judged], config), scores[some], rtol=1e-5, atol=1e-6
    )
    order = torch.randperm(60, generator=seeded(6))
    again = attack([each[order] for each in known], judged, config)
    torch.testing.assert_close(again, scores, rtol=1e-5, atol=1e-6)


def test_the_seed_decides():
    known, judged = rows(60, 1, shift=1.0), rows(40, 2, shift=1.0)
    assert torch.equal(attack(known, judged), attack(known, judged))
    assert not torch.equal(attack(known, judged), attack(known, judged, seed=1))


def test_other_labels_change_nothing():
    known, judged = rows(90, 1, shift=1.0), rows(60, 2, shift=1.0)
    scores = attack(known, judged)
    own, taught = judged[1] == 1, known[1] == 1
    alone = attack([each[taught] for each in known], [each[own] for each in judged])
    torch.testing.assert_close(alone, scores[own], rtol=1e-5, atol=1e-6)


def test_a_label_of_which_too_little_is_known_has_even_odds():
    (x, y, member), judged = rows(90, 1, shift=3.0), rows(60, 2, shift=3.0)
    keep = (y != 1) & ~((y == 2) & ~member)  # nothing of 1, of 2 no non-member
    scores = attack((x[keep], y[keep], member[keep]), judged)
    assert (scores[judged[1] != 0] == 0).all()
    assert (scores[judged[1] == 0] != 0).any()
    none = torch.zeros(0, dtype=torch.bool)
    assert (attack((x[:0], y[:0], none), judged) == 0).all()
    assert len(attack((x, y, member), [each[:0] for each in judged])) == 0


def test_networks_that_learn_nothing_leave_even_odds():
    def collapses(data, rng):
        raise TrainingCollapsed(epoch=3, loss=0.69, chance=0.69, learning_rate=0.1)

    assert (attack(rows(60, 1), rows(40, 2), fit=collapses) == 0).all()


def test_networks_see_standardised_predictions_of_the_known_rows_only():
    seen = []

    def looks(data, rng):
        seen.append(data)
        return fit(data, rng)

    known, judged = rows(90, 1, shift=3.0), rows(60, 2, shift=3.0)
    attack(known, judged, fit=looks)
    before = [data.x.clone() for data in seen]
    seen.clear()
    attack(known, (judged[0] * 50, *judged[1:]), fit=looks)
    for label, (data, earlier) in enumerate(zip(seen, before, strict=True)):
        assert torch.equal(data.x, earlier)
        torch.testing.assert_close(data.x.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(data.x.std(0, correction=0), torch.ones(3), atol=1e-5, rtol=0)
        assert data.y.sum() == known[2][known[1] == label].sum()


def test_a_constant_prediction_is_no_division_by_zero():
    def constant(x):
        return torch.zeros(len(x), 3, dtype=torch.float64)

    scores = attack(rows(60, 1), rows(40, 2), model=constant)
    assert scores.isfinite().all()


def test_targeted_features_are_those_of_each_wrong_label_in_order():
    seen = []

    def looks(data, rng):
        seen.append(data.x)
        return fit(data, rng)

    x, y, member = rows(60, 1)
    attack((x, y, member), rows(12, 2), ModelInference(examples=Targeted(attack=PGD_3)), fit=looks)
    assert [each.shape[1] for each in seen] == [2 * 3] * 3
    # towards label 1, the log-probability of 1 is higher than towards label 2, for rows of 0
    own = y == 0
    several, wrong = targeted_examples(
        nn.Identity(), x[own], y[own], PGD_3, box=WIDE, rng=seeded(0)
    )
    assert (wrong == torch.tensor([1, 2])).all()
    log_p = several.log_softmax(2)
    assert (log_p[:, 0, 1] > log_p[:, 1, 1]).all()


def test_networks_learnt_from_a_shadow_model_judge_the_target():
    """Known rows are asked of the shadow model; here it doubles what the target says."""
    judged = rows(200, 2, shift=4.0)
    x, y, member = rows(200, 1, shift=4.0)
    one = attack((x / 2, y, member), judged, other=lambda z: 2 * z)
    torch.testing.assert_close(one, attack((x, y, member), judged), rtol=1e-4, atol=1e-4)


def test_what_is_known_must_fit():
    x, y, member = rows(9, 1)
    for wrong in (member[:3], member.long()):
        with pytest.raises(BadInput, match="known membership"):
            Known(model=nn.Identity(), data=Dataset(x, y), member=wrong)
    with pytest.raises(ValidationError, match="fitting"):
        ModelInference(examples=Benign(), fitting=0)
    assert set(LEARNED) == {ModelInference}
