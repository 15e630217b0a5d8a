"""Training on adversarial examples: of all rows, of some, or by the Lagrangian relaxation."""

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn
from torch.nn import functional as F

from trilemma.attacks.evasion import Distributional, Evasion
from trilemma.training.objectives.batch import Batch, Loss
from trilemma.training.objectives.term import CONFIG, Term


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Adversarial(Term):
    """Cross-entropy on adversarial examples alone (Madry et al.; Song et al. 2019, eq. 8, alpha 0).

    Mixed with the natural loss it is eq. 8 for any alpha:
    `alpha * Natural() + (1 - alpha) * Adversarial(attack=...)`.

    Args:
        attack: makes the adversarial examples at each step, against the model as it is then, in
            eval mode.

    Source:
        Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.
    """

    REVISION: ClassVar[int] = 1
    BY_ROW: ClassVar[bool] = True

    attack: Evasion

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """Mean cross-entropy on the adversarial examples, in nats."""
        return F.cross_entropy(batch.adversarial_logits(model, self.attack), batch.y)


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class MixedAdversarial(Term):
    """Cross-entropy on adversarial examples of a part of the training set and on the rest as it is.

    Which rows are attacked is drawn once, from the training's seed, and stays the same in all
    epochs. The parts of growing ratios contain each other. Each row weighs the same.

    Args:
        attack: as in `Adversarial`.
        ratio: the adv-train ratio, in [0, 1]: round(ratio * n) of the n training rows are
            attacked.

    Source:
        Song et al., "Privacy risks of securing machine learning models", CCS 2019, section 5.2.2
        and table 5.
    """

    REVISION: ClassVar[int] = 1

    attack: Evasion
    ratio: Annotated[float, Field(ge=0, le=1)]

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """Mean cross-entropy over both kinds of rows, in nats."""
        return F.cross_entropy(batch.adversarial_logits(model, self.attack, self.ratio), batch.y)


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class DistributionalTraining(Term):
    r"""Cross-entropy on the examples of the Lagrangian relaxation alone (Sinha et al.; Dist-Based).

    .. math:: \ell(F, (\tilde x^*, y)), \quad
        \tilde x^* = \arg\max_{\tilde x} \ell(F, (\tilde x, y)) - \gamma \|\tilde x - x\|_p

    There is no ball whose radius could grow: while a training ramps up, the price is gamma over
    the strength, from infinite down to gamma.

    Args:
        attack: price, penalty (L_inf as in Song et al., or L_2) and steps.

    Source:
        Song et al. 2019, eq. 10; Sinha, Namkoong, Duchi, "Certifying some distributional
        robustness with principled adversarial training", ICLR 2018, algorithm 1 and appendix E.
    """

    REVISION: ClassVar[int] = 1
    BY_ROW: ClassVar[bool] = True

    attack: Distributional

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """Mean cross-entropy on the examples, in nats; the price of their distance left out."""
        return F.cross_entropy(batch.adversarial_logits(model, self.attack), batch.y)
