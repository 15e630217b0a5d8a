"""Losses of the verified worst case: no input of the ball does worse (Song et al. 2019, eq. 13)."""

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn
from torch.nn import functional as F

from trilemma.attacks.evasion.losses import logit_of, strongest_rival
from trilemma.bounds import Domain, Interval
from trilemma.core.balls import Ball
from trilemma.training.objectives.batch import Batch, Loss
from trilemma.training.objectives.term import CONFIG, Term, check_hard

INTERVAL = Interval()


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Verified(Term):
    r"""Cross-entropy of the verified worst case (Wong & Kolter, with the dual; eq. 13, alpha 0).

    .. math:: \ell(-J, y), \quad J_j \le \min_{\tilde x \in B(x)} g_y(\tilde x) - g_j(\tilde x)

    Since the cross-entropy rises with every logit but y's and no shift changes it, this is at
    least the cross-entropy of any input of the ball. The radius grows with the training's
    strength; at 0 it is the natural loss. Mixed with that it is eq. 13 for any alpha.

    Args:
        ball: norm and full radius.
        domain: how J is found; one that projects at random draws its projections anew at each
            step.

    Source:
        Wong & Kolter, "Provable defenses against adversarial examples via the convex outer
        adversarial polytope", ICML 2018, theorem 2; Wong et al., "Scaling provable adversarial
        defenses", NeurIPS 2018.
    """

    REVISION: ClassVar[int] = 1
    SOFT: ClassVar[bool] = False

    ball: Ball
    domain: Domain

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """Mean over the rows, in nats."""
        check_hard(self, batch.y)
        return F.cross_entropy(batch.worst_case(model, self.ball, self.domain), batch.y)


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class AbstractInterpretation(Term):
    r"""Softplus of the largest verified lead of a wrong logit (Mirman et al.; eq. 14).

    .. math:: \log(1 + \exp(\max_{y' \ne y} u_{y'})), \quad
        u_{y'} \ge \max_{\tilde x \in B(x)} g_{y'}(\tilde x) - g_y(\tilde x)

    Eq. 14 writes the loss of one input, and V its upper bound over the ball; here each difference
    of two logits is bounded by itself, and the maximum is taken of the bounds. To be mixed with
    the natural loss: `Natural() + 0.1 * AbstractInterpretation(...)`. The radius grows with the
    training's strength; at 0 the logits are those of the data.

    Args:
        ball: norm and full radius.
        domain: how u is found.

    Source:
        Mirman, Gehr, Vechev, "Differentiable abstract interpretation for provably robust neural
        networks", ICML 2018; Song et al. 2019, eq. 14.
    """

    REVISION: ClassVar[int] = 1
    SOFT: ClassVar[bool] = False

    ball: Ball
    domain: Domain

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """Mean over the rows, in nats."""
        check_hard(self, batch.y)
        worst = batch.worst_case(model, self.ball, self.domain)
        return F.softplus(strongest_rival(worst, batch.y) - logit_of(worst, batch.y)).mean()


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class IntervalBoundPropagation(Term):
    r"""Cross-entropy of the data and of their interval bounds, with both schedules (Gowal et al.).

    .. math:: \kappa_t \ell(g(x), y) + (1 - \kappa_t) \ell(-J_t, y), \quad
        \kappa_t = 1 - s_t (1 - \kappa),

    J_t the interval bounds of the margins in a ball of s_t times the radius, the last layer merged
    into them, and s_t the training's strength: from 0 (natural training, no bounds computed) up
    the ramp to 1.

    Args:
        ball: norm and full radius.
        kappa: share of the natural loss in the end, in [0, 1].

    Source:
        Gowal et al., "On the effectiveness of interval bound propagation for training verifiably
        robust models", 2018, section 3.
    """

    REVISION: ClassVar[int] = 1
    SOFT: ClassVar[bool] = False

    ball: Ball
    kappa: Annotated[float, Field(ge=0, le=1)] = 0.5

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """Mean over the rows, in nats."""
        check_hard(self, batch.y)
        kappa = 1 - batch.strength * (1 - self.kappa)
        natural = F.cross_entropy(batch.logits(model), batch.y)
        if kappa == 1:
            return natural
        worst = batch.worst_case(model, self.ball, INTERVAL)
        return kappa * natural + (1 - kappa) * F.cross_entropy(worst, batch.y)
