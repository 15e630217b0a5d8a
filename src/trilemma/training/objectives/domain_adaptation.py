"""Benign and adversarial logits drawn to one distribution (Chuanbiao Song et al. 2019)."""

from typing import Annotated, ClassVar, TypeAlias

from jaxtyping import Float
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from trilemma.attacks.evasion import Evasion
from trilemma.core.errors import BadInput
from trilemma.core.types import Logits
from trilemma.training.objectives.batch import Batch, Loss
from trilemma.training.objectives.term import CONFIG, Term

NO_ATTACK = "Name it, or add the term to an objective that trains against one attack"
Weight: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class DomainAdaptation(Term):
    r"""How far the benign and the adversarial logits of a batch differ in mean and covariance (DA).

    .. math:: \frac1k \|\mu(Z) - \mu(Z_{adv})\|_1 + \frac1{k^2} \|C(Z) - C(Z_{adv})\|_1

    Z are the logits of the batch over k classes, mu their mean and C their covariance, over n - 1;
    the first term is called MMD, the second CORAL. A penalty, to be added to a loss: the authors
    take `Natural() + Adversarial(attack=a) + DomainAdaptation(attack=a) * (1 / 3)` and a further
    term that Song et al. 2019, section 7.2.2, leave out.

    It compares distributions, so that rows of a batch do not count one by one; a batch of one row
    has no covariance.

    Args:
        attack: makes the adversarial examples. None in a sum takes that of the other terms, where
            they have one in common: `Adversarial(attack=a) + 0.1 * DomainAdaptation()`.
        means: weight of the first term.
        covariances: weight of the second; the authors' program does not divide by n - 1, which
            is a weight of n - 1.

    Source:
        Song, He, Wang, Hopcroft, "Improving the generalization of adversarial training with domain
        adaptation", ICLR 2019, the unsupervised part of its loss.
    """

    REVISION: ClassVar[int] = 1
    APART: ClassVar[bool] = False

    attack: Evasion | None = None
    means: Weight = 1.0
    covariances: Weight = 1.0

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """The distance; 0 where the adversarial examples are the benign ones.

        Raises:
            BadInput: there is no attack.
        """
        if self.attack is None:
            raise BadInput("DomainAdaptation.attack", "is missing", NO_ATTACK)
        benign = batch.logits(model)
        adversarial = batch.adversarial_logits(model, self.attack)
        means = (benign.mean(0) - adversarial.mean(0)).abs().mean()
        covariances = (covariance(benign) - covariance(adversarial)).abs().mean()
        return self.means * means + self.covariances * covariances


def covariance(z: Logits) -> Float[Tensor, "k k"]:
    """Of the columns, over n - 1; zeros where there is one row."""
    centred = z - z.mean(0)
    return centred.T @ centred / max(len(z) - 1, 1)
