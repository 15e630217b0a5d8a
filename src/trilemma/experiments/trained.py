"""The plan of an audit whose models must be trained or asked. Imports torch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trilemma.attacks.evasion import Evasion
from trilemma.attacks.membership import AdversarialConfidence, Confidence, Membership
from trilemma.data import source_digest
from trilemma.experiments import methods
from trilemma.experiments.declared import portable
from trilemma.experiments.document import Json
from trilemma.experiments.evaluation import Compare, Evaluate
from trilemma.experiments.graph import Stage
from trilemma.experiments.keys import digest, encode
from trilemma.experiments.plan import Cell, describe_recorded, recorded_cell
from trilemma.experiments.recorded import Predictions, Which, read_recorded
from trilemma.experiments.specs import Experiment, Supplied, Trained, experiment, perturbation
from trilemma.experiments.stages import (
    Fits,
    Own,
    ProbeData,
    ProbeModel,
    Respond,
    Score,
    Source,
    Split,
    Train,
)
from trilemma.experiments.thorough import Withstand
from trilemma.experiments.user_code import user_model_fingerprint
from trilemma.experiments.user_model import load_user_model, state_fingerprint


def plan_trained(table: Mapping[str, Any]) -> tuple[list[Cell], Json]:
    """One cell for each model and seed, and what the document says about the experiment."""
    declared = experiment(table)
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
        "data": {"name": type(declared.data).__name__},
        "models": {name: describe(model) for name, model in declared.models.items()},
        "methods": {
            **{
                name: methods.method(attack, encode(attack))
                for name, attack in declared.attacks.items()
            },
            **{attack: methods.recorded(attack) for attack in undeclared(declared)},
        },
        "robustness": robustness(declared),
    }
    return cells, about


def robustness(declared: Experiment) -> Json:
    """The attacks under which accuracy is measured, by the prefix of their accuracies."""
    both = declared.thoroughly()
    under = {"adversarial": declared.measured_under(), "autoattack": both[1] if both else None}
    return {name: methods.evasion(each, encode(each)) for name, each in under.items() if each}


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
        return replace(found, missing={**found.missing, **undeclared(declared)})
    data = declared.needed_data()
    split = Split(data=data, fingerprint=source_digest(data), seed=seed)
    source: Source
    if isinstance(model, Supplied):
        source = Own(split=split, model=model, fingerprint=fingerprint(model), name=name)
    else:
        source = Train(split=split, model=model, box=declared.box, seed=seed, name=name)
    return Cell(
        model=name,
        seed=seed,
        missing=undeclared(declared),
        source=source,
        split=split,
        inputs=inputs(declared, split, source, name),
        data_probe=ProbeData(split=split, seed=seed),
        model_probe=ProbeModel(
            split=split, source=source, box=declared.box, name=f"{name}, seed {seed}"
        ),
        **evaluations(declared, split, source, name, seed),
    )


def inputs(declared: Experiment, split: Split, source: Source, name: str) -> tuple[Stage, ...]:
    """What looks at the data and the model before any work starts."""
    own = isinstance(source, Own)
    recipe = None if isinstance(source, Own) else source.model.recipe
    box = declared.box if declared.perturbations() else None
    return (
        split,
        *((source,) if own else ()),
        Fits(split=split, recipe=recipe, box=box, name=name),
    )


def fingerprint(model: Supplied) -> str:
    """Of a supplied model's code and weights; a factory that brings its own weights is called."""
    code = user_model_fingerprint(model.factory, model.weights)
    if model.weights is not None:
        return code
    return digest([code, state_fingerprint(load_user_model(model.factory, None))])


def recordable(attack: Membership) -> Which | None:
    """Which recorded answers an attack is read off; None where it needs the model."""
    if isinstance(attack, Confidence):
        return "benign"
    return "adversarial" if isinstance(attack, AdversarialConfidence) else None


def evaluations(
    declared: Experiment, split: Split, source: Source, name: str, seed: int
) -> dict[str, Any]:
    """The fields `attacks`, `benign`, `adversarial` and `thorough` of a cell."""

    def ask(change: Evasion | None) -> Respond:
        return Respond(
            split=split, source=source, perturbation=change, box=declared.box, seed=seed, name=name
        )

    def evaluate(id_: str, attack: Membership) -> Evaluate:
        label = f"evaluate {name}, {id_}, seed {seed}"
        if isinstance(attack, Confidence | AdversarialConfidence):  # read off the responses
            return Evaluate(responses=ask(perturbation(attack)), seed=seed, name=label)
        scores = Score(
            split=split, source=source, attack=attack, box=declared.box, seed=seed, name=name
        )
        return Evaluate(responses=ask(None), scores=scores, seed=seed, name=label)

    def compare(gradient: Evasion, costly: Evasion) -> Compare:
        withstood = Withstand(
            split=split,
            source=source,
            attack=costly,
            box=declared.box,
            seed=seed,
            rows=declared.thorough_rows,
            name=name,
        )
        return Compare(
            gradient=ask(gradient),
            thorough=withstood,
            names=(methods.short(gradient), methods.short(costly)),
            name=f"compare {name} under both attacks, seed {seed}",
        )

    measured, both = declared.measured_under(), declared.thoroughly()
    under = f"evaluate {name} under attack, seed {seed}"
    return {
        "attacks": {id_: evaluate(id_, attack) for id_, attack in declared.attacks.items()},
        "benign": Evaluate(responses=ask(None), seed=seed, name=f"evaluate {name}, seed {seed}"),
        "adversarial": Evaluate(responses=ask(measured), seed=seed, name=under)
        if measured
        else None,
        "thorough": compare(*both) if both else None,
    }


def describe(model: Trained | Supplied | Predictions) -> Json:
    """A model in plain words, for the report."""
    if isinstance(model, Trained):
        return {"recipe": methods.text(model.recipe), "objective": methods.text(model.objective)}
    if isinstance(model, Supplied):
        weights = {"weights": model.weights.name} if model.weights else {}
        return {"factory": model.factory, **weights}
    path = model.predictions
    return dict(describe_recorded(read_recorded(path), path))
