"""Which trainings can be private, and what an epoch of one steps with."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.optim import Optimizer

from trilemma.core.errors import BadInput
from trilemma.core.generators import draw_seed, seeded
from trilemma.training.objectives import Scaled, Sum, Term
from trilemma.training.privacy import Account, account_of
from trilemma.training.recipes import Recipe
from trilemma.training.validation import stream


def account_for(recipe: Recipe, rows: int) -> Account | None:
    """The account of a recipe's training on so many rows; None where it is not private.

    Raises:
        BadInput: a delta that promises nothing, or an epsilon that no noise keeps.
        MissingExtra: Opacus is not installed.
    """
    if recipe.privacy is None:
        return None
    return account_of(
        recipe.privacy,
        f"DP-{type(recipe.optimiser).__name__}",
        rows=rows,
        batch=recipe.batch,
        epochs=recipe.epochs,
    )


def check_private(recipe: Recipe, objective: Term, where: str = "recipe") -> None:
    """Refuse an objective of which a private training cannot bound what each row does.

    Args:
        recipe: whether it is private at all.
        objective: the loss.
        where: the recipe's path, for the message.

    Raises:
        BadInput: some term is neither a mean of losses that depend on the model's answers for one
            row each, nor free of rows; or no term has rows.
    """
    if recipe.privacy is None:
        return
    by_row, free = _parted(objective)
    other = next((each for each in by_row if not each.BY_ROW), None)
    if other is not None:
        raise BadInput(
            f"{where}.privacy",
            f"{type(other).__name__} is no mean of losses of one row each, read off its answer",
            "Private trainings take Natural, Adversarial, DistributionalTraining, TRADES, L1, L2,"
            " their sums and multiples",
        )
    if not by_row:
        names = " + ".join(type(each).__name__ for each in free)
        raise BadInput(f"{where}.privacy", f"no row counts in the loss ({names})", "Add Natural")


def check_layers(model: nn.Module, x: Tensor) -> None:
    """Refuse a model whose rows have no gradients of their own.

    Args:
        model: as it is trained.
        x: some rows to try it with.

    Raises:
        BadInput: a layer mixes the rows of a batch, or has weights that Opacus cannot follow.
    """
    from trilemma.training.per_row import check_layers  # imports Opacus

    check_layers(model, x)


def cost_so_far(account: Account | None, epochs: int) -> str:
    """What a private training's epochs have cost, for its progress; empty for another."""
    return "" if account is None else f", epsilon {account.after(epochs).epsilon:.2f}"


def free_terms(objective: Term) -> list[Term]:
    """What of a loss depends on the weights alone."""
    return _parted(objective)[1]


@contextmanager
def private_epoch(
    account: Account,
    objective: Term,
    model: nn.Module,
    optimiser: Optimizer,
    epoch: int,
    identity: str,
    seed: int,
) -> Iterator[tuple[Optimizer, Iterator[Tensor]]]:
    """The optimiser that steps privately, and the places of each step's rows.

    Noise and rows are drawn by streams of this training alone. Two trainings that shared them,
    as those of one seed would, were not independent: what they cost would not add up, and a
    combination of their weights could cancel the noise of both.

    Args:
        account: the training's.
        objective: its loss.
        model: trained in place.
        optimiser: of which the private one keeps its state.
        epoch: from 0; each has draws of its own, from which a checkpoint goes on.
        identity: digest of all that decides what the training makes.
        seed: of the training, which is the secret.
    """
    from trilemma.training.per_row import private_steps, sampled  # imports Opacus

    device = next(model.parameters()).device
    of = f"of epoch {epoch} of training {identity}"
    noise = seeded(draw_seed(stream(f"noise {of}", seed)), device)
    drawn = stream(f"rows {of}", seed)
    with private_steps(model, optimiser, account, free_terms(objective), noise) as private:
        yield private, sampled(account, private, model, drawn)


def check_shareable(recipe: Recipe, count: int) -> None:
    """Refuse several devices for one private training.

    Raises:
        BadInput: there are more than one.
    """
    if recipe.privacy is not None and count > 1:
        raise BadInput(
            "devices", f"{count} cannot share a private training", "Train it on one device"
        )


def _parted(objective: Term) -> tuple[list[Term], list[Term]]:
    """The terms that rows count in, and those that depend on the weights alone, scaled."""
    if isinstance(objective, Sum):
        pairs = [_parted(each) for each in objective.terms]
        return [t for by_row, _ in pairs for t in by_row], [t for _, free in pairs for t in free]
    if isinstance(objective, Scaled):
        by_row, free = _parted(objective.term)
        return by_row, [objective.factor * each for each in free]
    return ([], [objective]) if objective.FREE else ([objective], [])
