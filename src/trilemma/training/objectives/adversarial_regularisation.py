"""Adversarial regularisation: answers that an inference network cannot tell apart (Nasr et al.)."""

from typing import Annotated, ClassVar, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from trilemma.core.errors import BadInput
from trilemma.core.generators import global_from
from trilemma.training.objectives.batch import Batch, Loss
from trilemma.training.objectives.game import Game, unseen
from trilemma.training.objectives.term import CONFIG, Term

Widths: TypeAlias = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)
]  # of layers, from the inputs on


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class AdversarialRegularisation(Term):
    r"""How well an inference network tells members from others (Nasr et al., min-max game).

    .. math:: G_f(h) = \tfrac12 E_{(x, y) \in D} \log h(x, y, f(x))
        + \tfrac12 E_{(x', y) \in D'} \log(1 - h(x', y, f(x')))

    the gain of the network h, which sees a row by the model's answer f(x) and the label. To be
    scaled by lambda and added to a loss, `Natural() + 3 * AdversarialRegularisation()`: the model
    descends the sum, after h went up by k steps of its own. At log(1/2) h is guessing; where h is
    right about all rows G is 0.

    D are the training rows, D' reference rows that are no members (`train(..., reference=)`; in an
    experiment the split's `validation` rows, which no attack is judged on). For each of its steps h
    draws as many rows of D and of D' as the batch has; then the batch stands for D, and as many
    rows of D' are drawn anew. Both the model and h see rows in train mode.

    Eq. 8-9 are read literally: the model descends all of G. Algorithm 1 leaves out the second term
    in the model's step and the factor 1/2, so that its lambda is half of the one here. What h sees
    of x itself is nothing, as in the authors' experiments. Its weights begin at torch's default
    instead of a normal draw of deviation 0.01.

    Args:
        steps: k, of h before each step of the model.
        learning_rate: of h, by Adam.
        answer: widths of h's layers on the model's answer; the authors' for their tables.
        label: widths of those on the label.
        both: widths of those on both, before the last.

    Source:
        Nasr, Shokri, Houmansadr, "Machine learning with membership privacy using adversarial
        regularization", CCS 2018, eq. 5-9, algorithm 1 and figure 3.
    """

    REVISION: ClassVar[int] = 1
    APART: ClassVar[bool] = False

    steps: Annotated[int, Field(ge=1)] = 1
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    answer: Widths = (1024, 512, 64)
    label: Widths = (512, 64)
    both: Widths = (256, 64)

    def __call__(self, model: nn.Module, batch: Batch) -> Loss:
        """G, in nats, at most 0; h has taken its steps.

        Raises:
            BadInput: there is no game: no reference rows were given.
        """
        game = batch.game
        if game is None:
            raise BadInput(
                "reference",
                "is missing: adversarial regularisation plays with rows that are no members",
                "Give train(..., reference=Dataset(x, y))",
            )
        count = len(batch.x)
        with global_from(game.rng):
            for _ in range(self.steps):
                learn(model, game, count)
            others = game.drawn(game.reference, count)
            elsewhere = unseen(model, others.x)
        return gain(
            game.odds(batch.logits(model), batch.y, learn=False),
            game.odds(elsewhere, others.y, learn=False),
        )


def gain(members: Float[Tensor, " n"], others: Float[Tensor, " m"]) -> Loss:
    """G of h's log-odds for members and others.

    Example:
        >>> guess = torch.zeros(3)
        >>> round(gain(guess, guess).item(), 4)
        -0.6931
    """
    return (F.logsigmoid(members).mean() + F.logsigmoid(-others).mean()) / 2


def learn(model: nn.Module, game: Game, count: int) -> None:
    """One step of h up its gain; nothing of the model changes.

    Args:
        model: whose answers h sees, in the mode it is in.
        game: h, and where rows come from.
        count: rows of each side.
    """
    sides = [game.drawn(data, count) for data in (game.members, game.reference)]
    with torch.no_grad():
        answers = [unseen(model, each.x) for each in sides]
    members, others = (
        game.odds(z, each.y, learn=True) for z, each in zip(answers, sides, strict=True)
    )
    game.optimiser.zero_grad(set_to_none=True)
    (-gain(members, others)).backward()
    game.optimiser.step()
