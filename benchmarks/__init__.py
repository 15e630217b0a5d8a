"""Measurements of the attacks against the bare model and against other libraries."""
