"""Attacks: inputs, scores or stolen models out; never training, never metrics."""
