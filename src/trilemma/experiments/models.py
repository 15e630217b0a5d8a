"""Models as an experiment declares them: trained, supplied, and those of an attacker."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, TypeAlias

from annotated_types import Ge
from pydantic import Field

from trilemma.attacks.evasion import Evasion
from trilemma.core.errors import BadInput
from trilemma.core.keys import UNLESS_DEFAULT
from trilemma.data import Data
from trilemma.experiments.recorded import Predictions
from trilemma.oracles.defences import Defence
from trilemma.training.objectives import (
    Natural,
    Objective,
)
from trilemma.training.recipes import Recipe

Temperature: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
LATER = {"counts": UNLESS_DEFAULT}


@dataclass(frozen=True, kw_only=True)
class BestEpoch:
    """Keep the weights of the epoch that is most accurate under attack on the validation rows.

    Only epochs at full strength (after `warmup` and `ramp`) are measured, and compete; of equals
    the first is kept. The rows are those that the data set's split names (`validation`): no other
    part has them. A shadow model of this one is held to the same rows.

    Args:
        attack: under which the rows are to be classified right, from the same starts each time.
        patience: the training ends after so many measured epochs in a row without a better one;
            None trains all epochs.
    """

    REVISION: ClassVar[int] = 1

    attack: Evasion
    patience: Annotated[int, Ge(1)] | None = None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model that the audit trains itself, once a seed.

    Args:
        temperature: by which its logits are divided after training (`Tempered`); models that
            differ in it alone are trained once.
        validation: which epoch's weights are kept; None keeps the last one's.
        attacks: ids of the membership attacks that it suffers; None for all.
        defences: what stands before its answers, from the model outwards. Attacks from labels are
            not touched, since none changes a label.
        data: its own data set or split; None takes the experiment's. Models are compared as they
            are, whatever rows they were trained on.
    """

    recipe: Recipe
    objective: Objective = field(default_factory=Natural)
    temperature: Temperature = 1.0
    validation: BestEpoch | None = field(default=None, metadata=LATER)
    attacks: tuple[str, ...] | None = field(default=None, metadata={"counts": False})
    defences: tuple[Defence, ...] = field(default=(), metadata={"counts": False})
    data: Data | None = field(default=None, metadata={"counts": False})


@dataclass(frozen=True, kw_only=True)
class Supplied:
    """A user's own model.

    Args:
        factory: `package.module:factory`, called without arguments, returns an `nn.Module`.
        weights: a safetensors file for it; none if the factory returns a trained model. Its
            content counts in keys (`stages.Own.fingerprint`), where it lies does not.
        temperature, attacks, defences, data: as for a model that is trained.
    """

    factory: str
    weights: Path | None = field(default=None, metadata={"counts": False})
    temperature: Temperature = 1.0
    attacks: tuple[str, ...] | None = field(default=None, metadata={"counts": False})
    defences: tuple[Defence, ...] = field(default=(), metadata={"counts": False})
    data: Data | None = field(default=None, metadata={"counts": False})


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """A shadow model of each model that is trained.

    It is trained on half of the split's shadow rows; the other half are its non-members. That of
    a transfer attack is trained on all of them, with the target's labels.

    Args:
        like: how it is trained; None is how the target is. Needed for a user's own model.
        thresholds: choose each attack's threshold on it, too, for which all attacks are made on it;
            otherwise only those learn from it that must.
    """

    like: Trained | None = None
    thresholds: bool = True


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A shadow model that learns from a model's labels, for `TransferAttack`.

    Args:
        like: how it is trained; None is how the target is. Needed for a user's own model.
        rows: so many of the shadow rows are labelled by the target and learnt from; None for all.
        held_out: so many others are not, and stand for non-members: thresholds at a false positive
            rate are fixed on them (section 3.4 of Li & Zhang).
    """

    like: Trained | None = None
    rows: Annotated[int, Ge(1)] | None = None
    held_out: Annotated[int, Ge(0)] = 0


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Retrain each model that is trained without single members, and see what they changed.

    Args:
        rounds: retrainings; each leaves out one member of each label, other ones than the rest.
    """

    rounds: int = 6

    def __post_init__(self) -> None:
        if self.rounds < 2:
            raise BadInput(
                "rounds",
                f"is {self.rounds}",
                "Give 2 at least: what one round leaves out tells the noise of another",
            )


@dataclass(frozen=True, kw_only=True)
class References:
    """Reference models, by which `Calibrated` attacks judge each row.

    They are trained as the target is, each on a random half of the rows that are judged; all
    calibrated attacks on a model share them. Each row is in half of them.

    Args:
        count: how many, an even number.
        like: how they are trained; None is how the target is. Needed for a user's own model.
    """

    count: int = 16
    like: Trained | None = None

    def __post_init__(self) -> None:
        if self.count < 6 or self.count % 2:
            raise BadInput(
                "references.count",
                f"is {self.count}",
                "Give an even number of 6 at least: each row is in half of them, each of them"
                " is judged by the others",
            )


Model: TypeAlias = Trained | Supplied | Predictions
