"""An experiment as it is declared: data, models to compare, attacks, seeds.

The same whether it was written in YAML or in Python. Importing this module imports every room.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from annotated_types import Ge

from trilemma.attacks.evasion import PGD, AutoAttack, Evasion
from trilemma.attacks.membership import (
    Calibrated,
    Confidence,
    Membership,
    ModelInference,
    QuantileRegression,
    RandomThreshold,
    TransferAttack,
    VerifiedConfidence,
)
from trilemma.core.balls import Ball, Linf
from trilemma.core.box import UNIT, Box
from trilemma.core.errors import BadInput
from trilemma.data import Data, Files
from trilemma.experiments import methods
from trilemma.experiments.analysis import Analysis
from trilemma.experiments.decode import decode
from trilemma.experiments.gate import ACCURACY
from trilemma.experiments.models import (
    BestEpoch,
    Copy,
    Model,
    References,
    Sensitivity,
    Shadow,
    Supplied,
    Trained,
)
from trilemma.experiments.perturbations import STEPS, attacks_in, ball_of, perturbation
from trilemma.experiments.plan import check_name
from trilemma.experiments.recorded import Predictions
from trilemma.experiments.theft import Theft, check_theft
from trilemma.oracles.defences import MemGuard
from trilemma.training.full_strength import check_full_strength
from trilemma.training.playing import played
from trilemma.training.private import check_private

__all__ = [
    "BestEpoch",
    "Copy",
    "Experiment",
    "Model",
    "References",
    "Sensitivity",
    "Shadow",
    "Supplied",
    "Theft",
    "Trained",
    "experiment",
]

ROWS = 512  # of each part where a row costs much: AutoAttack, certified radii, boundary attacks


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What an audit computes.

    Args:
        name: for reports and file names.
        data: the data set and how it is split; none where no model is trained or asked, or all have
            their own.
        models: by name, in the order of the report.
        attacks: membership attacks by id.
        robustness: the attack under which accuracy is measured; None is PGD with 20 steps in
            the first ball that is declared: by an attack, else by a training objective.
        thorough: measure accuracy under AutoAttack, too, in the same ball.
        thorough_rows: at most so many members, and as many non-members, are attacked by it.
        certified_rows: at most so many members, and as many non-members, are searched for the
            largest radius at which they are certified, where bounds or a noise layer certify any;
            0 searches none.
        searched_rows: at most so many members, and as many non-members, are judged by attacks that
            spend many queries on a row: searches for the boundary, votes under noise.
        random_threshold: choose a threshold for each boundary attack from random images, too.
        box: where valid inputs live.
        shadow: train a shadow model, too, and choose each attack's threshold on it.
        copies: shadow models that learn from a model's labels, by the name that a `TransferAttack`
            calls them (`copy`).
        sensitivity: retrain models without single members, too; None does not.
        analysis: look closer at members and non-members, too; None does not.
        extraction: steal each model, too; None does not.
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
    searched_rows: Annotated[int, Ge(1)] = ROWS
    random_threshold: RandomThreshold | None = None
    box: Box = UNIT
    shadow: Shadow | None = None
    copies: Mapping[str, Copy] = field(default_factory=dict)
    sensitivity: Sensitivity | None = None
    analysis: Analysis | None = None
    extraction: Theft | None = None
    references: References = field(default_factory=References)
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if not self.models:
            raise BadInput("models", "there is none", "Name at least one model to audit")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise BadInput("seeds", f"got {list(self.seeds)}", "Give different whole numbers >= 0")
        for name in (*self.models, *self.attacks):
            check_name(name)
        if ACCURACY in self.attacks:
            raise BadInput(
                f"attacks.{ACCURACY}", "is what conditions call a model's own accuracy", "Rename it"
            )
        for name, model in self.models.items():
            _check_model(self, name, model)
        _check_likes(self)
        _check_copies(self)
        if self.thorough and self.ball() is None:
            raise BadInput(
                "thorough",
                "there is no ball of perturbations to attack in",
                "Declare one: --eps, an attack that perturbs, or `robustness`",
            )
        for where, change in self.perturbations().items():
            _check_radius(where, change, self.box)

    def attacks_on(self, model: str) -> dict[str, Membership]:
        """The membership attacks that a model suffers, by id."""
        asked = getattr(self.models[model], "attacks", None)
        return {k: v for k, v in self.attacks.items() if asked is None or k in asked}

    def perturbations(self) -> dict[str, Evasion]:
        """Every declared perturbation by its key's path."""
        found: dict[str, Evasion | None] = {"robustness.ball": self.robustness}
        for id_, declared in self.attacks.items():
            attack: Membership = declared
            if isinstance(declared, Calibrated | QuantileRegression):
                id_, attack = f"{id_}.signal", declared.signal
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

    def data_of(self, model: str) -> Data:
        """The data set of a model that is trained or asked: its own, or the experiment's.

        Raises:
            BadInput: none was declared.
        """
        data: Data | None = getattr(self.models[model], "data", None) or self.data
        if data is None:
            raise BadInput("data", "is missing", "Models that are trained or asked need data")
        return data

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


def _check_model(declared: Experiment, name: str, model: Model) -> None:
    where = f"models.{name}"
    _check_asked(f"{where}.attacks", model, declared.attacks)
    if isinstance(model, Predictions):
        return
    data = declared.data_of(name)
    _check_guard(f"{where}.defences", model, data)
    if declared.extraction is not None:
        check_theft(where, declared.extraction, data, getattr(model, "defences", ()))
    if isinstance(model, Trained):
        _check_training(where, model, data)
    for like, other in _likes(declared).items():  # which learn from the rows of this model's data
        _check_training(like, other, data)


def _check_training(where: str, model: Trained, data: Data) -> None:
    check_full_strength(model.recipe, model.objective, f"{where}.recipe")
    check_private(model.recipe, model.objective, f"{where}.recipe")
    _check_validation(f"{where}.validation", model, data)
    _check_reference(f"{where}.objective", model, data)


def _likes(declared: Experiment) -> dict[str, Trained]:
    """How models in a target's place are trained, by the key's path, where it is declared."""
    found = {
        "shadow.like": declared.shadow.like if declared.shadow else None,
        "references.like": declared.references.like,
        **{f"copies.{name}.like": copy.like for name, copy in declared.copies.items()},
    }
    return {where: like for where, like in found.items() if like is not None}


def _check_likes(declared: Experiment) -> None:
    """What a model of an attacker's cannot have."""
    for where, like in _likes(declared).items():
        for name in ("data", "attacks", "defences"):
            if getattr(like, name):
                raise BadInput(f"{where}.{name}", "says nothing of such a model", "Leave it out")


def _check_asked(where: str, model: Model, attacks: Mapping[str, Membership]) -> None:
    unknown = sorted(set(getattr(model, "attacks", None) or ()) - set(attacks))
    if unknown:
        raise BadInput(where, f"{unknown[0]!r} is not declared", f"Declared: {', '.join(attacks)}")


def _check_guard(where: str, model: Model, data: Data) -> None:
    guarded = any(isinstance(each, MemGuard) for each in getattr(model, "defences", ()))
    if guarded and not data.validation:
        fix = "FILE" if isinstance(data, Files) else "500"
        raise BadInput(
            where,
            "MemGuard's own attack learns from non-members, and its owner has none set aside",
            f"Let the split have some: data: {{..., validation: {fix}}}",
        )


def _check_reference(where: str, model: Trained, data: Data) -> None:
    if played(model.objective) is not None and not data.validation:
        fix = "FILE" if isinstance(data, Files) else "300"
        raise BadInput(
            where,
            "adversarial regularisation plays with non-members that no attack is judged on, and"
            " none are set aside",
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


def _check_copies(declared: Experiment) -> None:
    for id_, attack in declared.attacks.items():
        copy = attack.copy if isinstance(attack, TransferAttack) else ""
        if copy and copy not in declared.copies:
            known = ", ".join(declared.copies) or "none (`copies`)"
            raise BadInput(f"attacks.{id_}.copy", f"{copy!r} is not known", f"Declared: {known}")
    for model, declared_model in declared.models.items():
        if isinstance(declared_model, Predictions):
            continue
        there = getattr(declared.data_of(model), "shadow", None)
        for name, each in declared.copies.items():
            taken = (each.rows or 1) + each.held_out
            if isinstance(there, int) and taken > there > 0:
                problem = f"takes {taken} rows with those held out: {model} has {there} shadow rows"
                raise BadInput(f"copies.{name}", problem, "Take fewer, or give more shadow rows")


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
