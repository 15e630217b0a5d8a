"""Membership from what a score should be without it: quantile regression (Bertran et al. 2023)."""

from collections.abc import Callable
from dataclasses import dataclass as record
from typing import Annotated, ClassVar, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor

from trilemma.attacks.membership.adversarial_confidence import AdversarialConfidence
from trilemma.attacks.membership.augmentation_robustness import AugmentationRobustness
from trilemma.attacks.membership.boundary_distance import BoundaryDistance
from trilemma.attacks.membership.confidence import Confidence
from trilemma.attacks.membership.noise_robustness import NoiseRobustness
from trilemma.attacks.membership.smoothed_radius import SmoothedRadius
from trilemma.attacks.membership.statistics import Statistic
from trilemma.attacks.membership.verified_confidence import VerifiedConfidence
from trilemma.core.errors import BadInput
from trilemma.core.modes import evaluating
from trilemma.core.pace import usual
from trilemma.core.types import PerRow, Rows

REACH = 10.0  # deviations from the mean at which a score that is learnt from is cut
LEAST = 1e-3  # of the spread between the outer quantiles, in deviations
FEWEST = 10  # known rows

Level: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
Outputs: TypeAlias = Float[Tensor, "n p"]  # of a regression, p numbers a row
Scored: TypeAlias = (
    Confidence
    | AdversarialConfidence
    | VerifiedConfidence
    | Statistic
    | BoundaryDistance
    | NoiseRobustness
    | AugmentationRobustness
    | SmoothedRadius
)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Gaussian:
    r"""A normal distribution for each row: mean and logarithm of the deviation are learnt.

    .. math:: \log \sigma(x) + \frac{(s - \mu(x))^2}{2 \sigma(x)^2}

    Source: Bertran et al. 2023, section 4.
    """


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Pinball:
    r"""Quantiles of each row's distribution, one of each level, learnt by the pinball loss.

    .. math:: \frac1k \sum_i \max\{\tau_i (s - q_i(x)), (\tau_i - 1)(s - q_i(x))\}

    Source: Bertran et al. 2023, section 3; Koenker & Bassett, Econometrica 1978.

    Args:
        levels: :math:`\tau_1 < \dots < \tau_k`. A level of 0.99 is the test with 1 % false alarms.
    """

    levels: Annotated[tuple[Level, ...], Field(min_length=2)] = (
        *(0.05, 0.1, 0.25, 0.5),
        *(0.75, 0.9, 0.95, 0.99),
    )

    def __post_init__(self) -> None:
        if any(b <= a for a, b in zip(self.levels, self.levels[1:], strict=False)):
            raise BadInput("levels", f"are {list(self.levels)}", "Give them in ascending order")


Regression: TypeAlias = Gaussian | Pinball


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class QuantileRegression:
    r"""Quantile regression of non-members' scores (QMIA).

    On rows that the model was not trained on, a network learns which scores are to be expected of
    an input; a record is called a member when its score lies high among those that the network
    expects for it. No model like the target is trained.

    Source: Bertran et al., "Scalable membership inference attacks via quantile regression",
    NeurIPS 2023.

    Args:
        signal: the scores: the log-odds of a confidence (as it is, under attack, in the worst
            case), or another membership signal.
        loss: what is learnt of their distribution.
        patience: the fitting ends after so many epochs in a row without a lower loss on the known
            rows that it holds out; the epoch with the lowest is kept.
    """

    REVISION: ClassVar[int] = 1

    signal: Scored = Confidence()
    loss: Regression = Gaussian()
    patience: Annotated[int, Field(ge=1)] = 10


@record(frozen=True, eq=False)
class Criterion:
    """What a regression descends.

    Args:
        outputs: how many numbers it gives for a row.
        loss: called as (outputs, targets), (n, p) and (n,); gives (n,).
    """

    outputs: int
    loss: Callable[[Tensor, Tensor], Tensor]


Regress: TypeAlias = Callable[[Tensor, Tensor, Criterion, Generator], Callable[[Tensor], Tensor]]


def criterion(config: Regression) -> Criterion:
    """The loss of a regression, and how many outputs it takes.

    Example:
        >>> median = criterion(Pinball(levels=(0.25, 0.75)))
        >>> median.loss(torch.zeros(1, 2), torch.tensor([1.0]))
        tensor([0.5000])
    """
    if isinstance(config, Gaussian):
        return Criterion(2, gaussian_loss)
    levels = torch.tensor(config.levels, dtype=torch.float64)
    return Criterion(len(levels), lambda q, s: pinball_loss(q, s, levels.to(q)))


def gaussian_loss(outputs: Outputs, s: PerRow) -> PerRow:
    """Negative log-likelihood of scores in nats, less the constant; outputs are mu, log sigma."""
    mean, log_deviation = outputs.unbind(1)
    return log_deviation + ((s - mean) * (-log_deviation).exp()).square() / 2


def pinball_loss(outputs: Outputs, s: PerRow, levels: Float[Tensor, " p"]) -> PerRow:
    """Mean over the levels of the loss that a quantile minimises."""
    above = s.unsqueeze(1) - outputs
    return torch.maximum(levels * above, (levels - 1) * above).mean(1)


def quantile_regression(
    signal: PerRow,
    x: Rows,
    known_signal: Float[Tensor, " m"],
    known_x: Float[Tensor, "m *x"],
    config: QuantileRegression | None = None,
    *,
    regress: Regress,
    rng: Generator,
) -> PerRow:
    r"""How far a row's score lies above what is expected of it, were it no member.

    With a normal distribution that is :math:`z = (s - \mu(x)) / \sigma(x)`. From quantiles,
    in ascending order, :math:`z` is :math:`\Phi^{-1}(\tau_i)` at each :math:`q_i(x)`, on the
    straight lines between them, and beyond the outer two on straight lines with the slope from the
    first quantile to the last: of a row whose scores are normally distributed it is the same. For
    each level :math:`z \ge \Phi^{-1}(\tau_i)` just where :math:`s \ge q_i(x)`, the paper's test.
    So a threshold :math:`\Phi^{-1}(1 - \alpha)` has the false positive rate :math:`\alpha` as far
    as the regression is right, and only the known rows were looked at for it.

    Args:
        signal: (n,) the target's scores of the judged rows, larger for members; maybe infinite.
        x: (n, *x) these rows.
        known_signal: (m,) its scores of rows that it was not trained on, at least 10.
        known_x: (m, *x) these rows.
        config: variant.
        regress: called as (x, scores, criterion, rng), trains a network on the known rows, their
            scores being less their mean, over their deviation, and cut at 10 of these.
        rng: of the training.

    Returns:
        (n,) float64, larger means likelier a member; standard normal over non-members as far as
        the regression is right.

    Raises:
        BadInput: fewer than 10 known rows; a score that is no number; an answer of the regression
            that is not finite.

    Source:
        Bertran et al., NeurIPS 2023, algorithm 1 and section 4.
    """
    config = config or QuantileRegression()
    _check(signal, known_signal)
    signal, known_signal = signal.double(), known_signal.double()
    some = known_signal[known_signal.isfinite()]
    mean, deviation = some.mean(), some.std(correction=0)
    scale = torch.where(deviation > 0, deviation, 1.0)
    known = ((known_signal - mean) / scale).clamp(-REACH, REACH)
    network = regress(known_x, known.to(known_x.dtype), criterion(config.loss), rng)
    return z_scores((signal - mean) / scale, _asked(network, x), config.loss)


def z_scores(s: PerRow, outputs: Outputs, config: Regression) -> PerRow:
    """Where scores lie among what a regression expects, on the scale of the normal distribution.

    Example:
        >>> q = torch.tensor([[1.0, 3.0]], dtype=torch.float64)
        >>> s = torch.tensor([3.0], dtype=torch.float64)
        >>> z_scores(s, q, Pinball(levels=(0.5, 0.975)))
        tensor([1.9600], dtype=torch.float64)
    """
    if isinstance(config, Gaussian):
        mean, log_deviation = outputs.unbind(1)
        return (s - mean) * (-log_deviation).exp()
    z = torch.special.ndtri(torch.tensor(config.levels, dtype=s.dtype, device=s.device))
    # Learnt one by one, quantiles may cross; in order they are no worse (Chernozhukov et al. 2010)
    q = outputs.sort(dim=1).values.contiguous()
    s = s.unsqueeze(1)
    after = torch.searchsorted(q, s, right=True).clamp(1, q.shape[1] - 1)
    low, high = q.gather(1, after - 1), q.gather(1, after)
    share = ((s - low) / (high - low).clamp(min=torch.finfo(s.dtype).tiny)).clamp(0, 1)
    share = share.masked_fill(s >= high, 1)  # of quantiles that are equal the last is passed, too
    between = z[after - 1] + share * (z[after] - z[after - 1])
    slope = (z[-1] - z[0]) / (q[:, -1:] - q[:, :1]).clamp(min=LEAST)
    beyond = (s - q[:, -1:]).clamp(min=0) + (s - q[:, :1]).clamp(max=0)
    found: Tensor = between + slope * beyond
    return found.squeeze(1)


def _asked(network: Callable[[Tensor], Tensor], x: Rows) -> Outputs:
    """The network's answers in eval mode, float64."""
    with evaluating(network), torch.no_grad():
        parts = [network(rows) for rows in x.split(4 * usual(x).rows)]
        answers: Tensor = torch.cat(parts).double()
    if not bool(answers.isfinite().all()):
        raise BadInput("regression", "answers NaN or infinity", "Lower its learning rate")
    return answers


def _check(signal: Tensor, known: Tensor) -> None:
    if len(known) < FEWEST:
        raise BadInput(
            "known non-members",
            f"are {len(known)} rows, from which no distribution is learnt",
            f"Give {FEWEST} at least (`shadow` of the data)",
        )
    for name, scores in (("signal", signal), ("signal of known non-members", known)):
        if bool(scores.isnan().any()):
            raise BadInput(name, f"is NaN for {int(scores.isnan().sum())} of {len(scores)} rows")
    if not bool(known.isfinite().any()):
        raise BadInput("signal of known non-members", "is infinite everywhere", "Take another one")
