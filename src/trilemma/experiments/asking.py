"""The stages that ask one model about the rows of one split. Imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trilemma.attacks.evasion import Evasion
from trilemma.attacks.membership import (
    AdversarialConfidence,
    BoundaryDistance,
    Calibrated,
    Confidence,
    EarlyDecisions,
    Entropy,
    Loss,
    MaxConfidence,
    Membership,
    ModelInference,
    ModifiedEntropy,
    NoiseRobustness,
    QuantileRegression,
    RandomThreshold,
    ScoreNetwork,
    Signal,
    SmoothedRadius,
    TransferAttack,
    VerifiedConfidence,
)
from trilemma.core.box import Box
from trilemma.core.errors import BadInput
from trilemma.experiments import learning
from trilemma.experiments.deciding import Decide, RandomImages
from trilemma.experiments.defending import GUARD, Defend, Guard, guarded
from trilemma.experiments.distances import Distances
from trilemma.experiments.evaluation import Asked, Evaluate, ReadStatistic
from trilemma.experiments.graph import Stage
from trilemma.experiments.inferring import Infer, Teacher, networks
from trilemma.experiments.learning import Learn
from trilemma.experiments.perturbations import perturbation
from trilemma.experiments.quantiling import Outside, Quantiles, whole
from trilemma.experiments.referencing import Calibrate, CalibrateReferences, Pool
from trilemma.experiments.stages import Parts, Respond, Score, Source, Train
from trilemma.experiments.thorough import Withstand
from trilemma.experiments.thresholds import ByDecisions, ByImages
from trilemma.experiments.verifying import Verify
from trilemma.oracles.defences import Defence
from trilemma.training.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class Asking:
    """One model, the rows it is asked about, and the seed of the attacks.

    Args:
        name: of the model, for people.
        pool: its reference models; None where it has none.
        copies: shadow models that learnt from its labels, by the name that attacks call them.
        defences: what stands before its answers.
        shadow: a shadow model and its rows; None where there is none.
        regression: the recipe of networks that learn from the shadow rows alone; None where there
            are none.
        rows: at most so many of the members, and of the non-members, are judged by attacks that
            spend many queries on a row.
    """

    split: Parts
    source: Source
    box: Box
    seed: int
    name: str
    pool: Pool | None = None
    copies: Mapping[str, Train] = field(default_factory=dict)
    defences: tuple[Defence, ...] = ()
    shadow: "Asking | None" = None
    regression: Recipe | None = None
    rows: int = 512

    def responses(self, change: Evasion | None) -> Respond | Defend:
        """Answers about the rows, as they are or attacked."""
        answers = Respond(
            split=self.split,
            source=self.source,
            perturbation=change,
            box=self.box,
            seed=self.seed,
            name=self.name,
        )
        if not self.defences:
            return answers
        common: dict[str, Any] = {"seed": self.seed, "name": self.name}
        guard = None
        if guarded(self.defences):
            guard = Guard(split=whole(self.split), source=self.source, recipe=GUARD, **common)
        return Defend(answers=answers, defences=self.defences, guard=guard, **common)

    def asked(self, attack: Membership, teacher: Teacher | None = None) -> Asked:
        """What a membership attack's scores are read from.

        Args:
            teacher: whose rows a learning attack learns from; None: the model's own.
        """
        common: dict[str, Any] = {"split": self.split, "source": self.source}
        common |= {"box": self.box, "name": self.name}
        match attack:
            case Confidence() | AdversarialConfidence():  # read off the responses
                return Asked(responses=self.responses(perturbation(attack)))
            case VerifiedConfidence():
                return Asked(responses=Verify(attack=attack, **common))
            case Loss() | MaxConfidence() | Entropy() | ModifiedEntropy():
                answers = self.responses(None)
                read = ReadStatistic(
                    responses=answers, statistic=type(attack).__name__, name=self.name
                )
                return Asked(responses=answers, scores=read)
            case ModelInference():
                scores = Infer(
                    attack=attack,
                    recipe=networks(attack),
                    seed=self.seed,
                    teacher=teacher,
                    **common,
                )
                return Asked(responses=self.responses(None), scores=scores)
            case ScoreNetwork() if self.shadow is not None:
                answers = self.responses(None)
                learn = Learn(
                    answers=answers,
                    known=self.shadow.responses(None),
                    attack=attack,
                    recipe=learning.networks(attack),
                    seed=self.seed,
                    name=self.name,
                )
                return Asked(responses=answers, scores=learn)
            case TransferAttack() if attack.copy in self.copies:
                copy = self.copies[attack.copy]
                copied = replace(self, source=copy, name=copy.name, defences=())
                return copied.asked(attack.statistic)
            case QuantileRegression():
                judged = self.asked(attack.signal).responses
                return Asked(responses=judged, scores=quantiles(self, attack))
            case Calibrated() if self.pool is not None:
                judged = self.asked(attack.signal).responses
                calibrate = Calibrate(
                    answers=judged,
                    references=self._references(attack, self.pool),
                    halves=self.pool.halves,
                    method=attack.method,
                    name=f"{self.name}, seed {self.seed}",
                )
                return Asked(responses=judged, scores=calibrate)
            case TransferAttack() | ScoreNetwork() | Calibrated():
                kind = type(attack).__name__
                fix = "Give a shadow model, or reference models"
                raise BadInput("attack", f"{kind} learns from other models", fix)
        scores_ = scored(attack, self.rows, seed=self.seed, **common)
        return Asked(responses=self.responses(None), scores=scores_)

    def known(self, attack: Calibrated, pool: Pool) -> Asked:
        """What the scores of the reference models' rows are read from, each by the others."""
        calibrate = CalibrateReferences(
            references=self._references(attack, pool),
            halves=pool.halves,
            method=attack.method,
            name=f"{self.name}, seed {self.seed}",
        )
        return Asked(responses=calibrate, scores=calibrate)

    def _references(self, attack: Calibrated, pool: Pool) -> tuple[Stage, ...]:
        """What the reference models answer about the rows."""
        return tuple(
            replace(self, source=source, name=f"reference {index} of {self.name}", defences=())
            .asked(attack.signal)
            .responses
            for index, source in enumerate(pool.sources, start=1)
        )

    def evaluate(self, attack: Membership, label: str) -> Evaluate:
        """The metrics of a membership attack."""
        asked = self.asked(attack)
        return Evaluate(responses=asked.responses, scores=asked.scores, seed=self.seed, name=label)

    def accuracy(self, change: Evasion | None, label: str) -> Evaluate:
        """Accuracy on the rows, as they are or attacked."""
        return Evaluate(responses=self.responses(change), seed=self.seed, name=label)

    def withstand(self, attack: Evasion, rows: int) -> Withstand:
        """Answers about some of the rows under a costly attack."""
        return Withstand(
            split=self.split,
            source=self.source,
            attack=attack,
            box=self.box,
            seed=self.seed,
            rows=rows,
            name=self.name,
        )


def scored(attack: Signal, rows: int, **common: Any) -> Score | Distances | Decide:
    """The stage that runs an attack; one that spends many queries on a row judges so many rows."""
    if isinstance(attack, BoundaryDistance):
        return Distances(attack=attack, rows=rows, **common)
    if isinstance(attack, EarlyDecisions):
        return Decide(attack=attack, rows=rows, **common)
    if isinstance(attack, SmoothedRadius | NoiseRobustness):
        return Score(attack=attack, rows=rows, **common)
    return Score(attack=attack, **common)


def thresholds(
    target: Asking, attacks: Mapping[str, Membership], choice: RandomThreshold | None
) -> dict[str, Stage]:
    """What boundary attacks find by thresholds that need no labelled rows, by attack.

    Args:
        choice: of random images; None where none were asked for. Early decisions have their own.
    """
    found: dict[str, Stage] = {}
    for id_, attack in attacks.items():
        common: dict[str, Any] = {"split": target.split, "source": target.source}
        common |= {"box": target.box, "seed": target.seed, "name": target.name}
        name = f"judge {target.name} without labelled rows, {id_}, seed {target.seed}"
        if isinstance(attack, EarlyDecisions):
            found[id_] = ByDecisions(
                decisions=Decide(attack=attack, rows=target.rows, **common), name=name
            )
        elif isinstance(attack, BoundaryDistance) and choice is not None:
            found[id_] = ByImages(
                distances=Distances(attack=attack, rows=target.rows, **common),
                images=RandomImages(attack=attack, choice=choice, **common),
                percentile=choice.percentile,
                name=name,
            )
    return found


def quantiles(asking: Asking, attack: QuantileRegression) -> Quantiles:
    """Scores by what a regression on the shadow rows expects."""
    if asking.regression is None:
        raise BadInput("attack", "learns from shadow rows", "Give some (`shadow` of the data)")
    outside = Outside(split=asking.split)
    return Quantiles(
        split=asking.split,
        known_split=outside,
        answers=asking.asked(attack.signal),
        known=replace(asking, split=outside).asked(attack.signal),
        attack=attack,
        recipe=asking.regression,
        box=asking.box,
        seed=asking.seed,
        name=asking.name,
    )
