"""Quantile regression in an audit: what a model answers about rows it never saw, and the fitting.

No model like the target is trained: the known non-members are the split's shadow rows.
"""

from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from trilemma import metrics
from trilemma.attacks.membership import (
    AdversarialConfidence,
    Confidence,
    Criterion,
    QuantileRegression,
    VerifiedConfidence,
    quantile_regression,
)
from trilemma.core.box import Box
from trilemma.core.generators import draw_seed, seeded
from trilemma.experiments import responses
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.evaluation import Asked, operating
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.stages import UNCOUNTED, Parts, candidates, stream
from trilemma.training.recipes import Recipe
from trilemma.training.regression import Regressed, Stopping, regress

ONE_SIDED = (
    "a threshold that is best for members and non-members takes scores of both; the regression"
    " knows non-members only"
)


@dataclass(frozen=True, kw_only=True)
class Outside(Parts):
    """The shadow rows of a split as its non-members: the model has seen none of them."""

    REVISION: ClassVar[int] = 1
    split: Parts

    def label(self) -> str:
        """For progress and failures."""
        return f"take the shadow rows, {self.split.label()}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays as of a split, without members."""
        parts = bench.load(self.split)
        x, y = (np.array(parts.arrays[f"shadow_{of}"]) for of in "xy")
        arrays = {"members_x": x[:0], "members_y": y[:0], "nonmembers_x": x, "nonmembers_y": y}
        return Artifact(arrays=arrays, facts=dict(parts.facts))


def whole(split: Parts) -> Parts:
    """The split that some of its rows are from."""
    return split.split if isinstance(split, Outside) else split


@dataclass(frozen=True, kw_only=True)
class Quantiles(Stage):
    """Learn which scores are to be expected of non-members, and judge others by it.

    Args:
        split: of the judged rows.
        known_split: of the rows that are learnt from.
        answers: of the target about the judged rows.
        known: about those that are learnt from.
        recipe: of the network.
    """

    REVISION: ClassVar[int] = 1
    split: Parts
    known_split: Outside
    answers: Asked
    known: Asked
    attack: QuantileRegression
    recipe: Recipe
    box: Box
    seed: int
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        kind = type(self.attack.signal).__name__
        return f"learn what {kind} of {self.name} to expect, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays `member` and `score` (n,), `row` where the signal is of some rows, and `held_out`
        (m,): scores of known rows by which no step was taken, but the epoch chosen. Facts:
        `regression`, what taught it.
        """
        x, _, member = candidates(bench.load(self.split))
        known_x, _, _ = candidates(bench.load(self.known_split))
        row, signal = _signal(self.answers, self.attack, bench)
        known_row, known = _signal(self.known, self.attack, bench)
        x, member, known_x = x[row], member[row], known_x[known_row]
        done: list[Regressed] = []

        def fitted(x: Tensor, scores: Tensor, criterion: Criterion, rng: Generator) -> nn.Module:
            outputs, stopping = criterion.outputs, Stopping(patience=self.attack.patience)
            common: dict[str, Any] = {"outputs": outputs, "stopping": stopping, "box": self.box}
            done.append(regress(self.recipe, criterion.loss, x, scores, draw_seed(rng), **common))
            return done[-1].model

        scores = quantile_regression(
            torch.cat([signal, known]),
            torch.cat([x, known_x]),
            known,
            known_x,
            self.attack,
            regress=fitted,
            rng=seeded(stream("attack", self.seed)),
        )
        (found,) = done
        about = {"rows": len(known_x), "held_out": int(found.held_out.sum()), "epoch": found.kept}
        parameters = sum(w.numel() for w in found.model.parameters())
        facts = {"regression": {**about, "parameters": parameters}}
        judged, rest = scores[: len(x)].numpy(), scores[len(x) :][found.held_out].numpy()
        some = {} if isinstance(row, slice) else {"row": row}
        arrays = {**some, "member": member, "score": judged, "held_out": rest}
        return Artifact(arrays=arrays, facts=facts)


def _signal(
    asked: Asked, attack: QuantileRegression, bench: Bench
) -> tuple[slice | NDArray[np.int64], Tensor]:
    """Which of the rows a signal is of, and its scores, as log-odds where it is a confidence."""
    answers, scores, _ = asked.read(bench)
    if isinstance(attack.signal, Confidence | AdversarialConfidence | VerifiedConfidence):
        scores = responses.log_odds(answers)
    own = bench.load(asked.scores).arrays if asked.scores else {}
    return own.get("row", slice(None)), torch.from_numpy(np.array(scores, dtype=np.float64))


@dataclass(frozen=True, kw_only=True)
class Expected(Stage):
    """What thresholds find that a regression fixes at false positive rates.

    They are fixed on the known rows that no step of the fitting saw. The rates would hold however
    well it went if these rows had not chosen the epoch that is kept, either: of some tens of epochs
    the one with the lowest loss on them, to which their scores may be a little too well suited.
    Where they are too few for a rate, at the quantile that the regression expects (the paper's
    test), which holds as far as the regression is right.

    Facts: as of `evaluation.Transfer`, but for a threshold that is best on a shadow model.
    """

    REVISION: ClassVar[int] = 2
    scores: Quantiles
    name: str = field(default="expect", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return self.name

    def run(self, bench: Bench) -> Artifact:
        """Judge."""
        found = bench.load(self.scores).arrays
        member, scores, held_out = found["member"].astype(bool), found["score"], found["held_out"]

        def at(fpr: float) -> metrics.Flagged:
            sides = scores[member], scores[~member]
            fixed = metrics.transferred_rate(held_out, *sides, fpr)
            if isinstance(fixed, metrics.Operating):
                return fixed.flagged
            hits, alarms = (int((side > NormalDist().inv_cdf(1 - fpr)).sum()) for side in sides)
            members, others = map(len, sides)
            return metrics.Flagged(hits=hits, members=members, alarms=alarms, nonmembers=others)

        nothing = metrics.NotEvaluable(ONE_SIDED).to_json()
        return Artifact(arrays={}, facts={"accuracy": nothing, "operating": operating(at)})
