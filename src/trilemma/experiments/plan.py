"""An audit as a set of stages: one cell for each model and seed. No torch.

Models that are recorded predictions need none; `trained` plans those that must be asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from trilemma.core.errors import BadInput
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.evaluation import Evaluate, ReadStatistic
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.recorded import Recorded, Which, answers, read_recorded
from trilemma.experiments.security import Secure

NOT_RECORDED = "recorded predictions do not tell: it takes the model and its inputs"
UNCOUNTED = {"counts": False}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What an attack is read off, among recorded answers.

    Args:
        statistic: of the answers, as `responses.statistic` knows it; empty for the confidence.
    """

    which: Which
    statistic: str = ""


RECORDABLE: Mapping[str, Reading | None] = {
    "confidence": Reading(which="benign"),
    "confidence_adversarial": Reading(which="adversarial"),
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is measured on one model with one seed.

    Args:
        attacks: the evaluation of each membership attack, by id.
        missing: attacks that cannot be evaluated here, by id, with the reason.
        benign, adversarial: the evaluations that accuracies are read from.
        thorough: the comparison of the usual with a costly attack, where it was asked for.
        transfers: thresholds chosen on a shadow model, by attack.
        unshadowed: why there is no shadow model where one was asked for.
        sensitivity: what leaving members out of the training changes, where it was asked for.
        unretrained: why there is no such thing where it was asked for.
        thresholds: what boundary attacks find by thresholds from random images, by attack.
        budgets: what boundary attacks find with fewer queries and in other norms, by attack.
        looks: what is seen of the target, of its copy and of its shadow model, by what is looked
            at, where it was asked for.
        unlooked: why nothing is seen where it was asked for.
        verified: evaluations that proven accuracies are read from, by these accuracies' prefix.
        certified: shares of certified rows by radius, by the prefix of what certifies them.
        security: the losses of secure and of insecure non-members.
        thefts: the stages of each thief (`thieving.thefts`), where models are to be stolen.
        exchange: what each model's adversarial examples do to the others, where it was asked for.
        unstolen: why nothing is stolen where it was asked for.
        price: of 1,000 queries, where one was given.
        costs: what models cost, by the part they play: `target`, `shadow`, `copy`, `reference`.
        source: the stage that made the model, where there is one.
        inputs: stages that only look at what the user gave; they run before all others.
        data_probe, model_probe: self-tests.
    """

    model: str
    seed: int
    attacks: Mapping[str, Stage]
    missing: Mapping[str, str] = field(default_factory=dict)
    benign: Stage | None = None
    adversarial: Stage | None = None
    thorough: Stage | None = None
    verified: Mapping[str, Stage] = field(default_factory=dict)
    certified: Mapping[str, Stage] = field(default_factory=dict)
    security: Stage | None = None
    transfers: Mapping[str, Stage] = field(default_factory=dict)
    unshadowed: str = ""
    sensitivity: Stage | None = None
    unretrained: str = ""
    thresholds: Mapping[str, Stage] = field(default_factory=dict)
    budgets: Mapping[str, Stage] = field(default_factory=dict)
    looks: Mapping[str, Mapping[str, Stage]] = field(default_factory=dict)
    unlooked: str = ""
    thefts: Mapping[str, Mapping[str, Stage]] = field(default_factory=dict)
    exchange: Stage | None = None
    unstolen: str = ""
    price: float | None = None
    costs: Mapping[str, Stage] = field(default_factory=dict)
    source: Stage | None = None
    split: Stage | None = None
    data_probe: Stage | None = None
    model_probe: Stage | None = None
    inputs: tuple[Stage, ...] = ()

    def stages(self) -> list[Stage]:
        """Everything the document reads."""
        single = (
            self.benign,
            self.adversarial,
            self.thorough,
            self.security,
            self.sensitivity,
            self.exchange,
            self.source,
            self.split,
            self.data_probe,
            self.model_probe,
        )
        several = (
            self.attacks,
            self.verified,
            self.transfers,
            self.certified,
            self.thresholds,
            self.budgets,
            self.costs,
        )
        every = (*several, *self.looks.values(), *self.thefts.values())
        all_ = [stage for named in every for stage in named.values()]
        return [*all_, *(each for each in single if each)]


@dataclass(frozen=True, kw_only=True)
class ReadPredictions(Stage):
    """Responses from a file of recorded predictions.

    Args:
        fingerprint: of the file's bytes; where the file lies does not count.
    """

    REVISION: ClassVar[int] = 1
    fingerprint: str
    which: Which
    path: Path = field(metadata=UNCOUNTED)
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"read {self.name}, {self.which}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays as `responses` describes them.

        Raises:
            BadInput: the file is no longer the one that was planned with.
        """
        recorded = read_recorded(self.path, name=self.name)
        if recorded.fingerprint != self.fingerprint:
            raise BadInput(str(self.path), "changed while it was audited", "Run the audit again")
        return Artifact(arrays=answers(recorded, self.which), facts={})


def recorded_cell(
    name: str, recorded: Recorded, path: Path, attacks: Mapping[str, Reading | None] = RECORDABLE
) -> Cell:
    """Attacks on recorded predictions.

    Args:
        attacks: by id, the answers that each is read off; None where it needs the model itself.
    """
    evaluations: dict[str, Stage] = {}
    missing = {}
    for attack, reading in attacks.items():
        given = None if reading is None else getattr(recorded, reading.which)
        if reading is None:
            missing[attack] = NOT_RECORDED
        elif given is None:
            missing[attack] = f"{path.name} has no predictions on {reading.which} inputs"
        elif reading.statistic and given.members.ndim == 1:
            missing[attack] = f"{path.name} has confidences only, not whole answers"
        else:
            evaluations[attack] = _evaluation(name, recorded, path, reading)
    adversarial = recorded.adversarial is not None
    return Cell(
        model=name,
        seed=0,
        attacks=evaluations,
        missing=missing,
        benign=_evaluation(name, recorded, path, Reading(which="benign")),
        adversarial=(
            _evaluation(name, recorded, path, Reading(which="adversarial")) if adversarial else None
        ),
        security=_security(name, recorded, path) if adversarial else None,
    )


def _evaluation(name: str, recorded: Recorded, path: Path, reading: Reading) -> Evaluate:
    read = _reading(name, recorded, path, reading.which)
    if not reading.statistic:
        return Evaluate(responses=read, name=f"evaluate {name}, {reading.which}")
    scores = ReadStatistic(responses=read, statistic=reading.statistic, name=name)
    return Evaluate(responses=read, scores=scores, name=f"evaluate {name}, {reading.statistic}")


def _security(name: str, recorded: Recorded, path: Path) -> Secure:
    return Secure(
        benign=_reading(name, recorded, path, "benign"),
        adversarial=_reading(name, recorded, path, "adversarial"),
        name=f"tell secure from insecure rows of {name}",
    )


def _reading(name: str, recorded: Recorded, path: Path, which: Which) -> ReadPredictions:
    return ReadPredictions(fingerprint=recorded.fingerprint, which=which, path=path, name=name)


def check_name(name: str) -> None:
    """Refuse what a condition of `--fail-if` could not name.

    Raises:
        BadInput: empty, with outer spaces, or with a character that conditions use.
    """
    if not name or set(name) & set("<>=:") or name != name.strip():
        raise BadInput(
            "name",
            f"{name!r} cannot name a model or attack",
            "Leave out <, >, =, : and outer spaces",
        )


def describe_recorded(recorded: Recorded, path: Path) -> dict[str, str]:
    """A recorded model in plain words, for the report."""
    notes = {"notes": " ".join(recorded.notes)} if recorded.notes else {}
    return {"recorded": path.name, "fingerprint": recorded.fingerprint, **notes}
