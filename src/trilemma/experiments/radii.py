"""How the share of certified rows falls with the radius. NumPy only."""

from dataclasses import dataclass, field
from typing import ClassVar

from trilemma import metrics
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage


@dataclass(frozen=True, kw_only=True)
class Radii(Stage):
    """Shares of members and of non-members that are certified, at each radius of a grid.

    Args:
        certified: a stage with arrays `member` and `radius` (n,), the largest radius at which a
            row is sure, negative where it is wrong as it is; facts `radii` and `ball`.
    """

    REVISION: ClassVar[int] = 1
    certified: Stage
    name: str = field(default="radii", metadata={"counts": False})

    def label(self) -> str:
        """For progress and failures."""
        return self.name

    def run(self, bench: Bench) -> Artifact:
        """Facts: `radii`, `ball`, `rows`, and of `train` and `test` one accuracy a radius."""
        found = bench.load(self.certified)
        member, radius = found.arrays["member"].astype(bool), found.arrays["radius"]
        sides = {"train": radius[member], "test": radius[~member]}
        radii = list(found.facts["radii"])
        shares = {
            part: [each.to_json() for each in metrics.certified_shares(of_part, radii)]
            for part, of_part in sides.items()
        }
        rows = {"members": len(sides["train"]), "nonmembers": len(sides["test"])}
        facts = {"radii": radii, "ball": dict(found.facts["ball"]), "rows": rows, **shares}
        return Artifact(arrays={}, facts=facts)
