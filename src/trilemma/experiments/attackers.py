"""The models that an attacker trains: a shadow, reference models, a copy. Imports torch."""

from dataclasses import replace
from typing import Any

from trilemma.attacks.membership import (
    Calibrated,
    ModelInference,
    QuantileRegression,
    ScoreNetwork,
    TransferAttack,
    VerifiedConfidence,
)
from trilemma.experiments.asking import Asking, quantiles
from trilemma.experiments.evaluation import Transfer
from trilemma.experiments.graph import Stage
from trilemma.experiments.inferring import Teacher
from trilemma.experiments.pooling import together
from trilemma.experiments.quantiling import Expected
from trilemma.experiments.recorded import Predictions
from trilemma.experiments.referencing import Pool, ReferenceSplit
from trilemma.experiments.relabelling import FromHeldOut, HeldOut, Relabel
from trilemma.experiments.shadowing import ShadowSplit, has_shadow
from trilemma.experiments.specs import Experiment, Trained
from trilemma.experiments.stages import Own, Parts, Source, Split, Temper, Train, stream
from trilemma.training.recipes import MLP, Recipe

UNSHADOWED = "the split has no shadow rows (`shadow` of the data)"
NEEDS_SHADOW = (ScoreNetwork, TransferAttack, QuantileRegression)
UNKNOWN = "how this model was trained is not declared (`{}: {{like: ...}}`)"


def tempered(source: Train | Own, temperature: float) -> Source:
    """The model with its logits divided; itself at 1."""
    if temperature == 1:
        return source
    return Temper(source=source, temperature=temperature, name=source.name)


def shadowed(declared: Experiment, target: Asking) -> dict[str, Any]:
    """The fields `transfers` and `unshadowed` of a cell: thresholds from shadow models.

    Those of calibrated attacks come from their reference models, each judged by the others; those
    of a regression from what it expects, those of a copy from rows that were held out from it.
    """
    found: dict[str, Stage] = {}
    missing = unable(declared, target.name)
    for id_, attack in declared.attacks_on(target.name).items():
        label = f"transfer a threshold to {target.name}, {id_}, seed {target.seed}"
        if isinstance(attack, Calibrated) and target.pool is not None:
            judged, known = target.asked(attack), target.known(attack, target.pool)
            found[id_] = Transfer(target=judged, shadow=known, name=label)
        if isinstance(attack, QuantileRegression) and id_ not in missing:
            found[id_] = Expected(scores=quantiles(target, attack), name=label)
        if isinstance(attack, TransferAttack) and attack.copy in target.copies:
            copy = target.copies[attack.copy]
            if isinstance(copy.split, Relabel) and copy.split.held_out:
                judge = replace(target, source=copy, name=copy.name, defences=())
                aside = replace(judge, split=HeldOut(split=copy.split.split, relabel=copy.split))
                found[id_] = FromHeldOut(
                    target=judge.asked(attack.statistic),
                    known=aside.asked(attack.statistic),
                    name=label,
                )
    if declared.shadow is None or not declared.shadow.thresholds:
        return {"transfers": found}
    if target.shadow is None:
        why = (
            UNSHADOWED
            if not has_shadow(declared.data_of(target.name))
            else UNKNOWN.format("shadow")
        )
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
            # a shadow model has no shadow of its own, nor rows that nobody trained on
            if id_ in found or not isinstance(attack, NEEDS_SHADOW)
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


def regression_of(declared: Experiment, name: str) -> Recipe | None:
    """The recipe of networks that learn from shadow rows; None where there are no such rows.

    Like the shadow model, like the model itself, or a perceptron where neither's is declared.
    """
    if not has_shadow(declared.data_of(name)):
        return None
    like = (declared.shadow.like if declared.shadow else None) or declared.models[name]
    recipe: Recipe = like.recipe if isinstance(like, Trained) else MLP()
    return replace(recipe, noise=None, privacy=None)


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
    trains = tuple(
        _train(
            declared,
            trained,
            half,
            stream(f"reference {half.index}", split.seed) % 10**9,
            f"reference {half.index + 1} of {name}",
        )
        for half in halves
    )
    pooled = together(trains, f"the {len(trains)} references of {name}, seed {split.seed}")
    sources = tuple(tempered(each, trained.temperature) for each in pooled)
    return Pool(halves=halves, sources=sources)


def copied(declared: Experiment, split: Split, source: Source, name: str) -> dict[str, Train]:
    """The shadow models that learn from a target's labels, by name, where attacks need them."""
    missing = unable(declared, name)
    attacks = declared.attacks_on(name).items()
    needed = {a.copy for id_, a in attacks if isinstance(a, TransferAttack) and id_ not in missing}
    found = {}
    for copy in sorted(needed):
        like = _copy(declared, copy) or declared.models[name]
        assert isinstance(like, Trained)  # noqa: S101 - what `unable` says of others
        relabel = Relabel(split=split, source=source, name=name)
        if copy and (declared.copies[copy].rows is not None or declared.copies[copy].held_out):
            about = declared.copies[copy]
            relabel = replace(relabel, rows=about.rows, held_out=about.held_out, seed=split.seed)
        found[copy] = Train(
            split=relabel,
            model=replace(like, temperature=1.0),
            box=declared.box,
            seed=stream("transfer", split.seed) % 10**9,
            name=f"the copy {copy!r} of {name}" if copy else f"the copy of {name}",
        )
    return found


def _copy(declared: Experiment, copy: str) -> Trained | None:
    """How a shadow model that learns from labels is trained; None: as the target is."""
    if copy:
        return declared.copies[copy].like
    return declared.shadow.like if declared.shadow else None


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
        inner = attack.signal if isinstance(attack, QuantileRegression) else attack
        if isinstance(inner, ModelInference | VerifiedConfidence) and model.defences:
            found[id_] = "it looks at the model itself, behind its defences"
        if isinstance(attack, NEEDS_SHADOW):
            if not has_shadow(declared.data_of(name)):
                found[id_] = UNSHADOWED
            elif isinstance(attack, TransferAttack) and attack.copy:
                if not (trained or declared.copies[attack.copy].like):
                    found[id_] = UNKNOWN.format(f"copies.{attack.copy}")
            elif not (trained or shadow or isinstance(attack, QuantileRegression)):
                found[id_] = UNKNOWN.format("shadow")
    return found


def _trained(declared: Experiment, like: Trained, split: Parts, seed: int, name: str) -> Source:
    """A model that is trained as `like` says, and tempered."""
    return tempered(_train(declared, like, split, seed, name), like.temperature)


def _train(declared: Experiment, like: Trained, split: Parts, seed: int, name: str) -> Train:
    plain = replace(like, temperature=1.0)
    return Train(split=split, model=plain, box=declared.box, seed=seed, name=name)
