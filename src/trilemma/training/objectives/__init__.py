"""What training minimises: one frozen dataclass a method; they add and scale.

`Adversarial(attack=PGD(...)) + 0.1 * Natural()` is an objective too. The terms of a sum see one
`Batch`, which remembers forwards, adversarial examples and bounds, so that no term computes them
again. The union `Objective` is the registry.
"""

from trilemma.training.objectives.adversarial import (
    Adversarial,
    DistributionalTraining,
    MixedAdversarial,
)
from trilemma.training.objectives.adversarial_regularisation import AdversarialRegularisation
from trilemma.training.objectives.algebra import Objective, Scaled, Sum, by_row, check_targets
from trilemma.training.objectives.batch import Batch, Loss, Standing
from trilemma.training.objectives.domain_adaptation import NO_ATTACK, DomainAdaptation
from trilemma.training.objectives.natural import Natural
from trilemma.training.objectives.penalties import L1, L2
from trilemma.training.objectives.term import CONFIG, Term
from trilemma.training.objectives.trades import TRADES
from trilemma.training.objectives.verified import (
    AbstractInterpretation,
    IntervalBoundPropagation,
    Verified,
)

__all__ = [
    "CONFIG",
    "L1",
    "L2",
    "NO_ATTACK",
    "TRADES",
    "AbstractInterpretation",
    "Adversarial",
    "AdversarialRegularisation",
    "Batch",
    "DistributionalTraining",
    "DomainAdaptation",
    "IntervalBoundPropagation",
    "Loss",
    "MixedAdversarial",
    "Natural",
    "Objective",
    "Scaled",
    "Standing",
    "Sum",
    "Term",
    "Verified",
    "by_row",
    "check_targets",
]
