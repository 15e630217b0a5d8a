"""Thieves that search a pool: no row twice, no query beyond the limit, the rows they mean."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_extraction import BALL, SHORT, D, Dies, K, Victim, pool, student, weights
from torch import nn

from trilemma.attacks.evasion import DeepFool
from trilemma.attacks.extraction import (
    DFAL,
    SEARCHES,
    ActiveThief,
    Adaptive,
    AtRandom,
    DFALKCenter,
    FeatureFool,
    FineTune,
    KCenter,
    KnockoffNets,
    LabelDataset,
    SelfAdaptive,
    Uncertainty,
    extract,
    steal_in_rounds,
)
from trilemma.attacks.extraction.active_thief import boundary_distance, farthest_first
from trilemma.attacks.extraction.cloud_leak import guided
from trilemma.attacks.extraction.label_dataset import _Drifting
from trilemma.attacks.extraction.method import Scene
from trilemma.attacks.extraction.rounds import Memory, RoundMethod, heedless
from trilemma.core.box import UNIT
from trilemma.core.dataset import Dataset
from trilemma.core.generators import seeded
from trilemma.oracles import Ledger, TopLabel
from trilemma.training import Flip

SMALL = {"epochs": 2, "batch": 4}
FOOL = FeatureFool(ball=BALL, steps=3)
THIEVES = {
    "knockoff": KnockoffNets(**SMALL),
    "adaptive": KnockoffNets(strategy=Adaptive(window=5), rounds=2, **SMALL),
    "random": ActiveThief(strategy=AtRandom(), rounds=3, **SMALL),
    "uncertainty": ActiveThief(strategy=Uncertainty(), rounds=3, **SMALL),
    "k-center": ActiveThief(strategy=KCenter(), rounds=3, **SMALL),
    "dfal": ActiveThief(strategy=DFAL(), rounds=3, **SMALL),
    "dfal and k-center": ActiveThief(strategy=DFALKCenter(preselected=5), rounds=3, **SMALL),
    "label data set": LabelDataset(attack=SHORT, **SMALL),
    "label a fooling data set": LabelDataset(source=FOOL, attack=SHORT, **SMALL),
    "self-adaptive": LabelDataset(attack=SHORT, self_adaptive=SelfAdaptive(after=1), **SMALL),
    "fine-tune": FineTune(examples=FOOL, attack=SHORT, **SMALL),
    "fine-tune, self-adaptive": FineTune(
        examples=FOOL, attack=SHORT, self_adaptive=SelfAdaptive(after=0), **SMALL
    ),
}
FOOLING = {"label a fooling data set", "fine-tune", "fine-tune, self-adaptive"}
every = pytest.mark.parametrize("config", THIEVES.values(), ids=THIEVES)


def grouped(n=10):
    """The pool with labels of its owner's."""
    return Dataset(pool(n), torch.arange(n) % 3 + 5)


def test_every_searching_method_is_in_the_table():
    assert {type(config) for config in THIEVES.values()} == set(SEARCHES)


@pytest.mark.parametrize("name", THIEVES)
@pytest.mark.parametrize("queries", [0, 1, 7, 10, 99])
def test_no_row_is_asked_about_twice_and_none_beyond_the_limit(name, queries):
    victim, config = Victim(), THIEVES[name]
    changed = type(config)(**{**vars(config), "queries": queries})
    stolen = extract(victim, grouped(), student(), changed, rng=seeded(0))
    asked = torch.cat([pool()[:0], *victim.asked])
    assert len(asked) == stolen.spent == min(queries, 10)
    apart = (asked.unsqueeze(1) - pool()).abs().amax(2)  # no two rows are as near as the ball
    same = apart <= BALL.radius + 1e-6 if name in FOOLING else apart == 0
    assert (same.sum(1) == 1).all()
    assert (same.sum(0) <= 1).all()


@pytest.mark.parametrize("name", sorted({*THIEVES} - {"adaptive"}))
def test_labels_of_the_pool_change_nothing_where_no_groups_are_asked_for(name):
    found = []
    for rows in (pool(), grouped()):
        learner = student()
        extract(Victim(), rows, learner, THIEVES[name], rng=seeded(3))
        found.append(weights(learner))
    assert torch.equal(*found)


@every
def test_the_same_seed_gives_the_same_student(config):
    found = []
    for seed in (3, 3, 4):
        learner = student()
        extract(Victim(), grouped(), learner, config, rng=seeded(seed))
        found.append(weights(learner))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@every
def test_a_theft_that_was_killed_is_answered_from_the_ledger(config, tmp_path):
    undisturbed = student()
    extract(Victim(), grouped(), undisturbed, config, rng=seeded(3))
    victim, learner, calls = Victim(), student(), []
    learn = learner.learn

    def deadly(*args):
        if len(calls) == 3:
            raise Dies
        calls.append(1)
        return learn(*args)

    learner.learn = deadly
    oracle = Ledger(victim, 10, tmp_path / "ledger")
    with pytest.raises(Dies):
        extract(oracle, grouped(), learner, config, rng=seeded(3))
    oracle.close()
    again = student()
    oracle = Ledger(victim, 10, tmp_path / "ledger")
    extract(oracle, grouped(), again, config, rng=seeded(3))
    assert torch.equal(weights(again), weights(undisturbed))
    assert sum(map(len, victim.asked)) == oracle.spent == 10


def test_rounds_are_of_equal_size_and_all_answers_are_learnt():
    learner, steps, sizes = student(), [], []
    learn = learner.learn

    def watched(x, targets, rng):
        steps.append(len(x))
        return learn(x, targets, rng)

    learner.learn = watched
    config = ActiveThief(rounds=4, queries=9, epochs=1, batch=3)
    extract(
        Victim(), pool(), learner, config, rng=seeded(0),
        watch=lambda number, each: sizes.append(each.spent),
    )  # fmt: skip
    assert sizes == [2, 4, 7, 9]
    assert sum(steps) == sum(sizes)


def test_each_round_begins_afresh():
    learner, begun = student(), []
    afresh = learner.afresh

    def watched():
        afresh()
        begun.append(weights(learner).clone())

    learner.afresh = watched
    extract(Victim(), pool(), learner, THIEVES["random"], rng=seeded(0))
    assert len(begun) == 3
    assert all(torch.equal(each, weights(student())) for each in begun)


def scene():
    net = nn.Linear(D, K, bias=False)
    net.weight.data = 4 * torch.randn(K, D, generator=seeded(7))
    return Scene(net, UNIT, seeded(0))


def known(places):
    return Memory(torch.tensor(places), pool()[places], torch.zeros(len(places), K).double())


def test_uncertainty_picks_the_largest_entropies():
    left = torch.arange(10) >= 3
    found = Uncertainty()(scene(), pool(), left, known([0, 1, 2]), 3)
    p = scene().student(pool()).softmax(1).double()
    entropy = -(p * p.log()).sum(1)
    wanted = sorted(range(3, 10), key=lambda place: -entropy[place])[:3]
    assert found.tolist() == wanted


@given(st.integers(0, 4), st.integers(1, 6), st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_k_center_is_greedy(centers, count, seed):
    rng = seeded(seed)
    points, there = (torch.rand(n, 2, generator=rng) for n in (6, centers))
    picked = []
    for _ in range(count):  # one after another, by a loop
        around = torch.cat([there, points[torch.tensor(picked, dtype=torch.int64)]])
        rest = [place for place in range(6) if place not in picked]
        apart = [torch.cdist(points[[r]], around).min().item() if len(around) else 9 for r in rest]
        picked.append(rest[max(range(len(rest)), key=lambda i: apart[i])])
    assert farthest_first(points, there, count).tolist() == picked


def test_k_center_knows_what_was_asked():
    left = torch.arange(10) >= 3
    found = KCenter()(scene(), pool(), left, known([0, 1, 2]), 1)
    p = scene().student(pool()).softmax(1).double()
    apart = torch.cdist(p[3:], p[:3]).amin(1)
    assert found.tolist() == [3 + int(apart.argmax())]


def far_from_ties(place):
    """By hand: how far a row is from the nearest plane on which two logits of `scene` are equal."""
    w = scene().student.weight.double()
    z = w @ pool()[place].double()
    own = int(z.argmax())
    return min(((z[own] - z[j]) / (w[own] - w[j]).norm()).item() for j in range(K) if j != own)


def test_dfal_picks_the_rows_nearest_to_the_boundary():
    left = torch.arange(10) >= 3
    found = DFAL()(scene(), pool(), left, known([0, 1, 2]), 3)
    assert found.tolist() == sorted(range(3, 10), key=far_from_ties)[:3]
    distance = boundary_distance(scene(), pool(), DeepFool(overshoot=1e-3))
    wanted = torch.tensor([far_from_ties(place) for place in range(10)])
    torch.testing.assert_close(distance, wanted, rtol=2e-3, atol=1e-5)


def test_what_deepfool_cannot_move_is_far():
    stage = scene()
    stage.student.weight.data.zero_()
    distance = boundary_distance(stage, pool(), DeepFool())
    assert distance.isinf().all()


@pytest.mark.parametrize(("preselected", "limit", "subset"), [(4, 9, 4), (None, 5, 5), (1, 9, 2)])
def test_dfal_leaves_a_part_to_k_center(preselected, limit, subset):
    stage, left, memory = replace(scene(), limit=limit), torch.arange(10) >= 3, known([0, 1, 2])
    found = DFALKCenter(preselected=preselected)(stage, pool(), left, memory, 2)
    near = sorted(range(3, 10), key=far_from_ties)[:subset]
    among = torch.zeros(10, dtype=torch.bool).index_fill(0, torch.tensor(near), True)
    assert found.tolist() == KCenter()(stage, pool(), among, memory, 2).tolist()
    assert set(found.tolist()) <= set(near)


def test_a_strategy_is_told_the_budget():
    seen = []

    class Curious(AtRandom):
        def __call__(self, scene, *rest):
            seen.append(scene.limit)
            return super().__call__(scene, *rest)

    method = RoundMethod(pick=heedless(Curious()))
    config = ActiveThief(queries=6, rounds=2, **SMALL)
    steal_in_rounds(Victim(), pool(), student(), config, method, rng=seeded(0))
    assert seen == [6, 6]


def test_a_labelled_data_set_is_learnt_on_adversarial_examples():
    learner, seen = student(), []
    learn = learner.learn

    def watched(x, targets, rng):
        seen.append((x.clone(), targets.clone()))
        return learn(x, targets, rng)

    learner.learn = watched
    config = LabelDataset(attack=SHORT, epochs=1, batch=10)
    extract(TopLabel(Victim()), pool(), learner, config, rng=seeded(0))
    ((x, targets),) = seen
    near = [(row - pool()).abs().amax(1).min().item() for row in x]
    assert max(near) <= BALL.radius + 1e-6
    assert min(near) > 0
    assert ((targets == 0) | (targets == 1)).all()


@pytest.mark.parametrize("config", [LabelDataset(source=FOOL, **SMALL), FineTune(examples=FOOL)])
def test_what_is_labelled_fools_the_features_of_the_student(config):
    stage, x = scene(), pool()
    asked = SEARCHES[type(config)](config).craft(stage, x)
    assert torch.equal(asked, guided(FOOL, scene(), x))
    assert not torch.equal(asked, x)
    clean = SEARCHES[LabelDataset](LabelDataset(**SMALL)).craft(stage, x)
    assert torch.equal(clean, x)


@pytest.mark.parametrize(("share", "plain"), [(0.0, 0), (0.5, 2), (0.75, 3), (1.0, 4)])
def test_fine_tuning_begins_after_a_share_of_the_passes(share, plain):
    learner, victim, seen = student(), Victim(), []
    learn = learner.learn

    def watched(x, targets, rng):
        seen.append(x.clone())
        return learn(x, targets, rng)

    learner.learn = watched
    config = FineTune(examples=FOOL, extraction=share, attack=SHORT, epochs=4, batch=10)
    extract(victim, pool(), learner, config, rng=seeded(0))
    (asked,) = victim.asked
    apart = [torch.cdist(x, asked, p=torch.inf).amin(1) for x in seen]
    assert [bool((each == 0).all()) for each in apart] == [True] * plain + [False] * (4 - plain)
    assert all((each <= BALL.radius + 1e-6).all() for each in apart)


def test_fine_tuning_may_drift():
    found = []
    for name in ("fine-tune", "fine-tune, self-adaptive"):
        learner, config = student(), replace(THIEVES[name], epochs=6)
        extract(Victim(), pool(), learner, config, rng=seeded(0))
        found.append(weights(learner))
    assert not torch.equal(*found)


def test_targets_drift_towards_the_students_own_answers_after_a_while():
    drift, stage = _Drifting(SelfAdaptive(momentum=0.75, after=1)), scene()
    answers = torch.eye(3, dtype=torch.float64)
    places, x = torch.tensor([4, 0, 2]), pool(3)
    own = stage.student(x).softmax(1).double()
    first, weight = drift(stage, places, x, answers)
    assert torch.equal(first, answers)
    assert torch.equal(weight, torch.ones(3).double())
    second, weight = drift(stage, places, x, answers)
    torch.testing.assert_close(second, 0.75 * answers + 0.25 * own)
    assert torch.equal(weight, second.amax(1))
    swapped, _ = drift(stage, places[[1]], x[[1]], answers[[1]])
    torch.testing.assert_close(swapped, 0.75 * second[[1]] + 0.25 * own[[1]])
    new, _ = drift(stage, torch.tensor([9]), x[[0]], answers[[0]])
    assert torch.equal(new, answers[[0]])


def test_targets_begin_anew_with_each_round():
    drift, x = _Drifting(SelfAdaptive(momentum=0.75, after=1)), pool(3)
    answers, places = torch.eye(3, dtype=torch.float64), torch.arange(3)
    for epoch in range(3):
        last, _ = drift(replace(scene(), epoch=epoch), places, x, answers)
    assert not torch.equal(last, answers)
    first, _ = drift(replace(scene(), epoch=0), places, x, answers)
    assert torch.equal(first, answers)


def test_augmentation_is_of_what_is_learnt_not_of_what_is_asked():
    victim, image = Victim(), torch.rand(6, 1, 1, D, generator=seeded(2))
    victim.inner = type(victim.inner)(nn.Sequential(nn.Flatten(), nn.Linear(D, K)), classes=K)
    from trilemma.training import MLP, Student

    learner, seen = Student(MLP(hidden=(4,)), (1, 1, D), K, 0), []
    learn = learner.learn

    def watched(x, targets, rng):
        seen.append(x)
        return learn(x, targets, rng)

    learner.learn = watched
    config = KnockoffNets(augmentation=(Flip(),), epochs=3, batch=6)
    extract(victim, image, learner, config, rng=seeded(0))
    (asked,) = victim.asked
    assert torch.equal(asked.sort(0).values, image.sort(0).values)
    turned = torch.cat(seen).flip(3)
    both = [(torch.cat(seen).unsqueeze(1) == image).flatten(2).all(2).any(1)]
    both.append((turned.unsqueeze(1) == image).flatten(2).all(2).any(1))
    assert (both[0] ^ both[1]).all()
    assert all(each.any() for each in both)
