"""Membership from networks that learnt to tell predictions apart (Song et al. 2019, 5.2.5)."""

from dataclasses import dataclass as record
from typing import Annotated, ClassVar, TypeAlias

import torch
from jaxtyping import Bool, Float
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor

from trilemma.attacks.evasion import PGD, Evasion, attack_of, targeted_examples
from trilemma.core.box import UNIT, Box
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput, TrainingCollapsed
from trilemma.core.generators import draw_seed, seeded
from trilemma.core.pace import usual
from trilemma.core.types import Classifier, Fit, Labels, PerRow, Rows
from trilemma.oracles import log_probabilities

CONFIG = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
REACH = 10.0  # deviations from the mean at which a feature is cut
Count: TypeAlias = Annotated[int, Field(ge=1)]
Features: TypeAlias = Float[Tensor, "n f"]
Lesson: TypeAlias = Float[Tensor, "m f"]  # features of known rows
Member: TypeAlias = Bool[Tensor, " m"]


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Benign:
    """The inputs as they are."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Untargeted:
    """One adversarial example of each input.

    Args:
        attack: what makes it.
    """

    attack: Evasion


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Targeted:
    """Adversarial examples of each input, one towards each wrong label (eq. 19).

    Args:
        attack: what makes them.
    """

    attack: PGD


Examples: TypeAlias = Benign | Untargeted | Targeted


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class ModelInference:
    """Inference networks on predictions (model-infer).

    For each label a small network learns on some members and non-members to tell them apart by
    the model's predictions on them, or on adversarial examples of them; it judges the others.

    Source: Song et al. 2019, sections 3.3.1 and 5.2.5, after Shokri et al., S&P 2017.

    Args:
        examples: whose predictions the networks see.
        fitting: known members, and as many known non-members, of each label; where a label has
            fewer than twice as many, half of the rarer kind.
        hidden: widths of the networks' layers before the last, which has 2 outputs.
        epochs: passes over the known rows; the paper does not say how many.
    """

    REVISION: ClassVar[int] = 1

    examples: Examples
    fitting: Count = 500
    hidden: tuple[Count, ...] = (200, 20)
    epochs: Count = 30


@record(frozen=True, kw_only=True, eq=False)
class Known:
    """Rows of which an attacker knows whether a model was trained on them.

    Args:
        model: that model: the target itself (the worst case), or a shadow model.
        data: the rows and their labels.
        member: (n,) which of them it was trained on.

    Raises:
        BadInput: as many answers as rows are needed; labels must be whole numbers.
    """

    model: Classifier
    data: Dataset
    member: Tensor

    def __post_init__(self) -> None:
        if self.member.shape != self.data.y.shape or self.member.dtype != torch.bool:
            raise BadInput(
                "known membership",
                f"has shape {tuple(self.member.shape)} and type {self.member.dtype} beside"
                f" {len(self.data)} rows",
                "Give one boolean a row, and one label",
            )


def model_inference(
    model: Classifier,
    x: Rows,
    y: Labels,
    known: Known,
    config: ModelInference,
    *,
    fit: Fit,
    box: Box = UNIT,
    rng: Generator,
) -> PerRow:
    r"""Log-odds of membership, by the inference network of each row's label.

    .. math:: s(x, y) = g^y_1(\phi(x)) - g^y_0(\phi(x)), \quad \phi(x) = \log F(x)
              \text{ or } \log F(x_{adv}) \text{ or } (\log F(\tilde x_{y'}))_{y' \ne y}

    The paper feeds the networks prediction vectors; here these are log-probabilities, in which
    confident predictions differ that probabilities round to 1, less their mean over the known rows
    of the label, divided by their deviation there and cut at 10 deviations. The rows to be judged
    change nothing in how they are judged: each one's score depends on itself, the known rows and
    the seed.

    Args:
        model: the target; logits out; queried in eval mode and handed back as it came.
        x: (n, *x) inputs inside `box`, none of them among the known.
        y: (n,) true labels.
        known: what the networks learn from. Their order does not count.
        config: whose predictions count. `fitting`, `hidden` and `epochs` are for whoever chooses
            the known rows and makes `fit`.
        fit: trains a network of two classes, 1 for members, on (m, f) float32 features.
        box: the valid inputs.
        rng: the attack's randomness, and a seed for each label's network.

    Returns:
        (n,) float64; larger means more likely a member, above 0 more likely than not. 0 for each
        row of a label of which no member or no non-member is known, or whose network learnt
        nothing (`TrainingCollapsed`): there is no evidence.

    Raises:
        BadInput: an input lies outside the box; an output is not finite.

    Source:
        Song et al., "Privacy risks of securing machine learning models", CCS 2019, sections 3.3.1
        and 5.2.5.
    """
    start = draw_seed(rng)  # the same for known and judged rows, which must not differ by it
    lesson = _features(known.model, known.data.x, known.data.y, config.examples, box, start)
    found = _features(model, x, y, config.examples, box, start)
    scores = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    labels = max([0, *(int(each.max()) + 1 for each in (y, known.data.y) if len(each))])
    for label, seed in enumerate([draw_seed(rng) for _ in range(labels)]):
        own, taught = y == label, known.data.y == label
        member = known.member[taught]
        if own.any() and member.any() and not member.all():
            scores[own] = _judged(found[own], lesson[taught], member, fit, seeded(seed))
    return scores


def _features(
    model: Classifier, x: Rows, y: Labels, examples: Examples, box: Box, seed: int
) -> Features:
    """Log-probabilities of one example a row, or of all of them side by side; float64."""
    if len(x) == 0:
        return x.new_zeros(0, 1).double()
    rng, rows = seeded(seed, x.device), usual(x).rows  # a measured pace would change the rounding
    match examples:
        case Benign():
            return log_probabilities(model, x)
        case Untargeted(attack=attack):
            x_adv = attack_of(attack)(model, x, y, attack, box=box, rng=rng, batch=rows)
            return log_probabilities(model, x_adv)
        case Targeted(attack=attack):
            several, _ = targeted_examples(model, x, y, attack, box=box, rng=rng, batch=rows)
            return log_probabilities(model, several.flatten(0, 1)).view(len(x), -1)


def _judged(found: Features, lesson: Lesson, member: Member, fit: Fit, rng: Generator) -> PerRow:
    """The log-odds that a network gives which learnt from one label's known rows."""
    order = _order(lesson, member)
    lesson, member = lesson[order], member[order]
    mean, deviation = lesson.mean(0), lesson.std(0, correction=0)
    scale = deviation.masked_fill(deviation == 0, 1)
    lesson, found = (((each - mean) / scale).clamp(-REACH, REACH) for each in (lesson, found))
    try:
        network = fit(Dataset(lesson.float(), member.long()), rng)
    except TrainingCollapsed:  # it answers all rows alike
        return found.new_zeros(len(found))
    log_p = log_probabilities(network, found.float(), classes=2)
    return log_p[:, 1] - log_p[:, 0]


def _order(lesson: Lesson, member: Member) -> Tensor:
    """Rows in lexicographic order, so that the one they were given in does not count."""
    order = member.long().argsort(stable=True)
    for column in lesson.flip(1).unbind(1):
        order = order[column[order].argsort(stable=True)]
    return order
