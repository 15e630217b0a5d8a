"""Difference-based adversarial training (Zhang et al. 2019; Song et al. 2019, eq. 11-12)."""

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn
from torch.nn import functional as F

from trilemma.attacks.evasion import PGD, BenignKL
from trilemma.training.objectives.batch import Batch, Loss
from trilemma.training.objectives.term import CONFIG, Term


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class TRADES(Term):
    r"""Cross-entropy on the data, and how far adversarial answers are from the benign (Diff-Based).

    .. math:: \ell(F, (x, y)) + \beta\, KL(F(x) \,\|\, F(x_{adv})), \quad
        x_{adv} = \arg\max_{\tilde x \in B(x)} KL(F(x) \,\|\, F(\tilde x))

    The direction is that of the authors' program, in which the benign answer is the reference, in
    the loss as in the attack. Eq. 11-12 write the arguments the other way round. Gradients flow
    through both answers. The divergence is flat at x, so the attack starts beside it: at a uniform
    draw from the ball, where the authors add normal noise of deviation 0.001.

    Args:
        attack: PGD that ascends the divergence: its `loss` is `BenignKL`.
        weight: beta, the authors' 1 / lambda; they recommend 1 to 10 and take 6 for CIFAR-10.

    Source:
        Zhang et al., "Theoretically principled trade-off between robustness and accuracy",
        ICML 2019, eq. 5; Song et al. 2019, eq. 11-12.
    """

    REVISION: ClassVar[int] = 1
    BY_ROW: ClassVar[bool] = True

    attack: PGD
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 6.0

    def __post_init__(self) -> None:
        if not isinstance(self.attack.loss, BenignKL):
            kind = type(self.attack.loss).__name__
            raise ValueError(f"attack.loss: must be BenignKL, which is ascended here; got {kind}")

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """Mean over the rows, in nats."""
        benign = batch.logits(model)
        adversarial = batch.adversarial_logits(model, self.attack)
        divergence = F.kl_div(
            adversarial.log_softmax(1),
            benign.log_softmax(1),
            reduction="batchmean",
            log_target=True,
        )
        return F.cross_entropy(benign, batch.y) + self.weight * divergence
