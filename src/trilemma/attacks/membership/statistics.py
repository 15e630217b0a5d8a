"""Membership from one number of an answer: loss, largest confidence, entropy, modified entropy."""

import math
from collections.abc import Callable, Mapping
from typing import ClassVar, TypeAlias

import torch
from pydantic.dataclasses import dataclass
from torch import nn

from trilemma.core.types import Classifier, Labels, LogProbs, PerRow, Rows
from trilemma.oracles import Oracle, log_probabilities


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Loss:
    """Cross-entropy loss.

    A record is called a member when the loss on its true label is at most a threshold: in its
    order the confidence itself.

    Source: Yeom et al., CSF 2018; Li & Zhang 2021, eq. 1.
    """

    REVISION: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class MaxConfidence:
    """Largest confidence.

    A record is called a member when the probability of the most probable class, whether it is the
    true one or not, is at least a threshold.

    Source: Salem et al., NDSS 2019; Li & Zhang 2021, section 3.4.
    """

    REVISION: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Entropy:
    r"""Normalised entropy of the answer.

    A record is called a member when :math:`-\frac{1}{\log K} \sum_i p_i \log p_i` is at most a
    threshold; the label is not looked at.

    Source: Shokri et al., S&P 2017; Li & Zhang 2021, section 3.4.
    """

    REVISION: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class ModifiedEntropy:
    r"""Modified entropy of the answer.

    A record is called a member when
    :math:`-(1 - p_y) \log p_y - \sum_{i \ne y} p_i \log (1 - p_i)` is at most a threshold: unlike
    the entropy it is large where the model is sure of a wrong class.

    Source: Song & Mittal, "Systematic evaluation of privacy risks", USENIX Security 2021, eq. 8.
    """

    REVISION: ClassVar[int] = 1


Statistic: TypeAlias = Loss | MaxConfidence | Entropy | ModifiedEntropy


def _loss(answers: LogProbs, y: Labels) -> PerRow:
    return answers.gather(1, y.view(-1, 1)).squeeze(1)


def _max_confidence(answers: LogProbs, y: Labels) -> PerRow:
    return answers.amax(1)  # its logarithm, which rounds no confidence near 1 to 1


def _entropy(answers: LogProbs, y: Labels) -> PerRow:
    return _product(answers.exp(), answers).sum(1) / math.log(answers.shape[1])


def _modified_entropy(answers: LogProbs, y: Labels) -> PerRow:
    p, others = answers.exp(), torch.log(-torch.expm1(answers))  # log(1 - p)
    own = torch.zeros_like(p).scatter(1, y.view(-1, 1), 1.0).bool()
    terms = torch.where(own, _product(1 - p, answers), _product(p, others))
    return terms.sum(1)


def _product(weight: LogProbs, logs: LogProbs) -> LogProbs:
    """0 where the weight is, even if the logarithm is infinite."""
    return torch.where(weight == 0, 0.0, weight * logs)


STATISTICS: Mapping[type[Statistic], Callable[[LogProbs, Labels], PerRow]] = {
    Loss: _loss,
    MaxConfidence: _max_confidence,
    Entropy: _entropy,
    ModifiedEntropy: _modified_entropy,
}


def statistic(answers: LogProbs, y: Labels, config: Statistic) -> PerRow:
    """A statistic of answers that are already there.

    Args:
        answers: (n, k) log-probabilities, k >= 2.
        y: (n,) true labels.
        config: which.

    Returns:
        (n,), larger means likelier a member: the log-probability of the true class or of the
        most probable one, or the negative of an entropy.

    Example:
        >>> answers = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log()
        >>> statistic(answers, torch.tensor([0, 1]), Entropy())
        tensor([-1.0000, -0.4690])
    """
    return STATISTICS[type(config)](answers, y)


def statistic_signal(target: Classifier | Oracle, x: Rows, y: Labels, config: Statistic) -> PerRow:
    """A statistic of what the target answers about each row.

    Args:
        target: a model (logits out) or an oracle (probabilities out).
        x: (n, *x) inputs.
        y: (n,) true labels.
        config: which.

    Returns:
        (n,) float64, larger means likelier a member; minus infinity where a loss is infinite.

    Raises:
        BadInput: an output is not finite or has the wrong shape.
    """
    if isinstance(target, Oracle) and not isinstance(target, nn.Module):
        return statistic(target(x).double().log(), y, config)
    return statistic(log_probabilities(target, x), y, config)
