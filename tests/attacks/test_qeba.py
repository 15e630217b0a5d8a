"""QEBA: what its subspaces hold, and where they help."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from trilemma.attacks.evasion import (
    DCT,
    PCA,
    QEBA,
    HopSkipJump,
    Spatial,
    hop_skip_jump,
    qeba,
)
from trilemma.attacks.evasion.directions import after, endless, white, whole
from trilemma.attacks.evasion.shrinkage import cosines
from trilemma.core.box import Box
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded
from trilemma.oracles import Local

ANYWHERE = Box(-math.inf, math.inf)
SHAPE = torch.Size((1, 16, 16))
LIKE = torch.zeros(1, 256, dtype=torch.float64)
REFERENCE = torch.randn(20, *SHAPE, generator=seeded(99), dtype=torch.float64)
SUBSPACES = [
    pytest.param(Spatial(factor=4), id="spatial"),
    pytest.param(DCT(factor=4), id="DCT"),
    pytest.param(PCA(components=10), id="PCA"),
]
seeds = st.integers(0, 2**32 - 1)


def drawn(space, count, shape=SHAPE, like=LIKE, seed=0, reference=REFERENCE):
    return space.sampler(shape, like, reference)(count, seeded(seed))


def excess(attack, config, w, seed):
    """How much farther than the nearest point of <w, x> = 0, as a share of its distance."""
    x = torch.randn(3, 256, generator=seeded(seed), dtype=torch.float64)
    x = x - ((x @ w + torch.tensor([1.0, 2.0, 3.0]).double()) / w.square().sum()).view(-1, 1) * w

    def model(z):
        s = z.flatten(1) @ w
        return torch.stack([-s, s], dim=1)

    more = {"reference": REFERENCE} if attack is qeba else {}
    found = attack(
        Local(model, classes=2),
        x.view(-1, *SHAPE),
        torch.zeros(3, dtype=torch.long),
        config,
        box=ANYWHERE,
        rng=seeded(seed + 1),
        batch=64,
        **more,
    )
    true = (x @ w).abs() / w.norm(p=2 if config.norm == 2 else 1)
    assert (found.distance >= true * (1 - 1e-9)).all()
    return found.distance / true - 1


@pytest.mark.parametrize("space", SUBSPACES)
def test_a_gradient_within_the_subspace_is_found_in_few_queries(space):
    """Within 5 % in 400 queries; with 250 closer than directions of the whole space get."""
    few, full, wide = [], [], []
    for seed in range(3):
        w = drawn(space, 1, seed=seed)[0]
        few.append(excess(qeba, QEBA(max_queries=250, subspace=space), w, seed))
        full.append(excess(qeba, QEBA(max_queries=400, subspace=space), w, seed))
        wide.append(excess(hop_skip_jump, HopSkipJump(max_queries=250), w, seed))
    few, full, wide = (torch.cat(each) for each in (few, full, wide))
    assert (full < 0.05).all()
    assert few.median() < 0.5 * wide.median()
    assert (few < wide).double().mean() > 0.9


@pytest.mark.parametrize("space", SUBSPACES)
@given(seed=seeds)
@settings(max_examples=1)
def test_any_gradient_is_found_once_the_directions_are_wide(space, seed):
    w = torch.randn(256, generator=seeded(seed), dtype=torch.float64)
    assert (excess(qeba, QEBA(max_queries=5000, subspace=space), w, seed) < 0.05).all()


def test_within_the_subspace_alone_it_is_not():
    """The paper's, without `widen_after`: why there is one."""
    w = torch.randn(256, generator=seeded(0), dtype=torch.float64)
    for config in (
        QEBA(max_queries=5000, widen_after=None),
        QEBA.published(max_queries=5000, subspace=Spatial()),
    ):
        assert (excess(qeba, config, w, 0) > 0.5).all()


def test_for_the_largest_change_too():
    """L_inf: closer than HopSkipJump with as few queries."""
    space, ours, theirs = DCT(factor=4), [], []
    for seed in range(4):
        w, few = drawn(space, 1, seed=seed)[0], {"norm": math.inf, "max_queries": 300}
        ours.append(excess(qeba, QEBA(subspace=space, **few), w, seed))
        theirs.append(excess(hop_skip_jump, HopSkipJump(**few), w, seed))
    assert torch.cat(ours).median() < 0.6 * torch.cat(theirs).median()


@pytest.mark.parametrize("shape", [SHAPE, (3, 10, 7), (5, 9), (33,), (1,)])
@pytest.mark.parametrize(
    "space", [Spatial(factor=3), DCT(factor=3), Spatial(factor=50), DCT(factor=1)]
)
def test_directions_have_length_1_whatever_the_inputs(space, shape):
    size = math.prod(shape)
    bank = drawn(space, 50, torch.Size(shape), torch.zeros(1, size, dtype=torch.float64))
    assert bank.shape == (50, size)
    assert bank.dtype == torch.float64
    torch.testing.assert_close(bank.norm(dim=1), torch.ones(50, dtype=torch.float64))
    assert bank.isfinite().all()


@given(seed=seeds, factor=st.integers(1, 9))
@settings(max_examples=20)
def test_the_higher_cosine_coefficients_are_0(seed, factor):
    shape = torch.Size((2, 12, 9))
    images = drawn(DCT(factor=factor), 5, shape, LIKE, seed).view(5, *shape)
    waves = cosines(12, LIKE) @ images @ cosines(9, LIKE).T
    low, narrow = math.ceil(12 / factor), math.ceil(9 / factor)
    waves[:, :, :low, :narrow] = 0
    assert waves.abs().max() < 1e-12
    rank = torch.linalg.matrix_rank(drawn(DCT(factor=factor), 300, shape, LIKE, seed))
    assert rank == 2 * low * narrow


@given(seed=seeds, factor=st.integers(1, 9))
@settings(max_examples=10)
def test_smooth_directions_have_as_many_dimensions_as_the_small_image(seed, factor):
    shape = torch.Size((2, 12, 9))
    bank = drawn(Spatial(factor=factor), 300, shape, LIKE, seed)
    rank = torch.linalg.matrix_rank(bank)
    assert rank == 2 * math.ceil(12 / factor) * math.ceil(9 / factor)
    small = torch.randn(1, 2, math.ceil(12 / factor), math.ceil(9 / factor)).double()
    image = nn.functional.interpolate(small, size=(12, 9), mode="bilinear").flatten(1)
    both = torch.cat([bank, image])
    assert torch.linalg.matrix_rank(both) == rank  # every enlarged image is within


@given(seed=seeds, components=st.integers(1, 40))
@settings(max_examples=20)
def test_the_span_is_that_of_the_largest_principal_components(seed, components):
    """By the eigenvectors of the covariance."""
    scale = torch.linspace(3, 0.1, 20, dtype=torch.float64).view(-1, 1, 1, 1)
    reference = REFERENCE * scale + 5
    bank = drawn(PCA(components=components), 300, seed=seed, reference=reference)
    rows = reference.flatten(1)
    vectors = torch.linalg.eigh((rows - rows.mean(0)).T @ (rows - rows.mean(0))).eigenvectors
    used = min(components, 19)
    within = vectors[:, -used:]
    torch.testing.assert_close(bank @ within @ within.T, bank, rtol=0, atol=1e-9)
    assert torch.linalg.matrix_rank(bank) == used
    torch.testing.assert_close(bank.norm(dim=1), torch.ones(300, dtype=torch.float64))


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        (None, "is None"),
        (REFERENCE[:1], r"is \(1, 1, 16, 16\)"),
        (REFERENCE[:, :, :8], r"is \(20, 1, 8, 16\)"),
    ],
)
def test_principal_components_need_rows_of_the_inputs_shape(reference, text):
    def oracle(z):
        raise AssertionError("it was asked")

    model = Local(oracle, classes=2)
    x, y = torch.rand(2, *SHAPE).double(), torch.zeros(2, dtype=torch.long)
    with pytest.raises(BadInput, match=rf"reference: {text}.*at least 2 rows of shape"):
        qeba(model, x, y, QEBA(subspace=PCA()), rng=seeded(0), reference=reference)


@pytest.mark.parametrize("kind", [Spatial, DCT])
def test_factors_below_1_are_refused(kind):
    with pytest.raises(ValidationError, match="factor"):
        kind(factor=0)
    with pytest.raises(ValidationError, match="components"):
        PCA(components=0)


@given(seed=seeds)
@settings(max_examples=5)
def test_white_directions_are_uniform_on_the_sphere(seed):
    bank = white(4000, LIKE, seeded(seed))
    torch.testing.assert_close(bank.norm(dim=1), torch.ones(4000, dtype=torch.float64))
    assert bank.mean(0).abs().max() < 6 / (256 * 4000) ** 0.5
    spread = bank.T @ bank * 256 / 4000
    assert (spread.diagonal() - 1).abs().max() < 0.15
    assert (spread - torch.diag(spread.diagonal())).abs().max() < 0.1


@given(start=st.integers(0, 10**6), many=st.integers(1, 200), seed=seeds)
@settings(max_examples=20)
def test_directions_are_the_same_whoever_asks(start, many, seed):
    def directions():
        return whole(LIKE, seeded(seed))

    together = directions()(start, many)
    assert together.shape == (many, 256)
    single = directions()
    one_by_one = torch.cat([single(start + i, 1) for i in range(many)])
    assert torch.equal(together, one_by_one)


def test_directions_do_not_come_again():
    """20,000 in 3 dimensions: blocks differ, and together they are uniform."""
    like = torch.zeros(1, 3, dtype=torch.float64)
    bank = whole(like, seeded(0))(0, 20_000)
    assert len(bank.unique(dim=0)) == 20_000
    assert bank.mean(0).abs().max() < 0.02


def test_blocks_take_bounded_memory():
    large = torch.empty(1, 150_528)
    drawn = []

    def sample(count, rng):
        drawn.append(count)
        return torch.zeros(count, 1).expand(count, 150_528)

    endless(sample, large, seeded(0))(0, 100)
    assert max(drawn) * 150_528 * 4 <= 16 * 150_528 * 4


@given(count=st.integers(0, 30), start=st.integers(0, 60), many=st.integers(1, 30))
def test_one_kind_of_directions_after_another(count, start, many):
    def kind(sign):
        return lambda start, many: sign * torch.arange(start + 1.0, start + many + 1).view(-1, 1)

    found = after(kind(1), count, kind(-1))(start, many).squeeze(1)
    places = torch.arange(start, start + many)
    expected = torch.where(places < count, places + 1.0, -(places - count + 1.0))
    assert torch.equal(found, expected)
