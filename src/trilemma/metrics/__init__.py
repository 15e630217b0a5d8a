"""Arrays in, numbers with intervals out. NumPy only."""

from trilemma.metrics.bootstrap import Replicates, bootstrap
from trilemma.metrics.by_label import (
    ByLabel,
    best_class_thresholds,
    class_decisions,
    class_thresholds,
)
from trilemma.metrics.compare import Difference, difference
from trilemma.metrics.epsilon import epsilon_lower_bound
from trilemma.metrics.estimate import Estimate, Metric, NotEvaluable
from trilemma.metrics.held_out import Halves, HeldOut, halves, held_out
from trilemma.metrics.histograms import confidence_histogram, loss_histogram
from trilemma.metrics.leakage import MembershipMetrics, auc, membership
from trilemma.metrics.means import mean
from trilemma.metrics.operating import precision_at, tpr_at
from trilemma.metrics.other_labels import (
    average_cross_entropy,
    cross_entropies,
    decision_distances,
)
from trilemma.metrics.radii import certified_shares
from trilemma.metrics.rates import Flagged, accuracy, rate
from trilemma.metrics.records import combine, to_json
from trilemma.metrics.roc import Curve, Roc, roc, thin
from trilemma.metrics.security import Security, security
from trilemma.metrics.sensitivity import Sensitivity, sensitivity
from trilemma.metrics.stolen import Likeness, gap, likeness, share
from trilemma.metrics.transferred import (
    Operating,
    Transferred,
    chosen_on_shadow,
    transferred_rate,
    transferred_threshold,
)

__all__ = [
    "ByLabel",
    "Curve",
    "Difference",
    "Estimate",
    "Flagged",
    "Halves",
    "HeldOut",
    "Likeness",
    "MembershipMetrics",
    "Metric",
    "NotEvaluable",
    "Operating",
    "Replicates",
    "Roc",
    "Security",
    "Sensitivity",
    "Transferred",
    "accuracy",
    "auc",
    "average_cross_entropy",
    "best_class_thresholds",
    "bootstrap",
    "certified_shares",
    "chosen_on_shadow",
    "class_decisions",
    "class_thresholds",
    "combine",
    "confidence_histogram",
    "cross_entropies",
    "decision_distances",
    "difference",
    "epsilon_lower_bound",
    "gap",
    "halves",
    "held_out",
    "likeness",
    "loss_histogram",
    "mean",
    "membership",
    "precision_at",
    "rate",
    "roc",
    "security",
    "sensitivity",
    "share",
    "thin",
    "to_json",
    "tpr_at",
    "transferred_rate",
    "transferred_threshold",
]
