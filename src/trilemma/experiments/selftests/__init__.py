"""What an audit checks about itself. Each function returns a `check` of the audit document.

Importing this imports no torch; what asks a model does.
"""

from trilemma.experiments.selftests.blind import blind
from trilemma.experiments.selftests.checks import Check, not_evaluable
from trilemma.experiments.selftests.determinism import determinism
from trilemma.experiments.selftests.duplicates import duplicates
from trilemma.experiments.selftests.normalisation import normalisation
from trilemma.experiments.selftests.null import null_run

__all__ = [
    "Check",
    "blind",
    "determinism",
    "duplicates",
    "normalisation",
    "not_evaluable",
    "null_run",
]
