"""What attacks ascend: closed forms, invariances, and where a loss is zero."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trilemma.attacks.evasion import PGD, BenignKL, CrossEntropy, Margin
from trilemma.attacks.evasion.losses import DLR, dlr, targeted_dlr, uniform_divergence
from trilemma.core.balls import Linf
from trilemma.core.errors import BadInput
from trilemma.core.generators import seeded

seeds = st.integers(0, 2**32 - 1)


def answers(seed, n=5, k=4):
    g = seeded(seed)
    return (
        3 * torch.randn(n, k, generator=g, dtype=torch.float64),
        torch.randint(0, k, (n,), generator=g),
    )


@given(seed=seeds)
def test_the_cross_entropy_is_minus_the_log_of_the_confidence(seed):
    z, y = answers(seed)
    p = z.exp() / z.exp().sum(1, keepdim=True)
    torch.testing.assert_close(CrossEntropy()(z, y), -p[range(5), y].log())


@given(seed=seeds)
def test_the_divergence_is_the_sum_of_p_log_p_over_q(seed):
    (z, y), (benign, _) = answers(seed), answers(seed + 1)
    p, q = benign.softmax(1), z.softmax(1)
    found = BenignKL()(z, y, benign)
    torch.testing.assert_close(found, (p * (p / q).log()).sum(1))
    torch.testing.assert_close(BenignKL()(z, y, z), torch.zeros(5, dtype=z.dtype))


def test_the_divergence_is_flat_at_the_benign_answer():
    z, y = answers(0)
    leaf = z.clone().requires_grad_()
    (g,) = torch.autograd.grad(BenignKL()(leaf, y, z).sum(), leaf)
    assert g.abs().max() < 1e-15


def test_the_divergence_asks_for_the_benign_answer():
    with pytest.raises(ValueError, match="benign"):
        BenignKL()(*answers(0))


@given(seed=seeds, kappa=st.floats(0, 3))
def test_the_margin_is_positive_where_the_model_is_wrong_and_ends_at_kappa(seed, kappa):
    z, y = answers(seed)
    lead = Margin()(z, y)
    assert ((lead > 0) == (z.argmax(1) != y)).all()
    for row, label, found in zip(z.tolist(), y.tolist(), lead.tolist(), strict=True):
        own = row.pop(label)
        assert found == pytest.approx(max(row) - own)
    torch.testing.assert_close(Margin(confidence=kappa)(z, y), lead.clamp(max=kappa))


@given(seed=seeds, scale=st.floats(0.1, 10), shift=st.floats(-10, 10))
def test_the_ratio_knows_no_scale_and_no_shift(seed, scale, shift):
    z, y = answers(seed, k=5)
    target = (y + 1) % 5
    torch.testing.assert_close(dlr(scale * z + shift, y), dlr(z, y), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(
        targeted_dlr(scale * z + shift, y, target),
        targeted_dlr(z, y, target),
        rtol=1e-6,
        atol=1e-8,
    )
    # the cross-entropy does know
    assert not torch.allclose(CrossEntropy()(2 * z, y), CrossEntropy()(z, y))


@given(seed=seeds)
def test_the_ratio_is_positive_where_the_model_is_wrong_and_at_least_minus_one(seed):
    z, y = answers(seed)
    found = dlr(z, y)
    assert ((found > 0) == (z.argmax(1) != y)).all()
    assert (found >= -1).all()
    torch.testing.assert_close(DLR()(z, y), found)


@given(seed=seeds)
def test_the_targeted_ratio_is_positive_where_the_target_leads_the_label(seed):
    z, y = answers(seed)
    target = (y + 2) % 4
    found = targeted_dlr(z, y, target)
    rows = torch.arange(5)
    assert ((found > 0) == (z[rows, target] > z[rows, y])).all()


def test_ties_leave_the_ratio_finite():
    z, y = torch.zeros(1, 4, dtype=torch.float64), torch.tensor([0])
    assert dlr(z, y).isfinite().all()
    assert targeted_dlr(z, y, y + 1).isfinite().all()


@pytest.mark.parametrize(("ratio", "least"), [(dlr, 3), (targeted_dlr, 4)])
def test_the_ratio_needs_classes(ratio, least):
    z = torch.zeros(2, least - 1)
    labels = [torch.zeros(2, dtype=torch.long)] * (1 if ratio is dlr else 2)
    with pytest.raises(BadInput, match=f"needs {least} classes at least; the model has"):
        ratio(z, *labels)


@given(seed=seeds)
def test_the_divergence_from_uniform_is_its_definition(seed):
    z, _ = answers(seed)
    u = torch.full_like(z, 1 / 4)
    torch.testing.assert_close(uniform_divergence(z), (u * (u / z.softmax(1)).log()).sum(1))
    assert uniform_divergence(torch.full_like(z, 7.0)).abs().max() < 1e-12


@pytest.mark.parametrize("confidence", [-1.0, math.inf, math.nan])
def test_a_confidence_out_of_range_is_refused(confidence):
    with pytest.raises(ValidationError, match="confidence"):
        Margin(confidence=confidence)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"loss": BenignKL(), "random_start": False}, "flat at x itself"),
        ({"loss": BenignKL(), "targeted": True}, "knows no label"),
        ({"loss": Margin(confidence=1.0), "targeted": True}, "confidence"),
    ],
)
def test_a_loss_that_cannot_be_used_so_is_refused(settings, why):
    with pytest.raises(ValidationError, match=why):
        PGD(ball=Linf(0.1), **settings)
