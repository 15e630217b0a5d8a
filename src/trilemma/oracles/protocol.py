"""What an attacker may ask."""

from typing import Protocol, runtime_checkable

from trilemma.core.types import Probs, Rows


@runtime_checkable
class Oracle(Protocol):
    """Answers a batch of inputs with one distribution over the classes for each row.

    Laws: rows lie on the simplex, keep their order, do not depend on their neighbours, and the
    inputs are left unchanged.
    """

    @property
    def classes(self) -> int:
        """How many classes an answer covers."""

    def __call__(self, x: Rows) -> Probs:
        """(n, classes) probabilities for (n, *x) inputs."""
