"""A closer look: pictures are of what is there, and what is measured beside them is known."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trilemma.attacks.evasion import BOUNDARY_ATTACKS, QEBA, HopSkipJump
from trilemma.core.box import Box
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.data import Digits
from trilemma.experiments.answering import Shown, looked_at
from trilemma.experiments.embedding import among, embedded, last_layer
from trilemma.experiments.planes import GRID, Frame, nearest, regions
from trilemma.experiments.stages import Split
from trilemma.experiments.tracing import Plane, Watched
from trilemma.models import Tempered
from trilemma.oracles import Local
from trilemma.training import build
from trilemma.training.recipes import MLP, SmallCNN

WIDE = Box(-10.0, 10.0)
SPLIT = Split(data=Digits(), fingerprint="", seed=0)


def network(kind=None, seed=0):
    return build(kind or MLP(hidden=(16,)), (1, 8, 8), 3, seeded(seed))


def images(n=20, seed=1):
    return torch.rand(n, 1, 8, 8, generator=seeded(seed))


# single answers


def test_a_member_and_a_non_member_of_each_label_are_drawn():
    rng = np.random.default_rng(0)
    members, others = rng.integers(4, size=50), rng.integers(4, size=30)

    def drawn(classes, seed=0):
        return Shown(split=SPLIT, classes=classes, seed=seed).drawn(members, others)

    both = np.concatenate([members, others])
    row = drawn((2, 0))
    assert both[row].tolist() == [2, 2, 0, 0]
    assert (row < 50).tolist() == [True, False, True, False]
    assert drawn((2, 0)).tolist() == row.tolist()
    assert len({tuple(drawn((2, 0), seed)) for seed in range(10)}) > 5
    assert len(drawn(None)) == 4
    with pytest.raises(BadInput, match="label 7, of which one side has no row"):
        drawn((2, 7))


def test_an_answer_is_shown_with_all_its_losses():
    p = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [1.0, 0.0, 0.0]])
    with np.errstate(divide="ignore"):
        answers = {"member": np.array([1, 0, 0]), "label": np.array([1, 1, 0])}
        found = looked_at(answers | {"log_probabilities": np.log(p)}, np.array([0, 2]))
    first, last = found["shown"]
    assert first["member"] is True
    assert (first["label"], first["predicted"]) == (1, 0)
    assert first["losses"] == pytest.approx([np.log(2), np.log(4), np.log(4)], abs=1e-6)
    assert first["ace"] == pytest.approx(np.log(4), abs=1e-6)
    assert last["losses"] == [0.0, None, None]
    assert last["ace"] is None
    assert "not_evaluable" in found["ace"]["train"]  # one number
    assert "not_evaluable" in found["ace"]["test"]  # an infinite one
    assert sum(found["loss"]["members"]) == 1


# regions in a plane


def test_cells_have_the_label_of_their_middle_and_names_stand_inside():
    frame = Frame(x=(-1.0, 1.0), y=(0.0, 4.0))
    found = regions(frame, lambda at: np.where(at[:, 0] < at[:, 1] - 2, 3, 8))
    centres = frame.centres()
    assert centres[0].tolist() == pytest.approx([-1 + 1 / GRID, 2 / GRID])
    cells = [
        [x for x, n in zip(r[::2], r[1::2], strict=True) for _ in range(n)] for r in found["rows"]
    ]
    expected = np.where(centres[:, 0] < centres[:, 1] - 2, 3, 8).reshape(GRID, GRID)
    assert np.array(cells).tolist() == expected.tolist()
    for x, y, label in found["names"]:
        assert label == (3 if x < y - 2 else 8)
    assert {label for *_, label in found["names"]} == {3, 8}


@given(st.integers(0, 1000), st.integers(1, 12))
@settings(deadline=None, max_examples=20)
def test_the_nearest_points_vote(seed, n):
    rng = np.random.default_rng(seed)
    points, labels = rng.normal(size=(n, 2)), rng.integers(3, size=n)
    asked = rng.normal(size=(30, 2))
    for at, label in zip(asked, nearest(points, labels)(asked), strict=True):
        near = np.argsort(((points - at) ** 2).sum(1))[:5]
        votes = [(labels[near] == kind).sum() for kind in range(3)]
        assert label == np.argmax(votes)


# features before the last layer


@pytest.mark.parametrize("kind", [MLP(hidden=(16,)), SmallCNN()])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_last_layer_gives_the_models_answers(kind, temperature):
    model, x = network(kind), images(70)
    asked = Tempered(model, temperature)
    asked.train()
    found = last_layer(asked, x)
    assert asked.training
    assert not any(layer._forward_hooks for layer in model.modules())
    logits = model.eval()(x).detach().double().numpy()
    np.testing.assert_allclose(found.features @ found.weight.T + found.bias, logits, atol=1e-5)
    assert found.label.tolist() == logits.argmax(1).tolist()
    assert found.predict(found.features).tolist() == found.label.tolist()


def test_the_last_is_that_which_is_called_last():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.second, self.first = nn.Linear(4, 3, bias=False), nn.Linear(64, 4)

        def forward(self, x):
            return self.second(self.first(x.flatten(1)))

    found = last_layer(Odd(), images())
    assert found.features.shape == (20, 4)
    assert found.bias.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(
            nn.Flatten(), nn.Linear(64, 3), nn.Flatten(0), nn.Unflatten(0, (-1, 3)), nn.Softmin(1)
        ),
        nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten()),
        nn.Sequential(nn.Linear(8, 8), nn.Flatten()),
    ],
)
def test_a_model_whose_last_layer_decides_nothing_has_no_features(model):
    with pytest.raises(BadInput, match="no last linear layer"):
        last_layer(model, images())


@given(st.integers(0, 100))
@settings(deadline=None, max_examples=10)
def test_random_points_lie_between_two_rows(seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(6, 4))
    for point in among(rows, 20, rng):
        gaps = [
            np.linalg.norm(point - a) + np.linalg.norm(point - b) - np.linalg.norm(a - b)
            for a in rows
            for b in rows
        ]
        assert min(gaps) < 1e-9


def test_clusters_stay_clusters_and_the_picture_is_the_same_again():
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(15, 10)), 20 + rng.normal(size=(15, 10))])
    found = embedded(rows, 3)
    assert found.shape == (30, 2)
    assert found.min() >= 0
    assert found.max() <= 1000
    assert (nearest(found, np.arange(30) // 15)(found) == np.arange(30) // 15).all()
    np.testing.assert_array_equal(embedded(rows, 3), found)


@pytest.mark.parametrize("rows", [np.zeros((30, 4)), np.eye(5)])
def test_nothing_to_embed_is_said(rows):
    with pytest.raises(BadInput, match="too few, or all the same"):
        embedded(rows, 0)


# search paths

SEARCHES = [
    HopSkipJump(max_queries=300),
    HopSkipJump(max_queries=300, norm=float("inf")),
    QEBA(max_queries=200),
]


@pytest.mark.parametrize("search", SEARCHES, ids=lambda s: f"{type(s).__name__} {s.norm}")
def test_the_path_is_that_of_the_attack_and_watching_changes_nothing(search):
    oracle, x = Local(network(), classes=3), images(1)
    y = oracle(x).argmax(1)
    attack = BOUNDARY_ATTACKS[type(search)]
    alone = attack(oracle, x, y, search, rng=seeded(5), batch=64)
    watched = Watched(oracle, x[0], int(y), search.norm)
    found = attack(watched, x, y, search, rng=seeded(5), batch=64)
    for name, value in vars(alone).items():
        assert torch.equal(getattr(found, name), value), name
    assert watched.asked == int(found.queries) == search.max_queries
    queries, distances, points = zip(*watched.found, strict=True)
    torch.testing.assert_close(points[-1], found.x_adv[0], atol=0, rtol=0)
    for budget, distance in zip(found.budgets.tolist(), found.trace[0].tolist(), strict=True):
        so_far = [d for q, d in zip(queries, distances, strict=True) if q <= budget]
        assert min(so_far, default=float("inf")) == pytest.approx(distance, rel=1e-5)
    assert list(distances) == sorted(distances, reverse=True)
    assert all(oracle(p[None]).argmax(1) != y for p in points)


@given(st.integers(0, 300), st.integers(3, 6), st.integers(1, 8))
@settings(deadline=None, max_examples=30)
def test_a_plane_has_the_row_the_last_point_and_most_of_the_rest(seed, d, m):
    rng = np.random.default_rng(seed)
    origin, points = rng.normal(size=d), rng.normal(size=(m, d))
    plane = Plane.through(origin, points, seed)
    np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-9)
    place, aside = plane.of(points)
    assert place[-1] == pytest.approx([np.linalg.norm(points[-1] - origin), 0], abs=1e-9)
    assert aside[-1] == pytest.approx(0, abs=1e-9)
    length = np.linalg.norm(points - origin, axis=1)
    np.testing.assert_allclose((place**2).sum(1) + aside**2, length**2, atol=1e-9)
    back, gap = plane.of(plane.back(place))
    np.testing.assert_allclose(back, place, atol=1e-9)
    np.testing.assert_allclose(gap, 0, atol=1e-9)
    for _ in range(10):  # no other plane along the same line is nearer to the points
        other = rng.normal(size=d)
        other -= (other @ plane.axes[0]) * plane.axes[0]
        rival = Plane(origin, np.stack([plane.axes[0], other / np.linalg.norm(other)]))
        assert (aside**2).sum() <= (rival.of(points)[1] ** 2).sum() + 1e-9


def test_on_a_straight_boundary_the_search_ends_beside_the_nearest_point():
    """The last point of a path, and so the first axis, is known: it is at right angles to it."""
    weight = torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    oracle = Local(lambda x: x @ weight.T + torch.tensor([0.0, 10.0]), classes=2)
    x, y = torch.tensor([[4.0, 4.0, 0.0, 0.0]]), torch.tensor([0])
    watched = Watched(oracle, x[0], 0, 2.0)
    search = HopSkipJump(max_queries=2000)
    BOUNDARY_ATTACKS[HopSkipJump](watched, x, y, search, box=WIDE, rng=seeded(0), batch=64)
    points = torch.stack([p for *_, p in watched.found]).double().numpy()
    plane = Plane.through(x[0].double().numpy(), points, 0)
    assert watched.found[-1][1] == pytest.approx(18 / 5, rel=0.02)  # |3 * 4 + 4 * 4 - 10| / 5
    assert abs(plane.axes[0] @ np.array([0.6, 0.8, 0, 0])) > 0.98
