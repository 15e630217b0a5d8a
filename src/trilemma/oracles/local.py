"""A model in this process, asked."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.modes import evaluating
from trilemma.core.pace import usual
from trilemma.core.types import Classifier, Logits, LogProbs, Probs, Rows


@dataclass(frozen=True)
class Local:
    """A classifier in this process as an oracle.

    Args:
        model: logits out; queried in eval mode and handed back as it came.
        classes: how many classes an answer must cover.
        batch: rows at a time; changes speed and memory, not the answers. None is what is fast
            on most models.

    Example:
        >>> import torch
        >>> oracle = Local(torch.nn.Linear(2, 3), classes=3)
        >>> oracle(torch.zeros(4, 2)).shape
        torch.Size([4, 3])
    """

    model: Classifier
    classes: int
    batch: int | None = None

    def __call__(self, x: Rows) -> Probs:
        """(n, classes) probabilities, float64."""
        return _answers(self.model, x, self.classes, self.batch, torch.softmax)


def log_probabilities(
    model: Classifier, x: Rows, *, classes: int | None = None, batch: int | None = None
) -> LogProbs:
    """What `model` answers for each row: log softmax of its logits, in nats.

    In float64, so that confidences close to 1 stay apart.

    Args:
        model: logits out; queried in eval mode and handed back as it came.
        x: (n, *x) finite inputs.
        classes: how many logits there must be; None takes what comes.
        batch: rows at a time; changes speed and memory, not the answers. None is what is fast
            on most models.

    Returns:
        (n, k) float64 log-probabilities.

    Raises:
        BadInput: an input or an output is NaN or infinite; an output has the wrong shape.
    """
    return _answers(model, x, classes, batch, torch.log_softmax)


def _answers(
    model: Classifier,
    x: Rows,
    classes: int | None,
    batch: int | None,
    normal: Callable[[Tensor, int], Tensor],
) -> Tensor:
    with evaluating(model), torch.no_grad():
        # no_grad, not inference_mode: a student must be able to train on the answers
        batch = batch or 4 * usual(x).rows
        if len(x) <= batch:
            return normal(_ask(model, x, classes), 1)
        return torch.cat([normal(_ask(model, rows, classes), 1) for rows in x.split(batch)])


def _ask(model: Classifier, x: Rows, classes: int | None) -> Logits:
    _finite("inputs", x)
    logits = model(x)
    if (
        logits.dim() != 2
        or len(logits) != len(x)
        or logits.shape[1] != (classes or logits.shape[1])
    ):
        raise BadInput(
            "model",
            f"answered {len(x)} rows with an output of shape {tuple(logits.shape)}",
            f"It must be ({len(x)}, {classes or 'classes'}): one logit a class for each row",
        )
    _finite("model outputs", logits)
    return logits.double()


def _finite(what: str, rows: Tensor) -> None:
    if math.isfinite(rows.sum().item()):  # one pass, where a look at each number takes several
        return
    bad = ~rows.flatten(1).isfinite().all(1)
    if bool(bad.any()):  # not where finite numbers add up to infinity
        raise BadInput(
            what,
            f"{int(bad.sum())} of {len(rows)} rows hold NaN or infinite values"
            f" (the first is row {int(bad.nonzero()[0])})",
            "Every number must be finite",
        )
