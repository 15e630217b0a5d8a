"""What the terms of an objective see at a step, and what they have in common."""

import dataclasses
from typing import Any, TypeAlias

from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from trilemma.attacks.evasion import Evasion, attack_of
from trilemma.bounds import Domain, margins
from trilemma.core.balls import Ball
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.generators import draw_seed
from trilemma.core.types import Labels, Logits, Probs, Rows
from trilemma.training.objectives.game import Game

Loss: TypeAlias = Float[Tensor, ""]
Answered: TypeAlias = tuple[Evasion, float]  # by what, and which share of the training set


@dataclasses.dataclass(frozen=True, eq=False)
class Standing:
    """Where rows stand in a random order of the training set that is fixed for a whole training.

    It is what makes a part of the training set the same part in every epoch.

    Args:
        rank: (n,) places, from 0.
        total: rows of the training set.

    Example:
        >>> import torch
        >>> Standing(torch.tensor([3, 0, 2, 1]), 4).first(0.5)
        tensor([False,  True, False,  True])
    """

    rank: Labels
    total: int

    def __getitem__(self, index: Labels) -> "Standing":
        """Where some of the rows stand."""
        return Standing(self.rank[index], self.total)

    def first(self, ratio: float) -> Bool[Tensor, " n"]:
        """Which rows are among the first round(ratio * total)."""
        return self.rank < round(ratio * self.total)


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """The rows of one training step, and what the terms of its objective have in common.

    Args:
        x: (n, *x) inputs inside `box`.
        y: (n,) labels, or (n, k) soft targets, which some terms take.
        rng: the step's randomness.
        strength: in [0, 1]: the share of a ball's radius that counts at this step.
        box: the valid inputs.
        standing: which rows of the training set they are; None where nobody asks.
        game: what adversarial regularisation plays with; None where it is no part of the loss.
    """

    x: Rows
    y: Labels | Probs
    rng: Generator
    strength: float = 1.0
    box: Box = UNIT
    standing: Standing | None = None
    game: Game | None = None
    _examples: dict[Answered, Rows] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )
    _logits: dict[Answered | None, Logits] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )
    _worst: dict[tuple[Ball, Domain], Logits] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    def logits(self, model: nn.Module) -> Logits:
        """The model's answers for `x`, in the mode the model is in."""
        if None not in self._logits:
            self._logits[None] = model(self.x)
        return self._logits[None]

    def adversarial(self, model: nn.Module, attack: Evasion, ratio: float = 1.0) -> Rows:
        """Adversarial examples by `attack`, its radius times `strength`; `x` itself at 0.

        Args:
            model: as it is at this step; attacked in eval mode.
            attack: how.
            ratio: the share of the training set whose rows are attacked, the same rows all
                through a training; the others are handed back as they are.
        """
        ratio = self._share(ratio)
        if ratio == 0:
            return self.x
        key = attack, ratio
        if key not in self._examples:
            if ratio == 1:
                self._examples[key] = self._attacked(model, attack, self.x, self.y)
            else:
                chosen = self._chosen(ratio)
                found = self._attacked(model, attack, self.x[chosen], self.y[chosen])
                self._examples[key] = self.x.index_put((chosen,), found)
        return self._examples[key]

    def adversarial_logits(self, model: nn.Module, attack: Evasion, ratio: float = 1.0) -> Logits:
        """The model's answers for the adversarial examples."""
        ratio = self._share(ratio)
        if ratio == 0:
            return self.logits(model)
        key = attack, ratio
        if key not in self._logits:
            self._logits[key] = model(self.adversarial(model, attack, ratio))
        return self._logits[key]

    def worst_case(self, model: nn.Module, ball: Ball, domain: Domain) -> Logits:
        """Logits of the verified worst case in the ball, its radius times `strength`.

        Up to a shift of each row, which no loss here sees: entry j is the largest
        logit_j - logit_y that the bounds leave possible. At strength 0 the model's answers for
        `x`, and no bounds are computed.

        Args:
            model: in eval mode where bounds are computed; what `trilemma.bounds` can read.
            ball: norm and full radius.
            domain: how bounds are found; one that draws at random does so anew at each step.
        """
        if self.strength == 0:
            return self.logits(model)
        key = ball, domain
        if key not in self._worst:
            scaled = type(ball)(self.strength * ball.radius)
            # All rows at once: autograd keeps what parts would let go of
            found = margins(
                model,
                self.x,
                self.y,
                scaled,
                domain=_redrawn(domain, self.rng),
                box=self.box,
                batch=len(self.x),
            )
            self._worst[key] = -found
        return self._worst[key]

    def _attacked(self, model: nn.Module, attack: Evasion, x: Rows, y: Labels | Probs) -> Rows:
        found: Rows = attack_of(attack)(
            model,
            x,
            y,
            attack.scaled(self.strength),
            box=self.box,
            rng=self.rng,
            batch=len(self.x),
        )
        return found

    def _share(self, ratio: float) -> float:
        """`ratio`; 0 or 1 where that says the same of these rows."""
        if self.strength == 0 or ratio == 0:
            return 0.0
        if ratio == 1:
            return 1.0
        count = int(self._chosen(ratio).sum())
        return {0: 0.0, len(self.x): 1.0}.get(count, ratio)

    def _chosen(self, ratio: float) -> Bool[Tensor, " n"]:
        if self.standing is None:
            raise BadInput(
                "batches",
                f"do not say which rows belong to {ratio:g} of the training set",
                "Give (x, y, standing), or let `train` make them",
            )
        return self.standing.first(ratio)


def _redrawn(domain: Domain, rng: Generator) -> Domain:
    """The same domain at a fresh seed, if it has one."""
    if not any(field.name == "seed" for field in dataclasses.fields(domain)):
        return domain
    fresh: dict[str, Any] = {"seed": draw_seed(rng)}
    return dataclasses.replace(domain, **fresh)
