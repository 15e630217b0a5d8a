"""A network on answers: the stage that lets it learn from a shadow model's."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from trilemma.attacks.membership import ScoreNetwork, score_network
from trilemma.core.generators import seeded
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.responses import Arrays
from trilemma.experiments.stages import UNCOUNTED, stream
from trilemma.training.objectives import Natural
from trilemma.training.recipes import MLP
from trilemma.training.train import as_fit


@dataclass(frozen=True, kw_only=True)
class Learn(Stage):
    """Teach a network with a shadow model's answers, and judge a target's by it.

    Args:
        answers: of the target.
        known: of the shadow model about its own members and non-members.
        recipe: of the network.
    """

    REVISION: ClassVar[int] = 1
    answers: Stage
    known: Stage
    attack: ScoreNetwork
    recipe: MLP
    seed: int
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"learn to tell members of {self.name} by their scores, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays `member` and `score` (n,). Facts: `threshold`, the network's own."""
        target, known = bench.load(self.answers).arrays, bench.load(self.known).arrays
        scores = score_network(
            probabilities(target),
            probabilities(known),
            torch.from_numpy(np.array(known["member"])).bool(),
            self.attack,
            fit=as_fit(self.recipe, Natural(), classes=2),
            rng=seeded(stream("attack", self.seed)),
        )
        arrays = {"member": target["member"], "score": scores.double().numpy()}
        return Artifact(arrays=arrays, facts={"threshold": 0.0})


def networks(attack: ScoreNetwork) -> MLP:
    """The recipe of its network."""
    return MLP(hidden=attack.hidden, epochs=attack.epochs)


def probabilities(answers: Arrays) -> Tensor:
    """(n, k) of responses, as they were told or from their logarithms."""
    if "probabilities" in answers:
        return torch.from_numpy(np.array(answers["probabilities"], dtype=np.float64))
    return torch.from_numpy(np.exp(answers["log_probabilities"]))
