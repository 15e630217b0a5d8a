"""What the epochs of a training did, and whether they show that it collapsed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trilemma.core.errors import TrainingCollapsed
from trilemma.oracles import log_probabilities

PATIENCE = 10  # epochs in a row at the loss of an uninformed answer before a collapse is called
FEWEST = 3  # such epochs that make a collapse where the training ends before PATIENCE
NEAR = 0.01  # relative distance from that loss; largest spread of answers that ignore the input
SAMPLE = 256  # rows that are asked whether the answers depend on the input


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one pass over the data did.

    Args:
        loss: mean over the rows, each before its step, in nats.
        strength: share of an attack's radius.
        learning_rate: of the optimiser.
        robust_accuracy: on the validation rows after it, where there are some and the strength
            is full.
        by_row: of the loss the terms that say how well the rows are classified, with weights that
            add up to 1 (`objectives.by_row`); None where that is the loss itself.
    """

    loss: float
    strength: float
    learning_rate: float
    robust_accuracy: float | None = None
    by_row: float | None = None

    @property
    def classifying(self) -> float:
        """Without what penalties, games or weights add, so that it compares with ln k."""
        return self.loss if self.by_row is None else self.by_row


def uninformed(y: Tensor, classes: int) -> tuple[float, ...]:
    """The loss of answers that ignore the input, in nats.

    Of the classes' shares (those of the labels, or the mean of soft targets) that is their
    entropy, the least that such an answer reaches; of the uniform distribution it is ln k. Both
    are the same where the classes are balanced.

    Args:
        y: (n,) labels, or (n, k) soft targets.
        classes: k.
    """
    soft = y.dim() == 2
    shares = y.double().mean(0) if soft else torch.bincount(y, minlength=classes).double() / len(y)
    entropy = -float(torch.special.xlogy(shares, shares).sum())
    return tuple(loss for loss in (entropy, math.log(classes)) if loss > 0)


def refuse_collapse(
    history: Sequence[Epoch],
    model: nn.Module,
    x: Tensor,
    answerless: tuple[float, ...],
    *,
    ended: bool,
) -> None:
    """Raise where the loss stays that of an uninformed answer and the answers ignore the input.

    Short of PATIENCE epochs at full strength only the end of the training tells: a model that was
    still to leave this loss has then had its time, if it had FEWEST such epochs and no other.

    Args:
        history: the epochs so far.
        model: as the last one left it.
        x: some rows to ask it about.
        answerless: the losses of answers that ignore the input.
        ended: whether there is no further epoch.

    Raises:
        TrainingCollapsed: it does.
    """
    full = [each for each in history if each.strength == 1]
    recent = full[-PATIENCE:]
    if len(recent) < (FEWEST if ended else PATIENCE):
        return
    if not all(any(abs(each.classifying - h) <= NEAR * h for h in answerless) for each in recent):
        return
    answers = log_probabilities(model, x).exp()
    if (answers.amax(0) - answers.amin(0)).max() <= NEAR:
        loss = history[-1].classifying
        raise TrainingCollapsed(
            epoch=len(history),
            loss=loss,
            chance=min(answerless, key=lambda h: abs(loss - h)),
            learning_rate=history[-1].learning_rate,
        )
