"""The plan of an audit whose models must be trained or asked. Imports torch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trilemma.attacks.evasion import Evasion
from trilemma.attacks.membership import (
    STATISTICS,
    AdversarialConfidence,
    Confidence,
    Membership,
)
from trilemma.core.keys import digest, encode
from trilemma.data import source_digest
from trilemma.experiments import methods
from trilemma.experiments.asking import Asking, thresholds
from trilemma.experiments.attackers import (
    copied,
    referenced,
    regression_of,
    shadow_of,
    shadowed,
    tempered,
    unable,
)
from trilemma.experiments.certifying import certifications, certifying
from trilemma.experiments.costing import costs
from trilemma.experiments.declared import portable
from trilemma.experiments.document import Json
from trilemma.experiments.evaluation import Compare
from trilemma.experiments.graph import Stage
from trilemma.experiments.leaving_out import enough_members, leaving_out
from trilemma.experiments.looking import budgeted, known_classes, looking
from trilemma.experiments.plan import (
    NOT_RECORDED,
    Cell,
    Reading,
    describe_recorded,
    recorded_cell,
)
from trilemma.experiments.probing import ProbeData, ProbeModel
from trilemma.experiments.recorded import Predictions, read_recorded
from trilemma.experiments.security import Secure
from trilemma.experiments.shadowing import ShadowSplit, has_shadow
from trilemma.experiments.specs import Experiment, Supplied, Trained, experiment
from trilemma.experiments.stages import (
    Fits,
    Own,
    Source,
    Split,
    Train,
    origin,
)
from trilemma.experiments.thieving import equipped, thefts
from trilemma.experiments.user_code import user_model_fingerprint
from trilemma.experiments.user_model import load_user_model, state_fingerprint
from trilemma.training.devices import devices_here
from trilemma.training.privacy import opacus_here
from trilemma.training.private import check_shareable


def plan_trained(table: Mapping[str, Any]) -> tuple[list[Cell], Json]:
    """One cell for each model and seed, and what the document says about the experiment."""
    declared = experiment(table)
    usable(declared)  # what cannot be used is refused before any work starts
    trained = any(isinstance(model, Trained) for model in declared.models.values())
    seeds = declared.seeds if trained else declared.seeds[:1]
    cells = [
        cell(declared, name, seed)
        for name, model in declared.models.items()
        for seed in (seeds if isinstance(model, Trained) else seeds[:1])
    ]
    about = {
        "name": declared.name,
        "seeds": list(seeds),
        "spec": portable(dict(table)),
        "data": {"name": _data_names(declared)},
        "models": {name: describe(model) for name, model in declared.models.items()},
        "methods": {
            **{
                name: methods.method(attack, encode(attack))
                for name, attack in declared.attacks.items()
            },
            **{attack: methods.recorded(attack) for attack in undeclared(declared)},
        },
        "robustness": robustness(declared),
        "certificates": certifying(declared),
        "thieves": {
            name: methods.thief(each, encode(each))
            for name, each in (declared.extraction.thieves if declared.extraction else {}).items()
        },
    }
    return cells, about


def usable(declared: Experiment) -> None:
    """Refuse devices that cannot be used, and private trainings without what they need.

    Raises:
        BadInput: devices that are none, or several for a private training.
        MissingExtra: what uses devices, or Opacus, is not installed.
    """
    devices = devices_here()
    for model in declared.models.values():
        if isinstance(model, Trained) and model.recipe.privacy is not None:
            opacus_here()
            check_shareable(model.recipe, 1 if devices is None else devices.count)


def _data_names(declared: Experiment) -> str:
    """The data sets that models are trained on or asked about."""
    asked = [n for n, model in declared.models.items() if not isinstance(model, Predictions)]
    return ", ".join(dict.fromkeys(type(declared.data_of(name)).__name__ for name in asked))


def robustness(declared: Experiment) -> Json:
    """The attacks under which accuracy is measured, by the prefix of their accuracies."""
    both = declared.thoroughly()
    under = {"adversarial": declared.measured_under(), "autoattack": both[1] if both else None}
    attacked = {name: methods.evasion(each, encode(each)) for name, each in under.items() if each}
    proven = declared.verifications().items()
    return attacked | {name: methods.verification(each, encode(each)) for name, each in proven}


def undeclared(declared: Experiment) -> dict[str, str]:
    """I_A where only the perturbation it needs is missing: asked for, it is not evaluable."""
    if declared.measured_under() or "confidence" not in declared.attacks:
        return {}
    return {"confidence_adversarial": "no perturbation budget was declared (--eps)"}


def cell(declared: Experiment, name: str, seed: int) -> Cell:
    """The stages of one model with one seed."""
    model = declared.models[name]
    if isinstance(model, Predictions):
        recorded = read_recorded(model.predictions, name=name)
        kinds = {id_: recordable(attack) for id_, attack in declared.attacks.items()}
        found = recorded_cell(name, recorded, model.predictions, kinds)
        unshadowed = NOT_RECORDED if declared.shadow is not None else ""
        missing = {**found.missing, **undeclared(declared)}
        unretrained = "recorded predictions cannot be retrained" if declared.sensitivity else ""
        unlooked = NOT_RECORDED if declared.analysis is not None else ""
        unstolen = NOT_RECORDED if declared.extraction is not None else ""
        found = replace(found, unretrained=unretrained, unlooked=unlooked, unstolen=unstolen)
        return replace(found, missing=missing, unshadowed=unshadowed)
    data = declared.data_of(name)
    split = Split(data=data, fingerprint=source_digest(data), seed=seed)
    source = tempered(origin_of(declared, split, name, seed), model.temperature)
    return Cell(
        model=name,
        seed=seed,
        missing=undeclared(declared) | unasked(declared, name) | unable(declared, name),
        source=source,
        split=split,
        inputs=inputs(declared, split, source, name),
        data_probe=ProbeData(split=split, seed=seed),
        model_probe=ProbeModel(
            split=split, source=source, box=declared.box, name=f"{name}, seed {seed}"
        ),
        **evaluations(declared, split, source, name, seed),
    )


def origin_of(declared: Experiment, split: Split, name: str, seed: int) -> Train | Own:
    """Where a model's weights come from, which its temperature does not touch."""
    model = declared.models[name]
    if isinstance(model, Supplied):
        own = replace(model, temperature=1.0)
        return Own(split=split, model=own, fingerprint=fingerprint(model), name=name)
    assert isinstance(model, Trained)  # noqa: S101 - recorded predictions have no weights
    plain = replace(model, temperature=1.0)
    return Train(split=split, model=plain, box=declared.box, seed=seed, name=name)


def inputs(declared: Experiment, split: Split, source: Source, name: str) -> tuple[Stage, ...]:
    """What looks at the data and the model before any work starts."""
    found = origin(source)
    own = isinstance(found, Own)
    recipe = None if isinstance(found, Own) else found.model.recipe
    box = declared.box if declared.perturbations() else None
    verified = tuple(declared.verifications(name).values())
    fits = Fits(
        split=split,
        recipe=recipe,
        box=box,
        verified=verified,
        own=found if isinstance(found, Own) and verified else None,
        name=name,
    )
    shadows = [ShadowSplit(split=split, seed=split.seed)] if declared.shadow else []
    able = [] if own or not has_shadow(split.data) else shadows
    enough = () if own else enough_members(declared, split, split.seed)
    known = [
        each for parts in (split, *able) for each in known_classes(declared, parts, split.seed)
    ]
    thieves = equipped(declared, split, name)
    return (split, *((found,) if own else ()), fits, *able, *enough, *known, *thieves)


def fingerprint(model: Supplied) -> str:
    """Of a supplied model's code and weights; a factory that brings its own weights is called."""
    code = user_model_fingerprint(model.factory, model.weights)
    if model.weights is not None:
        return code
    return digest([code, state_fingerprint(load_user_model(model.factory, None))])


def recordable(attack: Membership) -> Reading | None:
    """What an attack is read off, among recorded answers; None where it needs the model."""
    if isinstance(attack, Confidence):
        return Reading(which="benign")
    if isinstance(attack, AdversarialConfidence):
        return Reading(which="adversarial")
    if type(attack) in STATISTICS:
        return Reading(which="benign", statistic=type(attack).__name__)
    return None


def evaluations(
    declared: Experiment, split: Split, source: Source, name: str, seed: int
) -> dict[str, Any]:
    """The fields of a cell that are evaluations of its model."""
    target = Asking(
        split=split,
        source=source,
        box=declared.box,
        seed=seed,
        name=name,
        pool=referenced(declared, split, source, name),
        copies=copied(declared, split, source, name),
        defences=getattr(declared.models[name], "defences", ()),
        regression=regression_of(declared, name),
        rows=declared.searched_rows,
    )
    target = replace(target, shadow=shadow_of(declared, target))
    missing = unable(declared, name)
    attacks = {
        id_: target.evaluate(attack, f"evaluate {name}, {id_}, seed {seed}")
        for id_, attack in declared.attacks_on(name).items()
        if id_ not in missing
    }
    measured = declared.measured_under()
    under = f"evaluate {name} under attack, seed {seed}"
    return {
        "attacks": attacks,
        "verified": {
            prefix: attacks[id_]
            for id_, prefix in declared.verified_ids().items()
            if id_ in attacks
        },
        "certified": certifications(declared, target),
        "security": secured(target, measured) if measured else None,
        "benign": target.accuracy(None, f"evaluate {name}, seed {seed}"),
        "adversarial": target.accuracy(measured, under) if measured else None,
        "thorough": compared(declared, target),
        "costs": costs(target) if seed == declared.seeds[0] else {},
        **shadowed(declared, target),
        **leaving_out(declared, target),
        "thresholds": thresholds(target, declared.attacks_on(name), declared.random_threshold),
        "budgets": budgeted(declared, target),
        **looking(declared, target),
        **thefts(declared, target),
    }


def secured(target: Asking, measured: Evasion) -> Secure:
    """What the losses of non-members tell of their security under the attack."""
    return Secure(
        benign=target.responses(None),
        adversarial=target.responses(measured),
        seed=target.seed,
        name=f"tell secure from insecure rows of {target.name}, seed {target.seed}",
    )


def compared(declared: Experiment, target: Asking) -> Compare | None:
    """Accuracy under AutoAttack beside that under a gradient attack, if asked for."""
    both = declared.thoroughly()
    if both is None:
        return None
    gradient, costly = both
    return Compare(
        gradient=target.responses(gradient),
        thorough=target.withstand(costly, declared.thorough_rows),
        names=(methods.short(gradient), methods.short(costly)),
        name=f"compare {target.name} under both attacks, seed {target.seed}",
    )


def unasked(declared: Experiment, name: str) -> dict[str, str]:
    """Attacks that are declared for other models only."""
    asked = declared.attacks_on(name)
    return {id_: "not asked of this model" for id_ in declared.attacks if id_ not in asked}


def describe(model: Trained | Supplied | Predictions) -> Json:
    """A model in plain words, for the report."""
    if isinstance(model, Trained):
        about = {"recipe": methods.text(model.recipe), "objective": methods.text(model.objective)}
        if model.validation is not None:
            about["validation"] = methods.text(model.validation)
        return {**about, **_warmth(model)}
    if isinstance(model, Supplied):
        weights = {"weights": model.weights.name} if model.weights else {}
        return {"factory": model.factory, **weights, **_warmth(model)}
    path = model.predictions
    return dict(describe_recorded(read_recorded(path), path))


def _warmth(model: Trained | Supplied) -> dict[str, str]:
    found = {} if model.temperature == 1 else {"temperature": f"{model.temperature:g}"}
    if model.data is not None:
        found["data"] = methods.text(model.data)
    if model.defences:
        found["defences"] = ", ".join(map(methods.text, model.defences))
    return found
