"""The stages that ask one model about the rows of one split. Imports torch."""

from dataclasses import dataclass
from typing import Any

from trilemma.attacks.evasion import Evasion
from trilemma.attacks.membership import (
    AdversarialConfidence,
    Confidence,
    Membership,
    ModelInference,
    VerifiedConfidence,
)
from trilemma.core.box import Box
from trilemma.experiments.evaluation import Asked, Evaluate
from trilemma.experiments.inferring import Infer, Teacher, networks
from trilemma.experiments.specs import perturbation
from trilemma.experiments.stages import Parts, Respond, Score, Source
from trilemma.experiments.thorough import Withstand
from trilemma.experiments.verifying import Verify


@dataclass(frozen=True, kw_only=True)
class Asking:
    """One model, the rows it is asked about, and the seed of the attacks.

    Args:
        name: of the model, for people.
    """

    split: Parts
    source: Source
    box: Box
    seed: int
    name: str

    def responses(self, change: Evasion | None) -> Respond:
        """Answers about the rows, as they are or attacked."""
        return Respond(
            split=self.split,
            source=self.source,
            perturbation=change,
            box=self.box,
            seed=self.seed,
            name=self.name,
        )

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
            case ModelInference():
                scores = Infer(
                    attack=attack,
                    recipe=networks(attack),
                    seed=self.seed,
                    teacher=teacher,
                    **common,
                )
                return Asked(responses=self.responses(None), scores=scores)
        scores_ = Score(attack=attack, seed=self.seed, **common)
        return Asked(responses=self.responses(None), scores=scores_)

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
