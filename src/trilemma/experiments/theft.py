"""What is asked for when models are to be stolen."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated

from annotated_types import Ge, Gt

from trilemma.attacks.evasion import Evasion
from trilemma.attacks.extraction import BEST, Extraction
from trilemma.core.errors import BadInput
from trilemma.data import Data, Files
from trilemma.experiments.guards import Guard
from trilemma.experiments.plan import check_name
from trilemma.oracles.defences import Defence, LabelOnly, MemGuard
from trilemma.training.recipes import Recipe

FEWEST = 4  # validation rows, by which a detector is calibrated and with which it is tried
TAKEN = ("victim", "random")  # what thieves stand beside


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The rows that a thief asks about; their labels are not the thief's.

    Args:
        auxiliary: so many of the split's auxiliary rows; None for all.
        victim_training_rows: so many of the victim's own training rows that the split declares as
            known (Li et al. 2023, figure 3c).
        others: data sets whose members join, such as rows of another distribution (appendices C.4
            and C.5).
    """

    auxiliary: Annotated[int, Ge(0)] | None = None
    victim_training_rows: Annotated[int, Ge(0)] = 0
    others: tuple[Data, ...] = ()

    def __post_init__(self) -> None:
        if self.auxiliary == 0 and not self.victim_training_rows and not self.others:
            raise BadInput("pool", "has no rows", "Give the thief some to ask about")


@dataclass(frozen=True, kw_only=True)
class Start:
    """Weights that a student begins with: of a model trained on other data (Li et al. 2023, B.1).

    Where the classes differ in number, the last layer begins afresh.

    Args:
        data: its members are trained on.
        recipe: of that model, of the student's architecture; None for the student's own.
    """

    data: Data
    recipe: Recipe | None = None


@dataclass(frozen=True, kw_only=True)
class Means:
    """What one thief has of its own; None for what the theft says of all.

    Args:
        student: architecture and optimiser of its student.
        start: weights to begin with.
        pool: the rows that it asks about.
        tells: what stands before the answers that it gets.
        guard: what watches its accounts.
    """

    student: Recipe | None = None
    start: Start | None = None
    pool: Pool | None = None
    tells: tuple[Defence, ...] | None = None
    guard: Guard | None = None


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A further attack under which students are compared with their victim.

    Args:
        attack: on each model by itself.
        rows: at most so many of the non-members; None for the theft's `rows`.
    """

    attack: Evasion
    rows: Annotated[int, Ge(1)] | None = None


@dataclass(frozen=True, kw_only=True)
class Theft:
    """Let thieves teach students of their own by what each model answers (Li et al. 2023).

    A thief holds the auxiliary rows of the split, without labels. Which of a student's passes is
    its best is found on the validation rows; students are compared with their victim on the
    non-members. Beside each thief stands one that may ask as much, about rows drawn at random.

    Args:
        student: architecture and optimiser of the students.
        thieves: methods by name.
        start: weights that students begin with; None for weights that are drawn.
        pool: the rows that thieves ask about.
        tells: what stands before the answers, behind the model's own defences; labels alone unless
            said otherwise.
        guard: what watches the accounts of thieves; None watches none.
        once: an input that was asked about before is answered from memory and counts once.
        own: what is otherwise with single thieves, by their names.
        under: further attacks by name.
        transfer: an attack whose examples of each model are tried on the victim and on all other
            students (appendix C.10); None tries none.
        every: passes between two looks at a student.
        rows: at most so many validation rows are looked at, and as many non-members compared.
        price: of 1,000 queries, in any currency; None tells none.
    """

    student: Recipe
    thieves: Mapping[str, Extraction] = field(default_factory=lambda: {"best": BEST()})
    start: Start | None = None
    pool: Pool = field(default_factory=Pool)
    tells: tuple[Defence, ...] = (LabelOnly(),)
    guard: Guard | None = None
    once: bool = False
    own: Mapping[str, Means] = field(default_factory=dict)
    under: Mapping[str, Trial] = field(default_factory=dict)
    transfer: Evasion | None = None
    every: Annotated[int, Ge(1)] = 10
    rows: Annotated[int, Ge(1)] = 512
    price: Annotated[float, Gt(0)] | None = None

    def __post_init__(self) -> None:
        if not self.thieves:
            raise BadInput("thieves", "there is none", "Name at least one method")
        for name in (*self.thieves, *self.under):
            check_name(name)
        for name in set(self.thieves) & set(TAKEN):
            raise BadInput(f"thieves.{name}", "is what reports call another", "Rename it")
        for name in set(self.own) - set(self.thieves):
            known = ", ".join(self.thieves)
            raise BadInput(f"own.{name}", "is no thief", f"Declared: {known}")
        _check(self)
        for name in self.own:
            try:
                self.of(name)
            except BadInput as error:
                raise BadInput(f"own.{name}.{error.what}", error.problem, error.fix) from None

    def of(self, thief: str) -> "Theft":
        """The theft as it is for one thief."""
        means = self.own.get(thief, Means())
        named = {each.name: getattr(means, each.name) for each in fields(means)}
        given = {name: value for name, value in named.items() if value is not None}
        return replace(self, own={}, thieves={thief: self.thieves[thief]}, **given)


def check_theft(where: str, theft: Theft, data: Data, defences: tuple[Defence, ...]) -> None:
    """Refuse what cannot be stolen so.

    Args:
        where: the model's key.
        theft: what is asked for.
        data: of the model.
        defences: of the model.

    Raises:
        BadInput: the split has no validation rows, or too few of others; a defence that answers no
            thief.
    """
    _check_rows(where, data, "validation", None, 200)
    for name in theft.thieves:
        own = theft.of(name)
        if own.thieves[name].queries == 0:
            problem = "is 0: such a thief asks nothing"
            raise BadInput(f"extraction.thieves.{name}.queries", problem, "Give 1 or more")
        if own.guard is not None:
            _check_rows(where, data, "validation", FEWEST, 200)
        for part in ("auxiliary", "victim_training_rows"):
            count = getattr(own.pool, part)
            if count or (part == "auxiliary" and count is None and not own.pool.others):
                _check_rows(where, data, part, count, 500)
        told = any(isinstance(each, LabelOnly) for each in own.tells)
        if any(isinstance(each, MemGuard) for each in defences) and not told:
            raise BadInput(
                "extraction.tells",
                f"{where} is behind MemGuard, which is not set up for a thief's inputs",
                "Steal by labels alone, which it does not change: tells: [{kind: LabelOnly}]",
            )


def _check_rows(where: str, data: Data, name: str, wanted: int | None, usual: int) -> None:
    """That a part of the split has rows, and so many where that is known already."""
    there = _rows(data, name)
    if there == 0:
        fix = "FILE" if isinstance(data, Files) else str(usual)
        raise BadInput(
            "extraction",
            f"{where} has no {name} rows: a thief asks about the auxiliary rows, and its best"
            " student is found on the validation rows",
            f"Let the split have some: data: {{..., {name}: {fix}}}",
        )
    if wanted is not None and there is not None and there < wanted:
        problem = f"{wanted} of the {name} rows are wanted: {where} has {there}"
        key = f"data.{name}" if name == "validation" else f"extraction.pool.{name}"
        raise BadInput(key, problem, "Take fewer, or let the split have more")


def _rows(data: Data, name: str) -> int | None:
    """How many rows a part has; None where only the data tell."""
    if isinstance(data, Files):
        return 0 if getattr(data, name, None) is None else None
    preset = data.published()
    sizes = data.sizes() if preset is None or getattr(data, name) else preset.sizes
    whole = preset is not None and preset.per_class is not None and name != "validation"
    count: int | None = getattr(sizes, name)
    return None if whole else count


def _check(theft: Theft) -> None:
    for name, recipe in (("student", theft.student), ("start.recipe", _before(theft))):
        if recipe is not None and (recipe.noise is not None or recipe.privacy is not None):
            problem = "a thief's own model has no noise layer and no privacy"
            raise BadInput(name, problem)
    if any(isinstance(each, MemGuard) for each in theft.tells):
        problem = "MemGuard is a defence of a model"
        raise BadInput("tells", problem, "Give it to `models`")


def _before(theft: Theft) -> Recipe | None:
    return theft.start.recipe if theft.start else None
