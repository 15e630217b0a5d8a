"""The models that an attacker trains: a shadow, reference models, a copy. Imports torch."""

from dataclasses import replace
from typing import Any

from trilemma.attacks.membership import (
    Calibrated,
    ModelInference,
    TransferAttack,
    VerifiedConfidence,
)
from trilemma.experiments.asking import Asking
from trilemma.experiments.evaluation import Transfer
from trilemma.experiments.inferring import Teacher
from trilemma.experiments.recorded import Predictions
from trilemma.experiments.referencing import Pool, ReferenceSplit
from trilemma.experiments.relabelling import Relabel
from trilemma.experiments.shadowing import ShadowSplit, has_shadow
from trilemma.experiments.specs import Experiment, Trained
from trilemma.experiments.stages import Own, Parts, Source, Split, Temper, Train, stream

UNSHADOWED = "the split has no shadow rows (`shadow` of the data)"
UNKNOWN = "how this model was trained is not declared (`{}: {{like: ...}}`)"


def tempered(source: Train | Own, temperature: float) -> Source:
    """The model with its logits divided; itself at 1."""
    if temperature == 1:
        return source
    return Temper(source=source, temperature=temperature, name=source.name)


def shadowed(declared: Experiment, target: Asking) -> dict[str, Any]:
    """The fields `transfers` and `unshadowed` of a cell: thresholds from shadow models.

    Those of calibrated attacks come from their reference models, each judged by the others.
    """
    found = {
        id_: Transfer(
            target=target.asked(attack),
            shadow=target.known(attack, target.pool),
            name=f"transfer a threshold to {target.name}, {id_}, seed {target.seed}",
        )
        for id_, attack in declared.attacks_on(target.name).items()
        if isinstance(attack, Calibrated) and target.pool is not None
    }
    if declared.shadow is None:
        return {"transfers": found}
    like = declared.shadow.like or declared.models[target.name]
    if not isinstance(like, Trained):
        return {"transfers": found, "unshadowed": UNKNOWN.format("shadow")}
    if not isinstance(target.split, Split) or not has_shadow(target.split.data):
        return {"transfers": found, "unshadowed": UNSHADOWED}
    halves = ShadowSplit(split=target.split, seed=target.seed)
    name = f"the shadow of {target.name}"
    seed = stream("shadow", target.seed) % 10**9  # other initial weights than the target's
    source = _trained(declared, like, halves, seed, name)
    shadow = replace(target, split=halves, source=source, name=name, defences=())
    teacher = Teacher(split=halves, source=source)
    return {
        "transfers": {
            id_: found.get(id_)
            or Transfer(
                target=target.asked(attack, teacher),
                shadow=shadow.asked(attack),
                name=f"transfer a threshold to {target.name}, {id_}, seed {target.seed}",
            )
            for id_, attack in declared.attacks_on(target.name).items()
            if not isinstance(attack, TransferAttack)  # a shadow model has no shadow of its own
        }
    }


def referenced(declared: Experiment, split: Split, source: Source, name: str) -> Pool | None:
    """The reference models of a target, where some attack needs them and they can be trained."""
    model = declared.models[name]
    needed = [id_ for id_, a in declared.attacks_on(name).items() if isinstance(a, Calibrated)]
    if not set(needed) - set(unable(declared, name)):
        return None
    trained = declared.references.like or model
    assert isinstance(trained, Trained)  # noqa: S101 - what `unable` says of others
    halves = tuple(
        ReferenceSplit(split=split, seed=split.seed, index=index)
        for index in range(declared.references.count)
    )
    sources = tuple(
        _trained(
            declared,
            trained,
            half,
            stream(f"reference {half.index}", split.seed) % 10**9,
            f"reference {half.index + 1} of {name}",
        )
        for half in halves
    )
    return Pool(halves=halves, sources=sources)


def copied(declared: Experiment, split: Split, source: Source, name: str) -> Train | None:
    """The shadow model of a target that learns from its labels, where some attack needs it."""
    needed = [id_ for id_, a in declared.attacks_on(name).items() if isinstance(a, TransferAttack)]
    if not set(needed) - set(unable(declared, name)):
        return None
    like = (declared.shadow.like if declared.shadow else None) or declared.models[name]
    assert isinstance(like, Trained)  # noqa: S101 - what `unable` says of others
    return Train(
        split=Relabel(split=split, source=source, name=name),
        model=replace(like, temperature=1.0),
        box=declared.box,
        seed=stream("transfer", split.seed) % 10**9,
        name=f"the copy of {name}",
    )


def unable(declared: Experiment, name: str) -> dict[str, str]:
    """Attacks that cannot be made on a model, with the reason."""
    found: dict[str, str] = {}
    model = declared.models[name]
    if isinstance(model, Predictions):
        return found
    trained = isinstance(model, Trained)
    shadow = declared.shadow.like if declared.shadow else None
    for id_, attack in declared.attacks_on(name).items():
        if isinstance(attack, Calibrated) and not (trained or declared.references.like):
            found[id_] = UNKNOWN.format("references")
        if isinstance(attack, ModelInference | VerifiedConfidence) and model.defences:
            found[id_] = "it looks at the model itself, behind its defences"
        if isinstance(attack, TransferAttack):
            if not has_shadow(declared.needed_data()):
                found[id_] = UNSHADOWED
            elif not (trained or shadow):
                found[id_] = UNKNOWN.format("shadow")
    return found


def _trained(declared: Experiment, like: Trained, split: Parts, seed: int, name: str) -> Source:
    """A model that is trained as `like` says, and tempered."""
    plain = replace(like, temperature=1.0)
    train = Train(split=split, model=plain, box=declared.box, seed=seed, name=name)
    return tempered(train, like.temperature)
