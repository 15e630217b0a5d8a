"""Natural training."""

from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import nn
from torch.nn import functional as F

from trilemma.training.objectives.batch import Batch, Loss
from trilemma.training.objectives.term import Term


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Natural(Term):
    """Cross-entropy on the training data as they are (Song et al. 2019, eq. 2-3)."""

    REVISION: ClassVar[int] = 1
    BY_ROW: ClassVar[bool] = True

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """Mean cross-entropy, in nats."""
        return F.cross_entropy(batch.logits(model), batch.y)
