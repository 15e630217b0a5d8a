"""An experiment as it is declared: data, models to compare, attacks, seeds.

The same whether it was written in YAML or in Python. Importing this module imports every room.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeAlias

import torch
from annotated_types import Ge
from pydantic import Field

from trilemma.attacks.evasion import PGD, AutoAttack, Evasion
from trilemma.attacks.membership import (
    Calibrated,
    Confidence,
    Membership,
    ModelInference,
    VerifiedConfidence,
)
from trilemma.core.balls import Ball, Linf
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.core.keys import UNLESS_DEFAULT
from trilemma.data import Data, Files
from trilemma.experiments import methods
from trilemma.experiments.decode import decode
from trilemma.experiments.gate import ACCURACY
from trilemma.experiments.perturbations import STEPS, attacks_in, ball_of, perturbation
from trilemma.experiments.plan import check_name
from trilemma.experiments.recorded import Predictions
from trilemma.oracles.defences import Defence, MemGuard
from trilemma.training.full_strength import check_full_strength
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
    """

    recipe: Recipe
    objective: Objective = field(default_factory=Natural)
    temperature: Temperature = 1.0
    validation: BestEpoch | None = field(default=None, metadata=LATER)
    attacks: tuple[str, ...] | None = field(default=None, metadata={"counts": False})
    defences: tuple[Defence, ...] = field(default=(), metadata={"counts": False})


@dataclass(frozen=True, kw_only=True)
class Supplied:
    """A user's own model.

    Args:
        factory: `package.module:factory`, called without arguments, returns an `nn.Module`.
        weights: a safetensors file for it; none if the factory returns a trained model. Its
            content counts in keys (`stages.Own.fingerprint`), where it lies does not.
        temperature, attacks, defences: as for a model that is trained.
    """

    factory: str
    weights: Path | None = field(default=None, metadata={"counts": False})
    temperature: Temperature = 1.0
    attacks: tuple[str, ...] | None = field(default=None, metadata={"counts": False})
    defences: tuple[Defence, ...] = field(default=(), metadata={"counts": False})


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """A shadow model of each model that is trained.

    It is trained on half of the split's shadow rows; the other half are its non-members. That of
    a transfer attack is trained on all of them, with the target's labels.

    Args:
        like: how it is trained; None is how the target is. Needed for a user's own model.
    """

    like: Trained | None = None


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


ROWS = 512  # of each part where a row costs much: AutoAttack, certified radii

Model: TypeAlias = Trained | Supplied | Predictions


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What an audit computes.

    Args:
        name: for reports and file names.
        data: the data set and how it is split; none where all models are recorded predictions.
        models: by name, in the order of the report.
        attacks: membership attacks by id.
        robustness: the attack under which accuracy is measured; None is PGD with 20 steps in
            the first ball that is declared: by an attack, else by a training objective.
        thorough: measure accuracy under AutoAttack, too, in the same ball.
        thorough_rows: at most so many members, and as many non-members, are attacked by it.
        certified_rows: at most so many members, and as many non-members, are searched for the
            largest radius at which they are certified, where bounds or a noise layer certify any;
            0 searches none.
        box: where valid inputs live.
        shadow: train a shadow model, too, and choose each attack's threshold on it.
        sensitivity: retrain models without single members, too; None does not.
        references: the reference models of calibrated attacks; none are trained without such.
        seeds: one replicate (split, initialisation, data order, attack noise) each.
    """

    name: str
    models: Mapping[str, Model]
    data: Data | None = None
    attacks: Mapping[str, Membership] = field(default_factory=lambda: {"confidence": Confidence()})
    robustness: Evasion | None = None
    thorough: bool = False
    thorough_rows: Annotated[int, Ge(1)] = ROWS
    certified_rows: Annotated[int, Ge(0)] = ROWS
    box: Box = UNIT
    shadow: Shadow | None = None
    sensitivity: Sensitivity | None = None
    references: References = field(default_factory=References)
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if not self.models:
            raise BadInput("models", "there is none", "Name at least one model to audit")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise BadInput("seeds", f"got {list(self.seeds)}", "Give different whole numbers >= 0")
        asks = [name for name, model in self.models.items() if not isinstance(model, Predictions)]
        if asks:
            self.needed_data()
        for name in (*self.models, *self.attacks):
            check_name(name)
        if ACCURACY in self.attacks:
            raise BadInput(
                f"attacks.{ACCURACY}", "is what conditions call a model's own accuracy", "Rename it"
            )
        if self.thorough and self.ball() is None:
            raise BadInput(
                "thorough",
                "there is no ball of perturbations to attack in",
                "Declare one: --eps, an attack that perturbs, or `robustness`",
            )
        for where, change in self.perturbations().items():
            _check_radius(where, change, self.box)
        for name, model in self.models.items():
            _check_asked(f"models.{name}.attacks", model, self.attacks)
            _check_guard(f"models.{name}.defences", model, self.data)
            if isinstance(model, Trained):
                check_full_strength(model.recipe, model.objective, f"models.{name}.recipe")
                _check_validation(f"models.{name}.validation", model, self.needed_data())

    def attacks_on(self, model: str) -> dict[str, Membership]:
        """The membership attacks that a model suffers, by id."""
        asked = getattr(self.models[model], "attacks", None)
        return {k: v for k, v in self.attacks.items() if asked is None or k in asked}

    def perturbations(self) -> dict[str, Evasion]:
        """Every declared perturbation by its key's path."""
        found: dict[str, Evasion | None] = {"robustness.ball": self.robustness}
        for id_, declared in self.attacks.items():
            calibrated = isinstance(declared, Calibrated)
            attack = declared.signal if isinstance(declared, Calibrated) else declared
            id_ = f"{id_}.signal" if calibrated else id_
            if isinstance(attack, VerifiedConfidence):  # where it verifies, PGD may try
                found[f"attacks.{id_}.ball"] = PGD(ball=attack.ball, steps=STEPS)
            elif isinstance(attack, ModelInference):
                change = getattr(attack.examples, "attack", None)
                found[f"attacks.{id_}.examples.attack.ball"] = change
            else:
                found[f"attacks.{id_}.attack.ball"] = perturbation(attack)
        for name, model in self.models.items():
            if isinstance(model, Trained):
                found |= attacks_in(model.objective, f"models.{name}.objective")
                if model.validation is not None:
                    found[f"models.{name}.validation.attack.ball"] = model.validation.attack
        return {where: change for where, change in found.items() if change is not None}

    def needed_data(self) -> Data:
        """The data set, where some model needs one.

        Raises:
            BadInput: none was declared.
        """
        if self.data is None:
            raise BadInput("data", "is missing", "Models that are trained or asked need data")
        return self.data

    def ball(self) -> Ball | None:
        """The ball in which robustness is measured: the first that is declared."""
        balls = map(ball_of, self.perturbations().values())
        return next((ball for ball in balls if ball is not None), None)

    def measured_under(self) -> Evasion | None:
        """The attack under which accuracy is measured; None where no ball is declared."""
        ball = self.ball()
        return self.robustness or (None if ball is None else PGD(ball=ball, steps=STEPS))

    def verified_ids(self) -> dict[str, str]:
        """The ids of the attacks that verify, with the prefixes of the accuracies they prove."""
        return methods.verified(
            [id_ for id_, each in self.attacks.items() if isinstance(each, VerifiedConfidence)]
        )

    def verifications(self, model: str | None = None) -> dict[str, VerifiedConfidence]:
        """The attacks that verify, by the prefix of the accuracies that they prove.

        Args:
            model: only those that it suffers; None for all that are declared.
        """
        asked = self.attacks if model is None else self.attacks_on(model)
        found = {k: v for k, v in asked.items() if isinstance(v, VerifiedConfidence)}
        prefixes = self.verified_ids()
        return {prefixes[id_]: attack for id_, attack in found.items()}

    def thoroughly(self) -> tuple[PGD, Evasion] | None:
        """A gradient attack and the costly one it is held against, in one ball, if asked for.

        The former is what accuracy is measured under, unless that is less than PGD with 20 steps,
        from which nothing would follow.
        """
        ball = self.ball()
        if not self.thorough or ball is None:
            return None
        usual = self.measured_under()
        enough = isinstance(usual, PGD) and usual.steps >= STEPS
        gradient = usual if isinstance(usual, PGD) and enough else PGD(ball=ball, steps=STEPS)
        return gradient, AutoAttack(ball=ball)


def _check_asked(where: str, model: Model, attacks: Mapping[str, Membership]) -> None:
    unknown = sorted(set(getattr(model, "attacks", None) or ()) - set(attacks))
    if unknown:
        raise BadInput(where, f"{unknown[0]!r} is not declared", f"Declared: {', '.join(attacks)}")


def _check_guard(where: str, model: Model, data: Data | None) -> None:
    guarded = any(isinstance(each, MemGuard) for each in getattr(model, "defences", ()))
    if guarded and not (data is not None and data.validation):
        fix = "FILE" if isinstance(data, Files) else "500"
        raise BadInput(
            where,
            "MemGuard's own attack learns from non-members, and its owner has none set aside",
            f"Let the split have some: data: {{..., validation: {fix}}}",
        )


def _check_validation(where: str, model: Trained, data: Data) -> None:
    if model.validation is not None and not data.validation:
        fix = "FILE" if isinstance(data, Files) else "200"
        raise BadInput(
            where,
            "has no rows: those on which the best epoch is found must be neither members nor"
            " non-members",
            f"Let the split have some: data: {{..., validation: {fix}}}",
        )


def _check_radius(where: str, change: Evasion, box: Box) -> None:
    """A ball that allows nothing, or the whole box, is a slip."""
    ball = ball_of(change)
    if ball is None:
        return
    radius = ball.radius
    if radius == 0:
        raise BadInput(
            f"{where}.radius", "is 0, which perturbs nothing", "Give a radius > 0 (--eps)"
        )
    width = torch.as_tensor(box.high) - torch.as_tensor(box.low)
    if isinstance(ball, Linf) and radius >= float(width.max()):
        raise BadInput(
            f"{where}.radius",
            f"is {radius:g}: the ball reaches beyond the box [{box.low}, {box.high}]",
            "Give a smaller radius (--eps) in the inputs' own unit, or the box they live in",
        )


def experiment(table: Any) -> Experiment:
    """Decode and validate a declared experiment.

    Raises:
        BadInput: with the key's path, the value and what is allowed.
    """
    built: Experiment = decode(table, Experiment)
    return built
