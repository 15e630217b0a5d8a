"""What a gradient attack ascends: one number a row, larger the worse the model does.

`Loss` is the union that a configuration may name; the functions below it are used by single
attacks.
"""

import math
from typing import Annotated, ClassVar, TypeAlias

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch.nn import functional as F

from trilemma.attacks.evasion.gradients import no_less
from trilemma.core.errors import BadInput
from trilemma.core.types import Labels, Logits, PerRow, Probs

TINY = 1e-12  # keeps a ratio of differences of logits finite where they tie


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class CrossEntropy:
    """Cross-entropy of the label, in nats; or of a weight for each class."""

    needs_benign: ClassVar[bool] = False

    def __call__(self, logits: Logits, y: Labels | Probs, benign: Logits | None = None) -> PerRow:
        """-log softmax(z)_y >= 0."""
        return F.cross_entropy(logits, y, reduction="none")


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class BenignKL:
    """Divergence of the answer from the one on the benign input, in nats (TRADES).

    The direction is that of the TRADES authors' program, KL(F(x) || F(x')): the benign answer is
    the reference. Song et al. 2019, eq. 11-12, write the arguments the other way round. Either way
    it is 0 at x, and so is its gradient: an attack must start beside x.

    Source: Zhang et al., "Theoretically principled trade-off between robustness and accuracy",
    ICML 2019, eq. 5.
    """

    needs_benign: ClassVar[bool] = True

    def __call__(self, logits: Logits, y: Labels | Probs, benign: Logits | None = None) -> PerRow:
        """KL(softmax(benign) || softmax(z)) >= 0; `y` does not count."""
        if benign is None:
            raise ValueError("the divergence needs the answer on the benign input")
        log_p, log_q = benign.log_softmax(1), logits.log_softmax(1)
        return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Margin:
    """Lead of the strongest wrong logit over the label's (Carlini & Wagner).

    Args:
        confidence: kappa: leads above it count as kappa, so that a row which has it rests; None
            sets no end.

    Source: Carlini & Wagner, "Towards evaluating the robustness of neural networks", IEEE S&P
    2017, f_6, with the sign turned.
    """

    needs_benign: ClassVar[bool] = False

    confidence: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None

    def __call__(self, logits: Logits, y: Labels, benign: Logits | None = None) -> PerRow:
        """min(max_(j != y) z_j - z_y, kappa); positive where the model is wrong."""
        lead = strongest_rival(logits, y) - logit_of(logits, y)
        return lead if self.confidence is None else lead.clamp(max=self.confidence)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class DLR:
    """Difference of logits ratio, which no scale or shift of the logits changes.

    Source: Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
    parameter-free attacks", ICML 2020, eq. 6.
    """

    needs_benign: ClassVar[bool] = False

    def __call__(self, logits: Logits, y: Labels, benign: Logits | None = None) -> PerRow:
        """`dlr`; positive where the model is wrong, which must have 3 classes at least."""
        return dlr(logits, y)


Loss: TypeAlias = CrossEntropy | BenignKL | Margin | DLR


def logit_of(logits: Logits, y: Labels) -> PerRow:
    """z_y."""
    return logits.gather(1, y.view(-1, 1)).squeeze(1)


def strongest_rival(logits: Logits, y: Labels) -> PerRow:
    """max_(j != y) z_j."""
    return logits.scatter(1, y.view(-1, 1), -math.inf).amax(1)


def dlr(logits: Logits, y: Labels) -> PerRow:
    r"""Difference of logits ratio, which no scale or shift of the logits changes.

    .. math:: -\frac{z_y - \max_{j \neq y} z_j}{z_{\pi_1} - z_{\pi_3}},

    with z in falling order along pi. Positive where the model is wrong, and at least -1.

    Raises:
        BadInput: there are fewer than 3 classes.

    Example:
        >>> import torch
        >>> dlr(torch.tensor([[4.0, 3.0, 2.0]]), torch.tensor([0]))
        tensor([-0.5000])

    Source:
        Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
        parameter-free attacks", ICML 2020, eq. 6.
    """
    _check_classes(logits, 3)
    top = logits.topk(3, dim=1).values
    lead = strongest_rival(logits, y) - logit_of(logits, y)
    return lead / (top[:, 0] - top[:, 2] + no_less(TINY, top))


def targeted_dlr(logits: Logits, y: Labels, target: Labels) -> PerRow:
    r"""The difference of logits ratio towards one wrong label.

    .. math:: -\frac{z_y - z_t}{z_{\pi_1} - (z_{\pi_3} + z_{\pi_4}) / 2}

    Raises:
        BadInput: there are fewer than 4 classes.

    Example:
        >>> import torch
        >>> z = torch.tensor([[4.0, 3.0, 2.0, 0.0]])
        >>> targeted_dlr(z, torch.tensor([0]), torch.tensor([1]))
        tensor([-0.3333])

    Source:
        Croce & Hein 2020, eq. 7.
    """
    _check_classes(logits, 4)
    top = logits.topk(4, dim=1).values
    lead = logit_of(logits, target) - logit_of(logits, y)
    return lead / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + no_less(TINY, top))


def _check_classes(logits: Logits, least: int) -> None:
    if logits.shape[1] < least:
        raise BadInput(
            "difference of logits ratio",
            f"needs {least} classes at least; the model has {logits.shape[1]}",
            "Use the cross-entropy or the margin",
        )


def uniform_divergence(logits: Logits) -> PerRow:
    r"""How far an answer is from no preference at all, in nats.

    .. math:: KL(u \,\|\, \mathrm{softmax}(z)) = -\log k - \frac1k \sum_j \log \mathrm{softmax}(z)_j

    Example:
        >>> import torch
        >>> uniform_divergence(torch.zeros(1, 5)).abs().item() < 1e-6
        True

    Source:
        Li et al., "Extracting robust models with uncertain examples", ICLR 2023, alg. 1, line 7;
        its divergence is written without an order, and this is the one of the label (uniform)
        from the answer, as a loss has it.
    """
    return -logits.log_softmax(1).mean(1) - math.log(logits.shape[1])
