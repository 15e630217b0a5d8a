"""The stages that steal a model, thief by thief. Imports torch."""

from collections.abc import Mapping
from typing import Any

from trilemma.attacks.evasion import Evasion
from trilemma.attacks.extraction import Extraction, KnockoffNets, RandomQueries, RoundThief
from trilemma.core.box import Box
from trilemma.data import source_digest
from trilemma.experiments.asking import Asking
from trilemma.experiments.crafting import Craft, crafts
from trilemma.experiments.equipped import Equipped
from trilemma.experiments.graph import Stage, key
from trilemma.experiments.likening import Exchange, Liken, Struck
from trilemma.experiments.models import Trained
from trilemma.experiments.specs import Experiment
from trilemma.experiments.stages import Split, Train, stream
from trilemma.experiments.stealing import Steal
from trilemma.experiments.stolen import ADVERSARIAL, BENIGN, BESIDE, CRAFT, STEAL, UNDER
from trilemma.experiments.theft import Theft, Trial
from trilemma.oracles.defences import Defence, LabelOnly


def thefts(declared: Experiment, target: Asking) -> dict[str, Any]:
    """The fields `thefts`, `exchange` and `price` of a cell.

    By thief: `craft` (with the first seed, where it makes its queries), `steal`, `benign`,
    `adversarial` and, for each further attack, `under.<name>`; and all but the first of a thief of
    random queries, each name with `random_` before it.
    """
    asked = declared.extraction
    if asked is None:
        return {}
    measured = declared.measured_under()
    found: dict[str, Mapping[str, Stage]] = {}
    steals: dict[str, Steal] = {}
    for name, thief in asked.thieves.items():
        own = asked.of(name)
        steals[name] = _steal(own, measured, target, thief)
        twin = _steal(own, measured, target, random_twin(thief))
        beside = _compared(own, measured, target, twin)
        timed = Craft(split=target.split, steal=steals[name], box=target.box, name=target.name)
        found[name] = {
            **({CRAFT: timed} if crafts(thief) and target.seed == declared.seeds[0] else {}),
            **_compared(own, measured, target, steals[name]),
            **{f"{BESIDE}_{part}": stage for part, stage in beside.items()},
        }
    return {
        "thefts": found,
        "exchange": _exchange(asked, target, steals),
        "price": asked.price,
    }


def equipped(declared: Experiment, split: Split, name: str) -> list[Stage]:
    """What looks at each thief's means before any work starts, each once."""
    asked = declared.extraction
    if asked is None:
        return []
    found = []
    for thief, method in asked.thieves.items():
        own = asked.of(thief)
        start = started(own, split.seed, declared.box)
        found.append(
            Equipped(
                split=split,
                pool=own.pool,
                others=others(own, split.seed),
                augmentation=method.augmentation,
                student=own.student,
                start=start.model.recipe if start else None,
                begun=start.split if start and isinstance(start.split, Split) else None,
                box=declared.box,
                seed=split.seed,
                name=name,
            )
        )
    return list({key(stage): stage for stage in found}.values())


def random_twin(thief: Extraction) -> Extraction:
    """A thief that asks as much, about rows at random, and learns as long."""
    common: dict[str, Any] = {
        "queries": thief.queries,
        "epochs": thief.epochs,
        "batch": thief.batch,
        "augmentation": thief.augmentation,
    }
    if isinstance(thief, RoundThief):
        return KnockoffNets(rounds=thief.rounds, **common)
    return RandomQueries(**common)


def _steal(asked: Theft, measured: Evasion | None, target: Asking, thief: Extraction) -> Steal:
    return Steal(
        split=target.split,
        source=target.source,
        thief=thief,
        student=asked.student,
        start=started(asked, target.seed, target.box),
        pool=asked.pool,
        others=others(asked, target.seed),
        tells=_told(target.defences, asked.tells),
        guard=asked.guard,
        once=asked.once,
        attack=measured,
        every=asked.every,
        rows=asked.rows,
        box=target.box,
        seed=target.seed,
        name=target.name,
    )


def _compared(
    asked: Theft, measured: Evasion | None, target: Asking, steal: Steal
) -> dict[str, Stage]:
    """The theft, and what its student is like."""
    trials = {ADVERSARIAL: Trial(attack=measured)} if measured else {}
    trials |= {f"{UNDER}.{name}": trial for name, trial in asked.under.items()}
    common: dict[str, Any] = {"split": target.split, "source": target.source, "steal": steal}
    benign = Liken(struck=None, rows=asked.rows, name=target.name, **common)
    return {
        STEAL: steal,
        BENIGN: benign,
        **{
            part: Liken(
                struck=_struck(trial.attack, trial.rows or asked.rows, target),
                rows=trial.rows or asked.rows,
                name=target.name,
                **common,
            )
            for part, trial in trials.items()
        },
    }


def _struck(attack: Evasion, rows: int, target: Asking) -> Struck:
    return Struck(
        split=target.split,
        source=target.source,
        attack=attack,
        rows=rows,
        box=target.box,
        seed=target.seed,
        name=target.name,
    )


def _exchange(asked: Theft, target: Asking, steals: Mapping[str, Steal]) -> Exchange | None:
    if asked.transfer is None:
        return None
    return Exchange(
        split=target.split,
        source=target.source,
        struck=_struck(asked.transfer, asked.rows, target),
        steals=tuple(steals.values()),
        names=tuple(steals),
        name=target.name,
    )


def others(asked: Theft, seed: int) -> tuple[Split, ...]:
    """The other data sets that a thief's rows come from."""
    return tuple(
        Split(data=data, fingerprint=source_digest(data), seed=seed) for data in asked.pool.others
    )


def started(asked: Theft, seed: int, box: Box) -> Train | None:
    """The model that a student begins as."""
    if asked.start is None:
        return None
    data = asked.start.data
    return Train(
        split=Split(data=data, fingerprint=source_digest(data), seed=seed),
        model=Trained(recipe=asked.start.recipe or asked.student),
        box=box,
        seed=stream("start", seed) % 10**9,
        name="the start of students",
    )


def _told(own: tuple[Defence, ...], tells: tuple[Defence, ...]) -> tuple[Defence, ...]:
    """Where labels alone are told, no defence of scores counts: none changes a label."""
    return tells if any(isinstance(each, LabelOnly) for each in tells) else (*own, *tells)
