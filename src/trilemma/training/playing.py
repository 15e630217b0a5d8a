"""A training that plays against an inference network: who plays, and with which rows."""

import torch
from torch import Generator

from trilemma.core.box import Box
from trilemma.core.dataset import Dataset
from trilemma.core.errors import BadInput
from trilemma.core.generators import global_from
from trilemma.training.engine import Engine
from trilemma.training.objectives import AdversarialRegularisation, Scaled, Sum, Term
from trilemma.training.objectives.game import Game, InferenceNetwork
from trilemma.training.recipes import Recipe
from trilemma.training.validation import stream


def played(objective: Term) -> AdversarialRegularisation | None:
    """The term of an objective that plays; None where none does.

    Raises:
        BadInput: several do.
    """
    found = _played(objective)
    if len(found) > 1:
        raise BadInput(
            "objective",
            f"plays {len(found)} games of adversarial regularisation",
            "Name it once; a multiple of it counts for more",
        )
    return found[0] if found else None


def check_reference(objective: Term, reference: Dataset | None) -> Dataset | None:
    """The reference rows of a training, where it plays.

    Raises:
        BadInput: it plays, and there are none.
    """
    if played(objective) is None:
        return None
    if reference is None or len(reference) == 0:
        raise BadInput(
            "reference",
            "has no rows: adversarial regularisation plays with rows that are no members",
            "Give train(..., reference=Dataset(x, y)) rows that no attack is judged on",
        )
    return reference


def game_of(
    recipe: Recipe,
    objective: Term,
    members: Dataset,
    reference: Dataset | None,
    seed: int,
    *,
    classes: int,
    box: Box,
    engine: Engine,
) -> Game | None:
    """A fresh game on the engine's device; None where none is played.

    Its network and all it draws come from streams of their own, so that nothing of the training
    itself shifts.
    """
    term = played(objective)
    if term is None or reference is None:
        return None
    with global_from(stream("inference network", seed)):
        network = InferenceNetwork(classes, term.answer, term.label, term.both)
    network = network.to(engine.here(torch.zeros(())).device)
    here = [Dataset(engine.here(each.x), engine.here(each.y)) for each in (members, reference)]
    return Game(
        network=network,
        optimiser=torch.optim.Adam(network.parameters(), lr=term.learning_rate),
        members=here[0],
        reference=here[1],
        rng=draws(seed, 0),
        augmentation=recipe.augmentation,
        box=box,
    )


def draws(seed: int, epoch: int) -> Generator:
    """What a game draws in an epoch, from which a checkpoint goes on."""
    return stream(f"game of epoch {epoch}", seed)


def _played(objective: Term) -> list[AdversarialRegularisation]:
    if isinstance(objective, Sum):
        return [found for each in objective.terms for found in _played(each)]
    if isinstance(objective, Scaled):
        return _played(objective.term)
    return [objective] if isinstance(objective, AdversarialRegularisation) else []
