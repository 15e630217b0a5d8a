"""Randomized smoothing: radii in which the label that Gaussian noise votes for is sure to stay."""

import math
from collections.abc import Iterator
from dataclasses import dataclass as plain
from typing import Annotated, ClassVar, TypeAlias

import torch
from jaxtyping import Float, Int
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy.special import betaincinv
from torch import Generator, Tensor

from trilemma.core.box import Box
from trilemma.core.errors import BadInput
from trilemma.core.pace import Pace, asking
from trilemma.core.types import Classifier, Labels, PerRow, Rows

Counts: TypeAlias = Int[Tensor, " n"]  # draws of noise, out of all
Votes: TypeAlias = Int[Tensor, "n k"]  # draws for which each class was the answer
NUMBERS = 2**20  # of the noise that lies in memory at once, about
DRAWS = 1024  # of the noise at once, at most


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Smoothing:
    r"""Randomized smoothing.

    The smoothed classifier answers with the label that is likeliest under noise,

    .. math:: G(x) = \arg\max_c P(M(x + \varepsilon) = c), \varepsilon \sim N(0, \sigma^2 I)

    Args:
        sigma: standard deviation of the noise, in the inputs' own unit.
        samples: draws by which a radius is estimated or bounded.
        selection: further draws, by which `certify_smoothed` chooses the label; n_0 of Cohen et al.
        alpha: probability, at most, with which the bound of a row is wrong.

    Source:
        Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing",
        ICML 2019; Li & Zhang 2021, appendix A.2.
    """

    REVISION: ClassVar[int] = 1

    sigma: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.25
    samples: Annotated[int, Field(ge=1)] = 1000
    selection: Annotated[int, Field(ge=1)] = 100
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.001


@plain(frozen=True)
class Smoothed:
    """What a smoothed classifier answers.

    Args:
        label: (n,) the likeliest under noise, as the draws of the selection say.
        radius: (n,) float64 l_2 radii in the inputs' unit, within which the label is sure to stay;
            0 where nothing is sure.
    """

    label: Labels
    radius: PerRow


def certified_radius(
    counts_true: Counts, counts_best_other: Counts, samples: int, sigma: float
) -> PerRow:
    r"""The radius that the observed frequencies stand for: an estimate, not a bound.

    .. math:: CR = \frac{\sigma}{2} [\Phi^{-1}(p_y) - \Phi^{-1}(\max_{j \ne y} p_j)]

    A frequency of 0 or 1 would stand for an infinite radius, of which so many draws know nothing.
    It is read as half a draw more, or less: no radius passes
    :math:`\sigma \Phi^{-1}(1 - 1 / (2 \cdot samples))`. All other frequencies are as observed.

    Args:
        counts_true: (n,) draws that were answered with the true label.
        counts_best_other: (n,) draws that were answered with the most frequent other label.
        samples: draws in all, the same for each row.
        sigma: standard deviation of the noise.

    Returns:
        (n,) float64 l_2 radii in the inputs' unit; 0 where the true label does not win.

    Raises:
        BadInput: counts that so many draws cannot have; sigma is not above 0.

    Example:
        >>> radius = certified_radius(torch.tensor([900, 100]), torch.tensor([100, 900]), 1000, 0.5)
        >>> [round(each, 4) for each in radius.tolist()]
        [0.6408, 0.0]

    Source:
        Li & Zhang 2021, eq. 5 and 6.
    """
    _check(counts_true, samples, sigma)
    _check(counts_best_other, samples, sigma)
    if bool((counts_true + counts_best_other > samples).any()):
        raise BadInput("counts", f"of two labels add up to more than {samples} draws")
    half = 1 / (2 * samples)
    own, rival = (
        torch.special.ndtri((counts.double() / samples).clamp(half, 1 - half))
        for counts in (counts_true, counts_best_other)
    )
    radius: Tensor = (sigma / 2 * (own - rival)).clamp(min=0)
    return radius


def certified_radius_lower(counts_top: Counts, samples: int, sigma: float, alpha: float) -> PerRow:
    r"""A lower bound of the radius, by the exact one-sided bound of a label's probability.

    .. math:: R = \sigma \Phi^{-1}(\underline{p_A}), \underline{p_A} = B^{-1}(\alpha; c, m - c + 1)

    with c the label's draws out of m, and B^-1 the inverse of the regularised incomplete beta
    function (Clopper-Pearson). It holds with probability 1 - alpha for each row, if the label was
    fixed before these draws: as the true label is, or one that other draws have chosen
    (`certify_smoothed`). A label chosen as the most frequent of the same draws has no such bound.

    Args:
        counts_top: (n,) draws that were answered with the label.
        samples: draws in all.
        sigma: standard deviation of the noise.
        alpha: probability of error, in (0, 1).

    Returns:
        (n,) float64 l_2 radii in the inputs' unit; 0 where the bound of the probability is not
        above 1/2.

    Raises:
        BadInput: counts that so many draws cannot have; sigma is not above 0; alpha is not in
            (0, 1).

    Example:
        >>> round(certified_radius_lower(torch.tensor([1000]), 1000, 0.5, 0.001).item(), 4)
        1.2316

    Source:
        Cohen et al. 2019, section 3.2.2; Clopper and Pearson, Biometrika 1934.
    """
    _check(counts_top, samples, sigma)
    if not 0 < alpha < 1:
        raise BadInput("alpha", f"is {alpha}", "Give a probability between 0 and 1")
    found, back = counts_top.unique(return_inverse=True)  # few, however many rows
    hits = found.cpu().double().numpy()
    lower = torch.from_numpy(betaincinv(hits.clip(min=1), samples - hits + 1, alpha))
    lower = lower.where(found.cpu() > 0, 0.0).clamp(min=0.5, max=1 - torch.finfo(lower.dtype).eps)
    radius: Tensor = sigma * torch.special.ndtri(lower).clamp(min=0)
    return radius.to(counts_top.device)[back]


def own_and_rival(votes: Votes, y: Labels) -> tuple[Counts, Counts]:
    """The votes for a label, and those for the best of the others.

    Args:
        votes: (n, k) draws for each class.
        y: (n,) labels.

    Example:
        >>> own, rival = own_and_rival(torch.tensor([[7, 1, 2]]), torch.tensor([2]))
        >>> own.item(), rival.item()
        (2, 7)
    """
    if y.shape != votes.shape[:1] or (
        len(y) and not 0 <= int(y.min()) <= int(y.max()) < votes.shape[1]
    ):
        raise BadInput(
            "y", f"has shape {tuple(y.shape)} or labels that have no column in the votes"
        )
    at = y.unsqueeze(1)
    own = votes.gather(1, at).squeeze(1)
    return own, votes.scatter(1, at, -1).amax(1).clamp(min=0)


def noisy_counts(
    target: Classifier,
    x: Rows,
    config: Smoothing,
    *,
    rng: Generator,
    box: Box | None = None,
    batch: int | None = None,
) -> Votes:
    """How often each class is the answer under Gaussian noise.

    All rows meet the same bank of noise: a row's counts depend on no other row. Each row's bounds
    hold with their probability; those of different rows are not independent. A bank of more
    samples begins with that of fewer.

    Args:
        target: a model, queried in eval mode and handed back as it came, or an oracle, which
            answers `config.samples` queries a row.
        x: (n, *s) inputs, n >= 1.
        config: how much noise, and how many draws.
        rng: draws the noise.
        box: the valid inputs: noisy ones are clipped to it. The radii are then those of a model
            that clips its input, and hold as well; None for all inputs, as in the papers.
        batch: noisy inputs at a time; changes speed and memory, not the answers; None measures
            what is fastest.

    Returns:
        (n, k), each row adding up to `config.samples`; of equal logits the first counts.

    Raises:
        BadInput: no rows; an answer is NaN or infinite, or not one number a class.
    """
    with asking(target, x, gradients=False, questions=len(x) * config.samples, batch=batch) as pace:
        return _counted(target, x, _noise(x, config.samples, rng), config.sigma, box, pace)


def certify_smoothed(
    target: Classifier,
    x: Rows,
    config: Smoothing,
    *,
    rng: Generator,
    box: Box | None = None,
    batch: int | None = None,
) -> Smoothed:
    """The smoothed classifier's labels, and radii in which they are sure to stay.

    `config.selection` draws choose the label, `config.samples` others bound its probability, so
    that the bound is honest. A radius of 0 is what Cohen et al. call to abstain: the label is the
    likeliest as far as a few draws can tell. As the papers do, take 0 where it is not the true one.

    Args:
        target: as in `noisy_counts`; an oracle answers selection + samples queries a row.
        x: (n, *s) inputs, n >= 1.
        config: how much noise, how many draws, how sure.
        rng: draws the noise.
        box: as in `noisy_counts`.
        batch: as in `noisy_counts`.

    Raises:
        BadInput: as `noisy_counts`.

    Source:
        Cohen et al. 2019, CERTIFY (section 3.2.2).
    """
    draws = config.selection + config.samples
    with asking(target, x, gradients=False, questions=len(x) * draws, batch=batch) as pace:
        first = _counted(target, x, _noise(x, config.selection, rng), config.sigma, box, pace)
        label = first.argmax(1)
        votes = _counted(target, x, _noise(x, config.samples, rng), config.sigma, box, pace)
    own, _ = own_and_rival(votes, label)
    radius = certified_radius_lower(own, config.samples, config.sigma, config.alpha)
    return Smoothed(label=label, radius=radius)


def _noise(x: Rows, samples: int, rng: Generator) -> Iterator[Float[Tensor, "d *s"]]:
    """A bank of standard normal draws for inputs like x, a block at a time.

    Blocks are drawn whole, of a size that follows from an input's alone, so that neither the batch
    nor the number of samples changes a draw; in float32, so that the inputs' type does not either.
    """
    shape = x.shape[1:]
    size = max(1, min(DRAWS, NUMBERS // max(1, math.prod(shape))))
    for start in range(0, samples, size):
        block = torch.randn(size, *shape, generator=rng, device=rng.device, dtype=torch.float32)
        yield block[: samples - start].to(x)


@torch.no_grad()
def _counted(
    target: Classifier,
    x: Rows,
    noise: Iterator[Float[Tensor, "d *s"]],
    sigma: float,
    box: Box | None,
    pace: Pace,
) -> Votes:
    """The answers to all pairs of a row and a draw, in full calls."""
    if len(x) == 0:
        raise BadInput("x", "has no rows", "Give at least one")
    votes: Tensor | None = None
    finite = torch.ones((), dtype=torch.bool, device=x.device)
    for block in noise:
        draws = len(block)
        for part in pace.slices(len(x) * draws):
            pair = torch.arange(part.start, part.stop, device=x.device)
            row = pair // draws
            noisy = x[row].add_(block[pair % draws], alpha=sigma)
            answer = target(pace.lay(noisy if box is None else box.clip_(noisy)))
            if answer.dim() != 2 or len(answer) != len(pair):
                shape = tuple(answer.shape)
                raise BadInput(
                    "model", f"answered {len(pair)} rows with an output of shape {shape}"
                )
            finite &= answer.isfinite().all()
            votes = votes if votes is not None else _none(x, answer)
            place = row * votes.shape[1] + answer.argmax(1)
            votes.view(-1).index_add_(0, place, torch.ones_like(place))
    if votes is None or not bool(finite):
        raise BadInput("model outputs", "are NaN or infinite", "Every number must be finite")
    return votes


def _none(x: Rows, answer: Tensor) -> Votes:
    return torch.zeros(len(x), answer.shape[1], dtype=torch.int64, device=x.device)


def _check(counts: Counts, samples: int, sigma: float) -> None:
    if not (math.isfinite(sigma) and sigma > 0):
        raise BadInput("sigma", f"is {sigma}", "Give a standard deviation above 0")
    if samples < 1 or bool(((counts < 0) | (counts > samples)).any()):
        raise BadInput(
            "counts", f"are not all among 0 ... {samples}", "Give draws out of all, 1 or more"
        )
