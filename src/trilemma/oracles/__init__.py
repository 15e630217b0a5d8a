"""Oracles: what answers a query."""

from trilemma.oracles.local import Local, log_probabilities
from trilemma.oracles.protocol import Oracle

__all__ = ["Local", "Oracle", "log_probabilities"]
