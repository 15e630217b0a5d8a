"""Non-members that hold out against an attack, and what their losses tell about it. NumPy only."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from trilemma import metrics
from trilemma.experiments import responses
from trilemma.experiments.artifact import Artifact
from trilemma.experiments.graph import Bench, Stage


@dataclass(frozen=True, kw_only=True)
class Secure(Stage):
    """Losses of secure and of insecure non-members, as they are (Song et al. 2019, figure 7).

    Args:
        benign: responses to the rows as they are.
        adversarial: responses to the same rows under the attack that accuracy is measured under.
        seed: of the bootstrap.
    """

    REVISION: ClassVar[int] = 1
    benign: Stage
    adversarial: Stage
    seed: int = 0
    name: str = field(default="secure", metadata={"counts": False})

    def label(self) -> str:
        """For progress and failures."""
        return self.name

    def run(self, bench: Bench) -> Artifact:
        """Facts: `metrics`, `rows` and, where both sides have some, `loss`, or `not_evaluable`."""
        benign, adversarial = (bench.load(each).arrays for each in (self.benign, self.adversarial))
        return Artifact(arrays={}, facts=secure(benign, adversarial, self.seed))


def secure(
    benign: responses.Arrays, adversarial: responses.Arrays, seed: int, *, bins: int = 50
) -> dict[str, Any]:
    """What the report says about the security of a model's non-members.

    Args:
        benign: answers to all rows as they are, see `responses`.
        adversarial: answers to the same rows, attacked.
        seed: of the bootstrap.
        bins: of the histogram.
    """
    outside = ~benign["member"].astype(bool)
    right, withstood = responses.correct(benign), responses.correct(adversarial)
    if right is None or withstood is None:
        why = "only confidences were recorded, not whole predictions"
        return {"not_evaluable": why}
    found = metrics.security(
        responses.loss(benign)[outside],
        right[outside],
        withstood[outside],
        seed=seed,
        bins=bins,
    )
    return found.to_json()
