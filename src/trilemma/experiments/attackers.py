"""The models that an attacker trains: a shadow, reference models, a copy. Imports torch."""

from dataclasses import replace
from typing import Any

from trilemma.attacks.membership import (
    Calibrated,
    ModelInference,
    ScoreNetwork,
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
NEEDS_SHADOW = (ScoreNetwork, TransferAttack)
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
    if target.shadow is None:
        why = UNSHADOWED if not has_shadow(declared.needed_data()) else UNKNOWN.format("shadow")
        return {"transfers": found, "unshadowed": why}
    teacher = Teacher(split=target.shadow.split, source=target.shadow.source)
    return {
        "transfers": {
            id_: found.get(id_)
            or Transfer(
                target=target.asked(attack, teacher),
                shadow=target.shadow.asked(attack),
                name=f"transfer a threshold to {target.name}, {id_}, seed {target.seed}",
            )
            for id_, attack in declared.attacks_on(target.name).items()
            if not isinstance(attack, NEEDS_SHADOW)  # a shadow model has no shadow of its own
        }
    }


def shadow_of(declared: Experiment, target: Asking) -> Asking | None:
    """A model that is trained on half of the shadow rows, where one is asked for or needed."""
    needed = [a for a in declared.attacks_on(target.name).values() if isinstance(a, ScoreNetwork)]
    like = (declared.shadow.like if declared.shadow else None) or declared.models[target.name]
    if not isinstance(target.split, Split) or not has_shadow(target.split.data):
        return None
    if not isinstance(like, Trained) or not (needed or declared.shadow):
        return None
    halves = ShadowSplit(split=target.split, seed=target.seed)
    name = f"the shadow of {target.name}"
    seed = stream("shadow", target.seed) % 10**9  # other initial weights than the target's
    source = _trained(declared, like, halves, seed, name)
    return replace(target, split=halves, source=source, name=name, defences=())


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
        if isinstance(attack, NEEDS_SHADOW):
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
