"""The plan of an audit whose models must be trained or asked. Imports torch."""

from collections.abc import Mapping
from typing import Any

from trilemma.attacks.evasion import Evasion
from trilemma.attacks.membership import AdversarialConfidence, Confidence, Membership
from trilemma.data import source_digest
from trilemma.experiments import methods
from trilemma.experiments.document import Json
from trilemma.experiments.evaluation import Evaluate
from trilemma.experiments.keys import encode
from trilemma.experiments.plan import Cell, describe_recorded, recorded_cell
from trilemma.experiments.recorded import Predictions, read_recorded
from trilemma.experiments.specs import Experiment, Supplied, Trained, experiment, perturbation
from trilemma.experiments.stages import (
    Own,
    ProbeData,
    ProbeModel,
    Respond,
    Score,
    Source,
    Split,
    Train,
)
from trilemma.experiments.user_code import user_model_fingerprint


def plan_trained(table: Mapping[str, Any]) -> tuple[list[Cell], Json]:
    """One cell for each model and seed, and what the document says about the experiment."""
    declared = experiment(table)
    cells = [
        cell(declared, name, seed)
        for name, model in declared.models.items()
        for seed in (declared.seeds if isinstance(model, Trained) else declared.seeds[:1])
    ]
    about = {
        "name": declared.name,
        "seeds": list(declared.seeds),
        "spec": dict(table),
        "data": {"name": type(declared.data).__name__},
        "models": {name: describe(model) for name, model in declared.models.items()},
        "methods": {
            name: methods.method(attack, encode(attack))
            for name, attack in declared.attacks.items()
        },
    }
    return cells, about


def cell(declared: Experiment, name: str, seed: int) -> Cell:
    """The stages of one model with one seed."""
    model = declared.models[name]
    if isinstance(model, Predictions):
        return recorded_cell(name, read_recorded(model.predictions, name=name), model.predictions)
    data = declared.needed_data()
    split = Split(data=data, fingerprint=source_digest(data), seed=seed)
    source: Source
    if isinstance(model, Supplied):
        mark = user_model_fingerprint(model.factory, model.weights)
        source = Own(split=split, model=model, fingerprint=mark, name=name)
    else:
        source = Train(split=split, model=model, box=declared.box, seed=seed, name=name)

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

    measured = declared.measured_under()
    return Cell(
        model=name,
        seed=seed,
        attacks={id_: evaluate(id_, attack) for id_, attack in declared.attacks.items()},
        benign=Evaluate(responses=ask(None), seed=seed, name=f"evaluate {name}, seed {seed}"),
        adversarial=Evaluate(
            responses=ask(measured), seed=seed, name=f"evaluate {name} under attack, seed {seed}"
        )
        if measured
        else None,
        source=source,
        split=split,
        inputs=(split, source) if isinstance(source, Own) else (split,),
        data_probe=ProbeData(split=split, seed=seed),
        model_probe=ProbeModel(split=split, source=source, box=declared.box, name=name),
    )


def describe(model: Trained | Supplied | Predictions) -> Json:
    """A model in plain words, for the report."""
    if isinstance(model, Trained):
        return {"recipe": methods.text(model.recipe), "objective": methods.text(model.objective)}
    if isinstance(model, Supplied):
        weights = {"weights": model.weights.name} if model.weights else {}
        return {"factory": model.factory, **weights}
    path = model.predictions
    return dict(describe_recorded(read_recorded(path), path))
