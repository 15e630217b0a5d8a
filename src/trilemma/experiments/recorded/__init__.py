"""Recorded predictions: what a model answered about members and non-members, read from a file.

No torch here: an audit of recorded predictions runs without it.
"""

from trilemma.experiments.recorded.predictions import (
    Answers,
    Predictions,
    Recorded,
    Which,
    answers,
    correct,
    losses,
    scores,
)
from trilemma.experiments.recorded.reading import read_recorded

__all__ = [
    "Answers",
    "Predictions",
    "Recorded",
    "Which",
    "answers",
    "correct",
    "losses",
    "read_recorded",
    "scores",
]
