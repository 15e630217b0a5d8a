"""Shrinkage per frequency band: an orthonormal transform, and less noise on average."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trilemma.attacks.evasion.shrinkage import bands_of, cosines, shrink
from trilemma.core.generators import seeded

LIKE = torch.zeros(1, dtype=torch.float64)
SHAPE = torch.Size((2, 12, 9))
seeds = st.integers(0, 2**32 - 1)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def ones(n, variance=1.0):
    return torch.full((n,), variance, dtype=torch.float64)


def smooth(n, seed):
    """Images of two waves a channel, of length 1."""
    few = noise(n, 2, 3, 3, seed=seed)
    image = cosines(12, LIKE)[:3].T @ few @ cosines(9, LIKE)[:3]
    return torch.nn.functional.normalize(image.flatten(1), dim=1)


def energies(rows, bands):
    """Of each band, by a sum over its frequencies."""
    waves = bands.rows @ rows.view(-1, *SHAPE) @ bands.columns.T
    power = waves.square().sum(1).flatten(1)
    return torch.stack([power[:, bands.ring == r].sum(1) for r in range(len(bands.sizes))], 1)


@given(n=st.integers(1, 40))
def test_the_cosine_transform_is_orthonormal(n):
    m = cosines(n, LIKE)
    torch.testing.assert_close(m @ m.T, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-12)


@given(n=st.integers(2, 30), k=st.integers(0, 29))
def test_row_k_changes_its_sign_k_times(n, k):
    row = cosines(n, LIKE)[k % n]
    assert (row[1:] * row[:-1] < 0).sum() == k % n


@given(seed=seeds)
@settings(max_examples=10)
def test_the_bands_hold_each_frequency_once(seed):
    """Parseval: the bands' energies add up to that of the row."""
    bands, rows = bands_of(SHAPE, LIKE), noise(3, 216, seed=seed)
    assert bands.sizes.sum() == 12 * 9
    assert torch.equal(bands.sizes, bands.ring.bincount().double())
    torch.testing.assert_close(energies(rows, bands).sum(1), rows.square().sum(1))


def test_the_frequencies_of_a_band_are_alike():
    """Those of band r have a radius of r - 1/2 to r + 1/2, in units of the longer side."""
    bands = bands_of(SHAPE, LIKE)
    for place, ring in enumerate(bands.ring.tolist()):
        i, j = place // 9, place % 9
        assert abs(12 * ((i / 12) ** 2 + (j / 9) ** 2) ** 0.5 - ring) <= 0.5 + 1e-6


@pytest.mark.parametrize("shape", [(5,), (4, 4), (3, 1, 8), (3, 8, 1), (2, 3, 4, 5)])
def test_what_is_no_image_has_no_bands(shape):
    assert bands_of(torch.Size(shape), LIKE) is None


@given(seed=seeds, variance=st.floats(1e-3, 2.0))
@settings(max_examples=20)
def test_each_band_is_scaled_by_its_share_of_signal(seed, variance):
    """Band by band, by the formula; its direction within the band stays."""
    bands, rows = bands_of(SHAPE, LIKE), noise(3, 216, seed=seed)
    quiet = shrink(rows, ones(3, variance), bands)
    energy = energies(rows, bands)
    kept = (1 - variance * 2 * bands.sizes / energy).clamp(min=0)
    assert (kept.amax(1) > 0).all() or variance > 0.5
    expected = torch.where(kept.amax(1, keepdim=True) > 0, kept.square() * energy, energy)
    torch.testing.assert_close(energies(quiet, bands), expected)


@given(seed=seeds)
@settings(max_examples=10)
def test_without_noise_it_is_the_identity(seed):
    rows = noise(3, 216, seed=seed)
    torch.testing.assert_close(shrink(rows, ones(3, 0.0), bands_of(SHAPE, LIKE)), rows)


@given(seed=seeds, scale=st.floats(1e-3, 1e3))
@settings(max_examples=10)
def test_the_unit_does_not_count(seed, scale):
    bands, rows = bands_of(SHAPE, LIKE), noise(3, 216, seed=seed)
    some = shrink(rows, ones(3, 0.4), bands)
    torch.testing.assert_close(shrink(scale * rows, ones(3, 0.4 * scale**2), bands), scale * some)


def test_where_the_energy_is_spread_evenly_all_bands_shrink_alike():
    """White rows of 10 times the noise's energy lose a tenth in each band, on average."""
    bands, rows = bands_of(SHAPE, LIKE), 10**0.5 * noise(2000, 216)
    share = energies(shrink(rows, ones(2000), bands), bands).mean(0) / energies(rows, bands).mean(0)
    wide = bands.sizes >= 6
    torch.testing.assert_close(share[wide], 0.81 + 0 * share[wide], rtol=0, atol=0.02)
    cosine = torch.cosine_similarity(shrink(rows, ones(2000), bands), rows)
    assert cosine.min() > 0.97


@given(seed=seeds, sigma=st.floats(0.05, 0.25))
@settings(max_examples=20)
def test_a_smooth_gradient_comes_out_of_white_noise(seed, sigma):
    """Noise of half to 14 times the gradient's energy; a row is hurt now and then."""
    bands, gradient = bands_of(SHAPE, LIKE), smooth(200, seed)
    seen = gradient + sigma * noise(200, 216, seed=seed + 1)
    quiet = shrink(seen, ones(200, sigma**2), bands)
    before, after = (torch.cosine_similarity(each, gradient) for each in (seen, quiet))
    assert after.mean() > 1.1 * before.mean()
    assert (after > before).double().mean() > 0.85


@given(seed=seeds)
@settings(max_examples=10)
def test_shrunk_estimates_are_nearer_to_the_gradient(seed):
    """James and Stein: a smaller mean squared error, whatever the gradient, in bands above 2."""
    bands, gradient = bands_of(SHAPE, LIKE), 0.3 * noise(1, 216, seed=seed)
    seen = gradient + noise(1000, 216, seed=seed + 1)
    quiet = shrink(seen, ones(1000), bands)
    errors = [(each - gradient).square().sum(1).mean() for each in (seen, quiet)]
    assert errors[1] < 0.5 * errors[0]


def test_what_noise_explains_altogether_comes_back_as_it_was():
    bands, rows = bands_of(SHAPE, LIKE), noise(3, 216)
    assert torch.equal(shrink(rows, ones(3, 1e6), bands), rows)
    assert torch.equal(shrink(0 * rows, ones(3), bands), 0 * rows)
    assert torch.equal(shrink(0 * rows, ones(3, 0.0), bands), 0 * rows)
    mixed = shrink(rows, torch.tensor([0.0, 1e6, 0.5], dtype=torch.float64), bands)
    torch.testing.assert_close(mixed[:2], rows[:2])
    assert not torch.allclose(mixed[2], rows[2])


def test_a_row_depends_on_no_other():
    bands, rows = bands_of(SHAPE, LIKE), noise(4, 216)
    variance = torch.tensor([0.1, 0.5, 0.9, 2.0], dtype=torch.float64)
    alone = [shrink(rows[[i]], variance[[i]], bands) for i in range(4)]
    torch.testing.assert_close(shrink(rows, variance, bands), torch.cat(alone))
