"""How far the labels of members and non-members are proven: the largest radius of each row."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trilemma.attacks.membership import VerifiedConfidence
from trilemma.bounds import margins
from trilemma.core.balls import L2
from trilemma.core.box import Box
from trilemma.core.generators import seeded
from trilemma.core.keys import encode
from trilemma.experiments import methods, responses
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.asking import Asking
from trilemma.experiments.graph import Bench, Stage
from trilemma.experiments.parts import chosen
from trilemma.experiments.portions import kept
from trilemma.experiments.radii import Radii
from trilemma.experiments.specs import Experiment, Trained
from trilemma.experiments.stages import (
    UNCOUNTED,
    Parts,
    Source,
    Train,
    candidates,
    origin,
    restore,
    stream,
)
from trilemma.models import Certified, PixelDP, certified

MULTIPLES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # of the declared radius
DECLARED = MULTIPLES.index(1.0)
EIGHTHS = tuple(k / 8 for k in range(13))  # of the noise layer's budget
WRONG = -1.0  # the radius of a row whose label is wrong as it is
CHUNK = 256  # rows between two checkpoints
NOISE = "noise"  # what the certificate of a noise layer is called among those of bounds


@dataclass(frozen=True, kw_only=True)
class Certify(Stage):
    """The largest of some radii at which a row keeps its label for sure, by bounds.

    Each row is searched for by halving: what is proven for a ball holds in every smaller one, which
    it contains, so a row proven at the declared radius is looked at further out only, and one that
    is not, further in. That takes two bounds a row for eight radii. It is sound whatever the
    bounds do; where bounds are not monotone in the radius, it may stop too early.

    Args:
        verified: what is proven at the declared radius, of all rows.
        benign: responses to the rows as they are.
        attack: the ball whose radius is multiplied, and how the bounds are found.
        rows: at most so many of the members, and of the non-members.
        chunk: rows at a time; a row's bounds do not depend on the rows beside it.
    """

    REVISION: ClassVar[int] = 1
    split: Parts
    source: Source
    verified: Stage
    benign: Stage
    attack: VerifiedConfidence
    box: Box
    seed: int
    rows: int
    chunk: int = field(default=CHUNK, metadata=UNCOUNTED)
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        how = type(self.attack.domain).__name__
        return f"certify radii of {self.name} by {how}, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays `row` (among `candidates`), `member` and `radius`. Facts: `radii`, `ball`."""
        model = restore(self.source, self.split, bench)
        x, y, member = candidates(bench.load(self.split))
        row = chosen(member, self.rows, stream("certify", self.seed))
        proven = bench.load(self.verified).arrays["proven"][row].astype(bool)
        right = responses.correct(bench.load(self.benign).arrays)
        assert right is not None  # noqa: S101  # a model that is asked answers in full
        open_ = right[row] | proven
        parts = []
        for start in range(0, len(row), self.chunk):
            bench.progress(start, len(row), f"{start:,} rows searched")
            part = slice(start, start + self.chunk)
            path = bench.scratch / f"{start}-{self.chunk}.npy"
            reach = partial(
                self._reach, model, x[row[part]], y[row[part]], proven[part], open_[part]
            )
            parts.append(kept(path, reach))
        bench.progress(len(row), len(row))
        radii = self.attack.ball.radius * np.array(MULTIPLES)
        radius = np.where(open_, radii[np.concatenate(parts)], WRONG)
        return Artifact(
            arrays={"row": row, "member": member[row], "radius": radius},
            facts={"radii": radii.tolist(), "ball": encode(self.attack.ball)},
        )

    def _reach(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        proven: NDArray[np.bool_],
        open_: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """The place in MULTIPLES of the largest radius that is proven; 0 of rows not `open_`."""
        low = np.where(proven, DECLARED, 0)  # proven here
        high = np.where(proven, len(MULTIPLES), np.where(open_, DECLARED, 1))  # not here
        while (high - low > 1).any():
            middle = (low + high) // 2
            for place in np.unique(middle[high - low > 1]):
                rows = np.flatnonzero((high - low > 1) & (middle == place))
                sure = self._proven(model, x[rows], y[rows], MULTIPLES[place])
                low[rows] = np.where(sure, place, low[rows])
                high[rows] = np.where(sure, high[rows], place)
        return low

    def _proven(self, model: nn.Module, x: Tensor, y: Tensor, multiple: float) -> NDArray[np.bool_]:
        ball = replace(self.attack.ball, radius=self.attack.ball.radius * multiple)
        with torch.no_grad():
            least = margins(model, self.box.clip(x), y, ball, self.attack.domain, self.box)
        others = least.scatter(1, y.view(-1, 1), torch.inf)
        found: NDArray[np.bool_] = (others > 0).all(1).numpy()
        return found


@dataclass(frozen=True, kw_only=True)
class CertifyNoise(Stage):
    """The radius in which a noise layer keeps each row's label, sure up to chance.

    Args:
        noise: the layer of the model.
        certificate: how many draws, and how sure.
        rows: at most so many of the members, and of the non-members.
        chunk: rows at a time; all rows see the same draws.
    """

    REVISION: ClassVar[int] = 1
    split: Parts
    source: Train
    noise: PixelDP
    certificate: Certified
    seed: int
    rows: int
    chunk: int = field(default=CHUNK, metadata=UNCOUNTED)
    name: str = field(default="model", metadata=UNCOUNTED)

    def label(self) -> str:
        """For progress and failures."""
        return f"certify radii of {self.name} by its noise, seed {self.seed}"

    def run(self, bench: Bench) -> Artifact:
        """Arrays and facts as those of `Certify`, in L2."""
        model = restore(self.source, self.split, bench)
        x, y, member = candidates(bench.load(self.split))
        row = chosen(member, self.rows, stream("certify", self.seed))
        parts = []
        for start in range(0, len(row), self.chunk):
            bench.progress(start, len(row), f"{start:,} rows certified")
            part = row[start : start + self.chunk]
            path = bench.scratch / f"{start}-{self.chunk}.npy"
            parts.append(kept(path, partial(self._radius, model, x[part], y[part])))
        bench.progress(len(row), len(row))
        radii = self.noise.budget * np.array(EIGHTHS)
        return Artifact(
            arrays={"row": row, "member": member[row], "radius": np.concatenate(parts)},
            facts={"radii": radii.tolist(), "ball": encode(L2(self.noise.budget))},
        )

    def _radius(self, model: nn.Module, x: Tensor, y: Tensor) -> NDArray[np.float64]:
        """The certificate speaks of changes *smaller* than its radius: the number just below."""
        rng = seeded(stream("certificate", self.seed))
        found = certified(model, x, self.certificate, rng=rng)
        below = np.nextafter(found.radius.numpy(), 0)
        return np.where((found.label == y).numpy(), below, WRONG)


def certifications(declared: Experiment, target: Asking) -> Mapping[str, Radii]:
    """The shares of a model's rows that are certified, by the prefix of what certifies them."""
    rows = declared.certified_rows
    if not rows:
        return {}
    common: dict[str, Any] = {"split": target.split, "seed": target.seed}
    common |= {"rows": rows, "name": target.name}
    found: dict[str, Stage] = {
        prefix: Certify(
            source=target.source,
            verified=target.asked(attack).responses,
            benign=target.responses(None),
            attack=attack,
            box=target.box,
            **common,
        )
        for prefix, attack in declared.verifications(target.name).items()
    }
    trained = origin(target.source)  # dividing logits changes no label
    if isinstance(trained, Train) and (noise := trained.model.recipe.noise) is not None:
        certificate = Certified()
        found[NOISE] = CertifyNoise(source=trained, noise=noise, certificate=certificate, **common)
    return {
        id_: Radii(
            certified=stage, name=f"count radii of {target.name} by {id_}, seed {target.seed}"
        )
        for id_, stage in found.items()
    }


def certifying(declared: Experiment) -> dict[str, Any]:
    """How radii are certified, for the report: as `robustness` says it of bounds, and by noise."""
    if not declared.certified_rows:
        return {}
    proven = declared.verifications().items()
    found = {name: methods.verification(each, encode(each)) for name, each in proven}
    models = [model for model in declared.models.values() if isinstance(model, Trained)]
    if any(model.recipe.noise is not None for model in models):
        found[NOISE] = methods.certification(Certified(), encode(Certified()))
    return found
